"""Prediction of whole frames by tiles with a halo."""
