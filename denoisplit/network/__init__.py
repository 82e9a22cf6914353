"""Network of the method: torch modules without training."""
