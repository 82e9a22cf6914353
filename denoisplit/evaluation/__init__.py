"""Evaluation of predictions: held-out frames, metrics, calibration."""
