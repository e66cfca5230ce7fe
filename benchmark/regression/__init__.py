"""Compare two sets of records: what became better, worse, or cannot be compared; and the gate that uses this."""
