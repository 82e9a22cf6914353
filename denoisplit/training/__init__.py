"""Training of one network or of a chain, from prepared data to an evaluated run folder."""
