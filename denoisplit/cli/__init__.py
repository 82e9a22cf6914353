"""Command line: parse the arguments, call the command, print its result."""
