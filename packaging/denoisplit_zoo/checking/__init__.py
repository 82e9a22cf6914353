"""Checks of a package against each of its consumers."""
