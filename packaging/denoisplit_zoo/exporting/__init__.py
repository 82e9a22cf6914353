"""From a run folder to a bioimage.io package."""
