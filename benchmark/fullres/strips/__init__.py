"""Down the image: all layers strip by strip, each keeping the rows that its next strip still needs."""
