"""Measured time and memory of a network, compared with what the machine allows."""
