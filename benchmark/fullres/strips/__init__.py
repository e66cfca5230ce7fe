"""Run all layers strip by strip down the image; each layer keeps the rows that its next strip still needs."""
