"""Operator by operator, in bands of rows, for networks that see the whole image; tensors go once they are read."""
