"""Tables and figures of the paper, on images at hand."""
