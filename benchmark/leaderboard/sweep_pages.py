"""What the page of a sweep says and draws beside its tables: how its networks were trained, curves, and a verdict.

A sweep whose families are one network each is an arena: networks side by side. One whose families vary an option, as
the double-descent experiment, gets its figures of error and FLOPs over parameters and a verdict in words.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmark.cleaning import markdown
from benchmark.leaderboard.descent import verdict
from benchmark.leaderboard.sweeps import page_of_sweep, summary_of
from benchmark.leaderboard.tables import Table, grouped
from benchmark.results.records import newest
from benchmark.types import Result, label_of
from benchmark.units import counted

PLOTS = "plots"
# Validation scores are shown at these parts of a training.
_PARTS = (0.25, 0.5, 0.75, 1.0)


def sweeps_by_page(results: Sequence[Result]) -> dict[str, dict[str, list[Result]]]:
    """Return the newest records of the sweeps on each page, by page and by sweep."""
    own = newest([one for one in results if page_of_sweep(one)])
    own = sorted(own, key=lambda one: (one.created, one.key))
    return {
        page: dict(sorted(grouped(of_page, lambda one: one.training["sweep"]["name"]).items()))
        for page, of_page in sorted(grouped(own, lambda one: page_of_sweep(one) or "").items())
    }


def is_arena(results: Sequence[Result]) -> bool:
    """Whether the families of a sweep are one network each."""
    return all(result.training["sweep"]["option"] is None for result in results)


def introduction(sweeps: Mapping[str, Sequence[Result]]) -> str:
    """Return what stands above the tables: how the networks were trained, the plots, and the verdict of experiments."""
    parts = []
    for name, results in sweeps.items():
        title = markdown(str(results[0].training["sweep"]["title"]))
        lines = [f"## {title}", _recipe_text(name, results)]
        if is_arena(results):
            lines += [_picture(f"{name}_quality", "quality against costs"), _picture(f"{name}_curves", "curves")]
        else:
            lines += ["".join(f"- {markdown(line)}\n" for line in verdict(summary_of(results))).rstrip()]
            lines += [_picture(f"{name}_error", "errors"), _picture(f"{name}_flops", "FLOPs")]
        parts.append("\n\n".join(lines) + "\n")
    return "\n".join(parts)


def appendix(sweeps: Mapping[str, Sequence[Result]]) -> str:
    """Return what stands below the tables: the choice of the learning rates, and how far the trainings went."""
    parts = []
    for results in sweeps.values():
        good = [result for result in results if result.status == "ok"]
        if any(result.training.get("search") for result in good):
            parts.append(_search_table(good))
        if is_arena(results) and any(len(result.training.get("validation", ())) > 1 for result in good):
            parts.append(_curve_table(good))
    return "\n".join(parts)


def plot_names(sweeps: Mapping[str, Sequence[Result]]) -> list[str]:
    """Return the paths of a page's plots, relative to the folder of the tables."""
    kinds = {name: ("quality", "curves") if is_arena(own) else ("error", "flops") for name, own in sweeps.items()}
    return [f"{PLOTS}/{name}_{one}.{kind}" for name, own in kinds.items() for one in own for kind in ("png", "svg")]


def draw(sweeps: Mapping[str, Sequence[Result]], tables: Sequence[Table], out: Path) -> list[Path]:
    """Draw the plots of a page into ``out``/plots; return their paths."""
    # Imported only here, because matplotlib takes a second.
    from benchmark.leaderboard.figures import draw_curves, draw_errors, draw_quality

    folder = out / PLOTS
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for name, results in sweeps.items():
        if not is_arena(results):
            files += draw_errors(folder / f"{name}_error", folder / f"{name}_flops", summary_of(results))
            continue
        table = next(table for table in tables if table.kind == "quality" and any(row.runs for row in table.rows))
        files += draw_quality(folder / f"{name}_quality", table)
        files += draw_curves(folder / f"{name}_curves", _curves([one for one in results if one.status == "ok"]))
    return files


def _picture(name: str, text: str) -> str:
    return f"![{text}]({PLOTS}/{name}.png)"


