"""Two sets of records side by side: what became better, worse, or cannot be compared; and the gate built on that."""
