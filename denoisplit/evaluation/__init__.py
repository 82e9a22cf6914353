"""Evaluation: held-out frames, metrics and calibration."""
