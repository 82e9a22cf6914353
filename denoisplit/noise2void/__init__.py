"""Noise2Void: denoisers that are trained on noisy images alone."""

from denoisplit.noise2void.n2v import N2V, train_n2v
from denoisplit.noise2void.unet import UNet

__all__ = ["N2V", "UNet", "train_n2v"]
