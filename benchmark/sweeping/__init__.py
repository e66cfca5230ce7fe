"""Experiment grids: settings, points, budget, executors, records and figures of ``benchmark.sweeping.session``."""
