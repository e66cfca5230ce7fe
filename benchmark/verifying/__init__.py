"""Run a user's own copy of a network beside ours with the same weights, and say where they first differ."""
