"""The benchmark: datasets, metrics, profilers, runs, stores and tables for the networks of ``zoo``.

``run``, ``evaluate``, ``profile``, ``score`` and ``train`` do the same as the commands of these names;
``load_results`` returns records as a pandas data frame, ``fetch_weights`` the file of weights at an address;
``register_dataset``, ``register_loss``, ``register_metric`` and ``register_profiler`` are for plug-ins. All of them are
imported when they are first used; ``__init__.pyi`` tells editors and type checkers what they are.
"""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "run": "benchmark.running.run",
    "evaluate": "benchmark.scoring.evaluation",
    "profile": "benchmark.costs.profiling",
    "train": "benchmark.training.loop",
    "score": "benchmark.scoring.folders",
    "load_results": "benchmark.leaderboard.frames",
    "fetch_weights": "benchmark.fetching",
    "register_dataset": "benchmark.datasets",
    "register_loss": "benchmark.losses",
    "register_metric": "benchmark.metrics",
    "register_profiler": "benchmark.profilers",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'benchmark' has no attribute '{name}'")
    return getattr(importlib.import_module(_WHERE[name]), name)