def _recipe_text(name: str, results: Sequence[Result]) -> str:
    """Return how a sweep's networks were trained, in a few sentences."""
    good = [result for result in results if result.status == "ok"] or list(results)
    training, where = good[0].training, good[0].training["trained_on"]
    seeds = sorted({result.spec.seed for result in results})
    seconds = math.fsum(_value(result, "train_seconds") for result in good)
    steps = sorted({result.training.get("steps", 0) for result in good})
    failed = len(results) - len([result for result in results if result.status == "ok"])
    networks = len({_name(result) for result in results})
    searched = ", beside the search" if training.get("lr_rule") else ""
    often = "" if networks == len(results) else f" in {len(results)} trainings"
    text = (
        f"`zoo-bench sweep configs/sweeps/{name}.yaml --set recipe.data_root=DATA` trained {networks} networks{often}"
        f" by one recipe, {', '.join(map(str, steps))} steps of {training.get('batch_size')}, on"
        f" {where['part'] or where['count']} images of {where['dataset']} {where['split']}, with seeds"
        f" {', '.join(map(str, seeds))}: {seconds / 3600:.1f} hours, with {_threads(good[0])}{searched}."
    )
    if training.get("lr_rule"):
        text += f" Learning rate of each network: {training['lr_rule']}."
    about = training["sweep"].get("about")
    return f"{text}{f' {about}' if about else ''}" + (f" {failed} trainings failed." if failed else "")


def _threads(result: Result) -> str:
    threads = result.environment.threads
    return f"{counted(threads, 'thread')} each"


def _value(result: Result, id: str) -> float:
    found = result.measurements.get(id)
    return 0.0 if found is None or found.value is None else float(found.value)


def _name(result: Result) -> str:
    return label_of(result.model, result.spec.options)


def _by_network(results: Sequence[Result]) -> dict[str, list[Result]]:
    return grouped(results, _name)


def _search_table(results: Sequence[Result]) -> str:
    networks = {name: own[0].training["search"] for name, own in _by_network(results).items()}
    rates = sorted({one["lr"] for search in networks.values() for one in search})
    rows = []
    for name, search in sorted(networks.items()):
        by_rate = {one["lr"]: one for one in search}
        cells = [_searched(by_rate[rate]) if rate in by_rate else "-" for rate in rates]
        chosen = next((one["lr"] for one in search if one["chosen"]), None)
        rows.append([markdown(name), *cells, "at the edge" if search and chosen in (rates[0], rates[-1]) else ""])
    table = _table(["network", *(f"{rate:g}" for rate in rates), ""], rows, numbers=len(rates))
    return (
        "## The choice of the learning rates\n\nScores on held-out images after the short trainings; bold: the rate"
        f" that was taken.\n\n{table}\n"
    )


def _searched(one: Mapping[str, Any]) -> str:
    text = "failed" if one["score"] is None else f"{one['score']:.2f}"
    return f"**{text}**" if one["chosen"] else text


def _curves(results: Sequence[Result]) -> dict[str, list[tuple[int, float]]]:
    """Return the validation curve of each network, the mean over its runs at each step."""
    curves = {}
    for name, own in _by_network(results).items():
        points: dict[int, list[float]] = {}
        for result in own:
            for step, scores in result.training.get("validation", ()):
                value = next(iter(scores.values()), None)
                if isinstance(value, int | float):
                    points.setdefault(step, []).append(float(value))
        curves[name] = [(step, statistics.fmean(values)) for step, values in sorted(points.items())]
    return {name: curve for name, curve in curves.items() if curve}


def _curve_table(results: Sequence[Result]) -> str:
    """Return the scores at the steps nearest to a quarter, half and three quarters, and at the end."""
    found = {
        name: list(dict.fromkeys(min(curve, key=lambda point: abs(point[0] - part * curve[-1][0])) for part in _PARTS))
        for name, curve in sorted(_curves(results).items())
    }
    steps = sorted({step for at in found.values() for step, _ in at})
    rows = []
    for name, at in found.items():
        known = {step: f"{value:.2f}" for step, value in at}
        gain = f"{at[-1][1] - at[-2][1]:+.2f} since {at[-2][0]:,}" if len(at) > 1 else "-"
        rows.append([markdown(name), *(known.get(step, "-") for step in steps), gain])
    heads = [*(f"after {step:,} steps" for step in steps), "gain at the end"]
    table = _table(["network", *heads], rows, numbers=len(heads))
    return (
        "## How far the trainings went\n\nMean score on held-out images over the runs. A network that still gains much"
        f" at the end would gain from a longer training.\n\n{table}\n"
    )


def _table(headers: Iterable[str], rows: Sequence[Sequence[str]], *, numbers: int) -> str:
    heads = list(headers)
    align = ["left", *["right"] * numbers, *["left"] * (len(heads) - numbers - 1)]
    return tabulate(rows, headers=heads, tablefmt="pipe", colalign=align, disable_numparse=True)
