"""Experiment grids: settings, points, budget, engines, records and figures of ``benchmark.sweeping.sweep``."""
