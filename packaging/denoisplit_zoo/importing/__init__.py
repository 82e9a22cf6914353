"""Import of packages as runs, and of weights from other implementations."""
