"""Checks of a package for each of its consumers."""
