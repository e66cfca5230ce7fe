"""Scripts that measure speed and memory and hold them against goals: ``python -m speed`` lists them."""
