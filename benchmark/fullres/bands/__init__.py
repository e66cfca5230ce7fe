"""Run one operator after another in bands of rows, for networks that see the whole image; read tensors are freed."""
