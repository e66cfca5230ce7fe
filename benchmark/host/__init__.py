"""The machine that runs the measurements, its processes, and the locks between them."""
