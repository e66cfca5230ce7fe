"""What runs the measurements: the machine, its processes, whose turn it is."""
