"""The commands: each is one plain function of the Python interface, the command line calls them."""
