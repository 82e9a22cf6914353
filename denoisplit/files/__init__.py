"""Atomic writes, folder locks and safe readers of data files."""
