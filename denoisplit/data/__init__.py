"""Prepare training data: splits, superposition, synthetic noise, statistics and patches."""
