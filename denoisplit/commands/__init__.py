"""Commands: each is one function of the Python interface, which the command line calls."""
