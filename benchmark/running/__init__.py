"""What the command line runs: models over datasets into records, and models on a user's own images."""
