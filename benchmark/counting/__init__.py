"""Count one forward pass operation by operation, and define the different meanings of FLOPs."""
