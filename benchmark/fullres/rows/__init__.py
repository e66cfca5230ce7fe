"""A network as a list of operators, each of which can compute some rows of its output from some of its input."""
