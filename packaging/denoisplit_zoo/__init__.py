"""Turns a run folder of ``denoisplit`` into a bioimage.io resource."""
