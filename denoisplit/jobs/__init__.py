"""Prediction jobs: images split piece by piece, interrupted and resumed."""
