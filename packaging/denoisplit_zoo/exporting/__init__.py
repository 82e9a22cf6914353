"""Export of a run folder as a bioimage.io package."""
