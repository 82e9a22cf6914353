"""Noise models p(observed | signal) per pixel, for the data term of the loss."""

from denoisplit.noise_models.fit import fit
from denoisplit.noise_models.gmm import GaussianMixture

__all__ = ["GaussianMixture", "fit"]
