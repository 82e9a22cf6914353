"""Calibration of a trained network: error map, intervals, alarm, and the evaluation."""
