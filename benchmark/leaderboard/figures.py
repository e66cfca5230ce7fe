"""The figures of a sweep: error against parameters and FLOPs against parameters, as PNG and SVG."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from benchmark.cleaning import one_line
from benchmark.leaderboard.columns import columns_of
from benchmark.leaderboard.tables import Table
from benchmark.replacing import replacing
from benchmark.units import shape_text

# The colours also differ in lightness and have different markers, so that figures are legible without colour.
_STYLES = (("#1f5fa8", "o"), ("#c2571a", "s"), ("#3b7d3b", "^"), ("#7a4fa3", "D"), ("#555555", "v"))

# For more networks than there are markers: more colours, and then each of them with another marker.
_COLOURS = [*(colour for colour, _ in _STYLES), "#b8860b", "#0f8b8d", "#a6266e"]
_LOOKS = [(colour, _STYLES[(index + shift) % 5][1]) for shift in range(5) for index, colour in enumerate(_COLOURS)]


def draw_figures(folder: Path, summary: dict[str, Any]) -> list[Path]:
    """Write ``error_over_params`` and ``flops_over_params``, each as PNG and SVG; nothing if no point succeeded."""
    return draw_errors(folder / "error_over_params", folder / "flops_over_params", summary)


def draw_errors(error: Path, flops: Path, summary: dict[str, Any]) -> list[Path]:
    """Write the figures of errors and of FLOPs over parameters, each as PNG and SVG; nothing if no point succeeded."""
    if not summary["members"]:
        return []
    return [*_save(error, _draw_error(summary)), *_save(flops, _draw_flops(summary))]


def draw_quality(path: Path, table: Table) -> list[Path]:
    """Write the main score of a table's rows against MACs, parameters and time, as PNG and SVG."""
    costs = [column for id in ("macs", "params", "relative_latency") for column in columns_of(table.rows, [id])]
    (main,) = columns_of(table.rows, [table.main])
    figure = Figure(figsize=(3.9 * len(costs), 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    looks = dict(zip((row.name for row in table.rows), itertools.cycle(_LOOKS)))
    drawn: list[tuple[float, float, float]] = []
    for axis, cost in zip(axes, costs):
        for row in table.rows:
            x, y, score = row.fair_value(cost.id), row.value(main.id), row.measurements.get(main.id)
            if x is None or y is None or x <= 0 or not math.isfinite(y) or score is None:
                continue
            (colour, marker) = looks[row.name]
            low, high = (y if end is None else end for end in (score.ci_low, score.ci_high))
            drawn.append((low, y, high))
            axis.errorbar(
                x / cost.divisor, y, yerr=[[y - low], [high - y]], color=colour, marker=marker, ms=6, capsize=3, ls=""
            )
        axis.set_xscale("log")
        _plain_numbers(axis.xaxis)
        axis.set_xlabel(" ".join(filter(None, [cost.full_title or cost.title, f"[{cost.unit}]" if cost.unit else ""])))
        axis.grid(which="major", alpha=0.25, lw=0.6)
    axes[0].set_ylabel(f"{main.title} [{main.unit}]" if main.unit else main.title)
    frame = frame_of(drawn)
    if frame:
        axes[0].set_ylim(frame)
    cut = "; some go beyond the frame" if frame else ""
    names = [Line2D([], [], color=colour, marker=marker, ls="", label=name) for name, (colour, marker) in looks.items()]
    figure.legend(handles=names, loc="outside lower center", ncols=min(3, len(names)), fontsize=8.5, frameon=False)
    figure.suptitle(f"{one_line(table.title)}\nbars: 95 % interval over scenes and runs{cut}", fontsize=10)
    return _save(path, figure)


def frame_of(bars: Sequence[tuple[float, float, float]]) -> tuple[float, float] | None:
    """Return the range of values to show if bars (low, value, high) go further than half the values' span beyond them.

    One network whose trainings differ by 10 dB would otherwise press all others into a line.
    """
    lowest, highest = (end(value for _, value, _ in bars) for end in (min, max)) if bars else (0.0, 0.0)
    reach = (highest - lowest) / 2
    inside = all(low >= lowest - reach and high <= highest + reach for low, _, high in bars)
    return None if inside or not reach else (lowest - reach, highest + reach)


def draw_curves(path: Path, curves: Mapping[str, Sequence[tuple[int, float]]]) -> list[Path]:
    """Write the scores on held-out images over the steps of each network's training, as PNG and SVG."""
    figure = Figure(figsize=(7.8, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for (name, points), (colour, marker) in zip(sorted(curves.items()), itertools.cycle(_LOOKS)):
        axis.plot(*zip(*points), color=colour, marker=marker, ms=4, lw=1.4, label=name)
    axis.set_xlabel("training steps")
    axis.set_ylabel("mean score on held-out images")
    axis.grid(alpha=0.25, lw=0.6)
    # Inside, the names of many networks would lie over their curves.
    figure.legend(loc="outside lower center", ncols=3, fontsize=8.5, frameon=False)
    return _save(path, figure)


def _draw_error(summary: dict[str, Any]) -> Figure:
    figure, axis = _figure(summary)
    for (colour, marker), family, members in _families(summary):
        params = [member["params"] for member in members]
        for name, line in (("test", "-"), ("train", "--")):
            means = [member[f"{name}_error"] for member in members]
            deviations = [member[f"{name}_error_std"] or 0.0 for member in members]
            faint = {"alpha": 0.75, "mfc": "white", "lw": 1.2} if name == "train" else {"lw": 1.8}
            look: dict[str, Any] = {"color": colour, "marker": marker, "ms": 5, "ls": line, "capsize": 3, **faint}
            bars = deviations if any(deviations) else None
            axis.errorbar(params, means, yerr=bars, label=f"{family}, {name} error", **look)
        if threshold := summary["thresholds"][family]:
            axis.axvline(threshold["params"], color=colour, ls=":", lw=1.4)
    axis.set_yscale("log")
    _plain_numbers(axis.yaxis)
    axis.set_ylabel(f"{summary['error']} (lower is better)")
    _below(figure, axis, [_seeds(summary), _threshold_line(summary)])
    return figure


def _draw_flops(summary: dict[str, Any]) -> Figure:
    figure, axis = _figure(summary)
    for (colour, marker), family, members in _families(summary):
        params, flops = ([member[key] for member in members] for key in ("params", "flops"))
        axis.plot(params, [value / 1e9 for value in flops], color=colour, marker=marker, ms=5, lw=1.8, label=family)
        for member in members:
            place = (member["params"], member["flops"] / 1e9)
            how: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "fontsize": 8, "color": colour}
            axis.annotate(str(member["value"] if member["option"] else ""), place, xytext=(-6, 5), **how)
    axis.set_yscale("log")
    axis.margins(y=0.12)
    _plain_numbers(axis.yaxis)
    axis.set_ylabel(f"FLOPs of one image of {shape_text(summary['input_shape'])} [G]")
    varied = {member["family"]: member["option"] for member in summary["members"] if member["option"]}
    options = ", ".join(f"{option} of {family}" for family, option in varied.items())
    text = f"numbers at the points: {options}" if varied else ""
    _below(figure, axis, [text])
    return figure


def _figure(summary: dict[str, Any]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.set_xscale("log")
    axis.set_xlabel("parameters")
    axis.grid(which="major", alpha=0.25, lw=0.6)
    what = f"{summary['dataset']}, a stand-in" if summary["standin"] else summary["dataset"]
    train, test = (
        f"{_count(summary[f'{side}_images'], part)} {summary[f'{side}ed_on']}"
        for side, part in (("train", summary["train_part"]), ("test", summary["test_part"]))
    )
    where = f", middle {summary['window']}x{summary['window']}" if summary["window"] else ""
    title = f"{one_line(summary['title'])}\n{one_line(what)}\nerrors on {train} and {test} images{where}"
    axis.set_title(title, fontsize=10)
    return figure, axis


def _count(images: int, part: str | None) -> str:
    """Return a number of images, and of how many if only a part was there: "10 of 190", "5 (of 12 of 1204)"."""
    if not part:
        return str(images)
    return part if part.startswith(f"{images} of ") else f"{images} (of {part})"


def _families(summary: dict[str, Any]) -> list[tuple[tuple[str, str], str, list[dict[str, Any]]]]:
    """Return the style, name and members of each family; the members are sorted by parameters."""
    names = dict.fromkeys(member["family"] for member in summary["members"])
    members = sorted(summary["members"], key=lambda member: member["params"])
    own = ([member for member in members if member["family"] == name] for name in names)
    return list(zip(itertools.cycle(_STYLES), names, own))


def _threshold_line(summary: dict[str, Any]) -> str:
    parts = []
    for family, threshold in summary["thresholds"].items():
        where = "not reached" if threshold is None else f"{threshold['params']:,} parameters (dotted)"
        parts.append(f"{family} {where}")
    return f"interpolation threshold (training error under {summary['vanished']:g}): {'; '.join(parts)}"


def _seeds(summary: dict[str, Any]) -> str:
    seeds = sorted({member["seeds"] for member in summary["members"]})
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    if seeds[-1] == 1:
        return "1 seed: no error bars"
    return f"mean of {count} seeds, bars: standard deviation over seeds"


def _below(figure: Figure, axis: Axes, lines: Sequence[str]) -> None:
    """Put the legend where the axes have room for it, and the lines of text under the axes."""
    axis.legend(fontsize=9, framealpha=0.9)
    figure.supxlabel("\n".join(lines), fontsize=8.5, color="#444444")


def _plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis without exponents, densely enough for less than a decade."""
    low, high = axis.get_view_interval()
    if high / low < 8:
        axis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 200 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _save(path: Path, figure: Figure) -> list[Path]:
    written = []
    for kind in ("png", "svg"):
        file = path.with_name(f"{path.name}.{kind}")
        # Text is stored as text. Without a date and random ids, the same data give the same file.
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "zoo-bench"}), replacing(file) as partial:
            figure.savefig(partial, dpi=150, format=kind, metadata={"Date": None} if kind == "svg" else None)
        written.append(file)
    return written
