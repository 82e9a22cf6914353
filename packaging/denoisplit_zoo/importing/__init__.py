"""From a package, or the weights of another library, back to a run."""
