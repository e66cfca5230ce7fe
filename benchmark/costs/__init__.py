"""Count what a network costs; nothing here runs it at full size."""
