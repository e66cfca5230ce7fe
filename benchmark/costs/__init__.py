"""What a network costs, by counting; nothing here runs it at full size."""
