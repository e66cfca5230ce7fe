"""What one forward pass computes, operation by operation, and what the word FLOPs can mean."""
