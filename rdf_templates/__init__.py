"""Templates of resource descriptions and model cards, read with ``importlib.resources``."""
