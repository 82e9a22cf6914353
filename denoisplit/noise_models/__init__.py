"""p(observed | signal) per pixel: the noise models of the data term."""

from denoisplit.noise_models.fit import fit
from denoisplit.noise_models.gmm import GaussianMixture
from denoisplit.noise_models.histogram import HistogramModel

__all__ = ["GaussianMixture", "HistogramModel", "fit"]
