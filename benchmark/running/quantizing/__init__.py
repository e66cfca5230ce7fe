"""Networks in int8: which images give the ranges, the quantised ONNX file, and what it loses."""
