"""Operator by operator, in bands of rows, for networks that see the whole image: tensors go as soon as they are read."""
