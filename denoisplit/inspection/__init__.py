"""Say what a file, run or package is, and whether an image suits a run."""
