"""Piece by piece: crops with a border as wide as the network sees, put together without seams."""
