"""Drawing routines that only the figures of the paper need."""
