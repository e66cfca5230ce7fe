"""Runs for the command line: models on datasets, which give records, and models on a user's own images."""
