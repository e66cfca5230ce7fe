"""Experiment grids: settings, points, budget, records and figures of ``benchmark.sweeping.session``."""
