"""The cards of everything but models: metrics, losses, datasets, profilers, shipped recipes, suites and sweeps."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.config import header_of, read_yaml, shipped_files
from benchmark.datasets import DATASETS
from benchmark.fitting import hanging, wrapped
from benchmark.losses import LOSSES
from benchmark.metrics import METRICS
from benchmark.profilers import PROFILERS
from benchmark.running.suite import load_suite
from benchmark.sweeping.settings import load_sweep
from benchmark.training.recipe import load_recipe
from benchmark.units import shape_text
from zoo.errors import UserError, nearest, shortened
from zoo.registry import Registry

# The lines of a card: what each is about, and its text.
Lines = list[tuple[str, str]]
# The kinds of settings that ship, and how each is read.
SETTINGS: dict[str, Callable[[Path], Any]] = {"recipe": load_recipe, "suite": load_suite, "sweep": load_sweep}


def plain(text: str) -> str:
    """Return the text of a docstring without the marks of code that documentation tools want."""
    return text.replace("``", "`")


def laid_out(title: str, lines: Sequence[tuple[str, str]], room: int | None) -> str:
    """Return a card as text: a title, and lines of at most ``room`` characters (None: of any length) but addresses."""
    found, width = wrapped(title, room, "  "), max([13, *(len(about) for about, _ in lines)])
    for about, text in lines:
        # An address must stay whole to be copied.
        found += hanging(f"  {about:{width}} ", text, None if text.startswith("https://") else room)
    return "\n".join(found)


def names_of(kind: str) -> list[str]:
    """Return the names of a kind: "metric", "loss", "dataset", "profiler", "recipe", "suite" or "sweep"."""
    if kind in SETTINGS:
        return list(shipped_files(kind))
    registries: dict[str, Registry[Any]] = {"metric": METRICS, "loss": LOSSES}
    registries |= {"dataset": DATASETS, "profiler": PROFILERS}
    return registries[kind].names()


def document_of(kind: str, name: str) -> dict[str, Any]:
    """Return a card of another kind than a model as JSON-ready values; raises UserError with the nearest names."""
    return _settings(kind, name) if kind in SETTINGS else _PIECES[kind](name)


def text_of(document: Mapping[str, Any], room: int | None = None) -> str:
    """Return a document of ``document_of`` as text for people, in lines of at most ``room`` characters."""
    title = f"{document['name']}: {plain(document['summary'])}" if document.get("summary") else document["name"]
    own = {
        key.replace("_", " "): value for key, value in document.items() if key not in ("name", "summary", "settings")
    }
    lines: Lines = []
    for key, value in own.items():
        texts = ", ".join(value) if isinstance(value, list) else value
        texts = ("yes" if texts else "no") if isinstance(texts, bool) else texts
        lines += [(key, str(texts))] if texts not in (None, "") else []
    for key, value in document.get("settings", {}).items():
        several = isinstance(value, list) and any(isinstance(one, dict) for one in value)
        lines += [(key, _in_yaml(one)) for one in (value if several else [value])]
    return laid_out(title, lines, room)


def _in_yaml(value: Any) -> str:
    """Return a value as a file of settings has it on one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_in_yaml(one)}' for key, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_in_yaml, value))}]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _metric(name: str) -> dict[str, Any]:
    card = METRICS.get(name)
    try:
        card.check()
        missing = None
    except UserError as error:
        missing = str(error)
    is_bounded = math.isfinite(card.least) or math.isfinite(card.most)
    return {
        "name": card.id,
        "definition": card.definition,
        "unit": card.unit,
        "higher_is_better": card.higher_is_better,
        "values": f"{card.least:g} to {card.most:g}" if is_bounded else None,
        "gray_images": card.takes_gray,
        "version": card.version,
        "protocols_of": sorted({other.name for other in DATASETS if card.id in other.protocol.metrics}),
        "missing": missing,
        "use": f"zoo-bench run --dataset NAME --metrics 'protocol,{card.id}'",
    }


def _dataset(name: str) -> dict[str, Any]:
    card = DATASETS.get(name)
    protocol = card.protocol
    variable = f"$ZOO_BENCH_DATA/{name}"
    folder = Path(os.environ.get("ZOO_BENCH_DATA", ""), name)
    is_there = bool(os.environ.get("ZOO_BENCH_DATA")) and folder.is_dir()
    sizes = [shape_text(size) for size in (card.plane_size, card.full_size)]
    return {
        "name": card.name,
        "summary": card.summary,
        "task": card.task,
        "splits": [f"{split} (default)" if split == card.default_split else split for split in card.splits],
        "protocol": f"{protocol.name}, version {protocol.version}: {protocol.text}",
        "metrics": list(protocol.metrics),
        "sizes": f"a network receives {sizes[0]}; 12 MP is {sizes[1]}",
        "options": [f"--{option.replace('_', '-')}" for option in map(_flag, card.options)],
        "data": f"--data-root DIR, else {variable} ({'there' if is_there else 'not there'})"
        + (", else the embedded stand-in" if card.standin else ""),
        "stand_in": f"zoo-bench data make {name} --out DIR" if card.write_standin else None,
        "use": f"zoo-bench run --dataset {name}",
    }


def _flag(option: str) -> str:
    return {"rule": "pairs"}.get(option, option)


def _loss(name: str) -> dict[str, Any]:
    loss = LOSSES.get(name)
    given = ", options: {" + ", ".join(f"{key}: {one.default}" for key, one in loss.options.items()) + "}"
    return {
        "name": name,
        "summary": loss.summary,
        "use": f"a term of a recipe: loss: [{{name: {name}{given if loss.options else ''}}}]",
    }


def _profiler(name: str) -> dict[str, Any]:
    card = PROFILERS.get(name)
    return {"name": card.name, "summary": card.summary, "kind": card.kind}


_PIECES: dict[str, Callable[[str], dict[str, Any]]] = {
    "metric": _metric,
    "loss": _loss,
    "dataset": _dataset,
    "profiler": _profiler,
}


def _settings(kind: str, name: str) -> dict[str, Any]:
    files = shipped_files(kind)
    if name not in files:
        raise UserError(f"no {kind} called '{shortened(name)}'{nearest(name, files)}")
    command, summary, notes = header_of(files[name])
    return {
        "name": name,
        "summary": summary,
        "command": command,
        "notes": notes,
        **({"points": _num_points(files[name])} if kind == "sweep" else {}),
        "file": str(files[name]),
        "settings": read_yaml(files[name]),
    }


def _num_points(file: Path) -> int:
    """Return how many networks a sweep trains, without those of its search."""
    sweep = load_sweep(file).sweep
    return sum(max(1, len(family.values)) * len(family.seeds or sweep.seeds) for family in sweep.families)
