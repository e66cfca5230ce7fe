"""What a network costs, by the clock and the resident memory, against what the machine allows."""
