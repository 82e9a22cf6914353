"""The network of the method: pure torch modules, no training."""

from denoisplit.network.context import ContextVSE
from denoisplit.network.decoder import Gaussian, Latent
from denoisplit.network.denoised import DenoisedVSE
from denoisplit.network.vse import VSE, Decoded

__all__ = ["VSE", "ContextVSE", "Decoded", "DenoisedVSE", "Gaussian", "Latent"]
