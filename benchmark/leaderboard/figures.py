"""The figures of a sweep: error against parameters and FLOPs against parameters, as PNG and SVG."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from benchmark.cleaning import one_line
from benchmark.replacing import replacing
from benchmark.units import shape_text

# The colours also differ in lightness and have different markers, so that figures are legible without colour.
_STYLES = (("#1f5fa8", "o"), ("#c2571a", "s"), ("#3b7d3b", "^"), ("#7a4fa3", "D"), ("#555555", "v"))


def draw_figures(folder: Path, summary: dict[str, Any]) -> list[Path]:
    """Write ``error_over_params`` and ``flops_over_params``, each as PNG and SVG; nothing if no point succeeded."""
    if not summary["members"]:
        return []
    return [
        *_save(folder / "error_over_params", _draw_error(summary)),
        *_save(folder / "flops_over_params", _draw_flops(summary)),
    ]


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
    _plain_numbers(axis)
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
    _plain_numbers(axis)
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
        f"{summary[f'{side}_images']} {summary[f'{side}ed_on']}" + (f" (of {part})" if part else "")
        for side, part in (("train", summary["train_part"]), ("test", summary["test_part"]))
    )
    title = f"{one_line(summary['title'])}\n{one_line(what)}: errors on {train} and {test} images"
    axis.set_title(title, fontsize=11)
    return figure, axis


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


def _plain_numbers(axis: Axes) -> None:
    """Label a logarithmic axis without exponents, densely enough for less than a decade."""
    low, high = axis.get_ylim()
    if high / low < 8:
        axis.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
        axis.yaxis.set_minor_locator(NullLocator())
    else:
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 200 else (1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def _save(path: Path, figure: Figure) -> list[Path]:
    written = []
    for kind in ("png", "svg"):
        file = path.with_name(f"{path.name}.{kind}")
        # Text is stored as text. Without a date and random ids, the same data give the same file.
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "zoo-bench"}), replacing(file) as partial:
            figure.savefig(partial, dpi=150, format=kind, metadata={"Date": None} if kind == "svg" else None)
        written.append(file)
    return written
