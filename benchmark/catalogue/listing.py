"""One row for each registered or shipped piece, by its kind, chosen by patterns and by task."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

from benchmark.catalogue.cards import SETTINGS
from benchmark.catalogue.weights import known_weights
from benchmark.config import header_of, shipped_files
from benchmark.datasets import DATASETS
from benchmark.losses import LOSSES
from benchmark.metrics import METRICS
from benchmark.profilers import PROFILERS
from zoo.card import MODELS, Task, get_card
from zoo.errors import UserError, nearest, shortened


def catalogue(what: str, patterns: Sequence[str] = (), task: str | None = None) -> list[dict[str, Any]]:
    """Return one row per piece of a kind: models, datasets, metrics, losses, profilers, recipes, suites, sweeps or
    weights.

    With ``patterns`` only those whose name is one of them or matches it, with ``task`` only those for this task. Raises
    UserError for an unknown task, for a kind that has none, and for a pattern that nothing matches.
    """
    rows = list(_ROWS[what]())
    if task is not None:
        if task not in get_args(Task):
            raise UserError(f"--task: no task '{shortened(task)}'{nearest(task, get_args(Task))}")
        if what in ("metrics", "losses", "profilers"):
            raise UserError(f"--task {task}: {what} are for every task; leave it out.")
        rows = [row for row in rows if row["task"] == task]
    for pattern in patterns:
        if not any(_matches(row["name"], pattern) for row in rows):
            names = {row["name"] for row in rows}
            raise UserError(f"list {what}: nothing matches '{shortened(pattern)}'{nearest(pattern, names)}")
    return [row for row in rows if not patterns or any(_matches(row["name"], pattern) for pattern in patterns)]


def _matches(name: str, pattern: str) -> bool:
    # The ids of metrics have brackets, which a pattern takes for a choice of letters.
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def _models() -> Iterator[dict[str, Any]]:
    known: dict[str, list[str]] = {}
    for row in known_weights():
        known.setdefault(row["name"], []).append(row["kind"])
    for card in MODELS:
        row = {key: getattr(card, key) for key in ("name", "task", "params", "forms", "summary", "paper")}
        yield row | {"weights": sorted(set(known.get(card.name, [])), reverse=True)}


def _pieces(cards: Any, *keys: str) -> Callable[[], Iterator[dict[str, Any]]]:
    named = {"name": "id", "summary": "definition"} if cards is METRICS else {}
    return lambda: ({key: getattr(card, named.get(key, key)) for key in keys} for card in cards)


def _settings(kind: str) -> Callable[[], Iterator[dict[str, Any]]]:
    def rows() -> Iterator[dict[str, Any]]:
        for name, file in shipped_files(kind).items():
            command, summary, _ = header_of(file)
            yield {"name": name, **_about(kind, SETTINGS[kind](file)), "summary": summary, "command": command}

    return rows


def _about(kind: str, settings: Any) -> dict[str, Any]:
    """Return which models, dataset and task settings are about."""
    if kind == "recipe":
        return {"model": settings.model, "dataset": settings.dataset, "task": get_card(settings.model).task}
    if kind == "sweep":
        models = list(dict.fromkeys(family.model for family in settings.sweep.families))
        return {"models": models, "dataset": settings.recipe["dataset"], "task": get_card(models[0]).task}
    return {"models": settings.models, "dataset": settings.dataset, "task": DATASETS.get(settings.dataset).task}


_ROWS: dict[str, Callable[[], Any]] = {
    "models": _models,
    "datasets": _pieces(DATASETS, "name", "task", "splits", "summary"),
    "metrics": _pieces(METRICS, "name", "unit", "higher_is_better", "version", "summary"),
    "losses": _pieces(LOSSES, "name", "summary"),
    "profilers": _pieces(PROFILERS, "name", "kind", "summary"),
    **{f"{kind}s": _settings(kind) for kind in SETTINGS},
    "weights": known_weights,
}
