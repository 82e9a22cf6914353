"""Denoisers that learn from the noisy images alone."""

from denoisplit.denoisers.n2v import N2V, train_n2v
from denoisplit.denoisers.unet import UNet

__all__ = ["N2V", "UNet", "train_n2v"]
