"""The harness: datasets, metrics, profilers, runs, stores, tables; built on the networks of ``zoo``."""
