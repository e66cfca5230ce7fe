"""Official weights: the figure that was published for each file beside what was measured with it here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmark.cleaning import markdown
from benchmark.config import Strict, read_settings
from benchmark.leaderboard import Board, rows_of, to_markdown
from benchmark.leaderboard.published import MaybePrinted
from benchmark.results.records import oldest_first
from benchmark.types import Measurement, Result
from zoo.errors import UserError
from zoo.official import OfficialFile, official_files


class Figure(NamedTuple):
    """A published value (None: none is known) on a split of a dataset."""

    dataset: str
    split: str
    published: MaybePrinted


class FileFigures(Strict):
    """The figures of one official file, which ``repository`` and ``path`` name as ``zoo.official`` does."""

    repository: str
    path: str
    source: str | None
    colours: str
    figures: list[Figure]


class OfficialFigures(Strict):
    """The content of ``official.yaml``; ``metrics`` gives the id of the score by ``colours``."""

    remark: str
    metrics: dict[str, str]
    sources: dict[str, str]
    files: list[FileFigures]


def official_page(file: Path, results: Iterable[Result]) -> str:
    """Return the Markdown page of ``file``; raises UserError if it names a file, a source or a metric wrongly."""
    figures = read_settings(file, OfficialFigures)
    known = {(one.repository, one.path): one for one in official_files()}
    measured = _measured(results)
    rows = []
    for part in figures.files:
        official = known.get((part.repository, part.path))
        if official is None:
            raise UserError(f"{file}: no official file {part.path} of {part.repository}; expected one that is known.")
        for name, place in ((part.colours, figures.metrics), (part.source, figures.sources)):
            if name is not None and name not in place:
                raise UserError(f"{file}: {part.path}: no '{name}'; expected one of {', '.join(place)}.")
        rows += [_row(official, figure, part, figures, measured) for figure in part.figures]
    headers = ("weights", "of", "network", "data", "published [dB]", "zoo-bench [dB]", "difference [dB]", "images")
    notes = [
        "difference: the measured value, rounded to the digits of the published one, less that one.",
        "brackets: the 95% interval of the mean over scenes.",
        *(f"published, {name}: {text}." for name, text in figures.sources.items()),
    ]
    board = Board("Removal of Gaussian noise", headers, tuple(rows), tuple(notes), labels=4)
    return "\n".join([_LEAD.format(remark=markdown(figures.remark)), to_markdown(board)])


_LEAD = """# Official weights: published and measured

Made by `zoo-bench leaderboard` from `official.yaml` and the records; do not edit. The column "published" holds what
a source prints, copied and never measured here. The column "zoo-bench" holds scores of the same file of weights, known
by its digest. The files belong to their authors and are not shipped. {remark}
"""


def _measured(results: Iterable[Result]) -> dict[tuple[str, str, str], Result]:
    """Return the newest fair record on whole data by digest of the weights' file, dataset and split."""
    return {
        (row.result.weights["sha256"], row.result.dataset, row.result.split): row.result
        for row in rows_of(oldest_first(results))
        if row.is_fair and row.result.status == "ok" and row.result.evidence == "official-weights"
        if row.result.weights and not row.result.part and row.result.spec.conditions.precision == "fp32"
    }


def _row(
    official: OfficialFile,
    figure: Figure,
    part: FileFigures,
    figures: OfficialFigures,
    measured: dict[tuple[str, str, str], Result],
) -> tuple[str, ...]:
    result = measured.get((official.sha256, figure.dataset, figure.split))
    score = result.measurements.get(figures.metrics[part.colours]) if result else None
    printed = figure.published
    published = f"{printed.text} ({part.source})" if printed else "-"
    value, difference = _texts(score, printed.decimals if printed else 3, printed.value if printed else None)
    images = f"{result.n}, {result.num_scenes} scenes" if result and result.num_scenes else "-"
    name = official.path.rpartition("/")[2] if official.path.count("/") < 2 else "/".join(official.path.split("/")[-2:])
    data = f"{figure.dataset}, {figure.split}"
    return (name, official.repository, official.model or "-", data, published, value, difference, images)


def _texts(score: Measurement | None, decimals: int, published: float | None) -> tuple[str, str]:
    """Return the measured value with its interval, and its difference from the published one."""
    if score is None or score.value is None:
        return "-", "-"
    value = round(float(score.value), decimals)
    bounds: Sequence[str] = [f"{bound:.{decimals}f}" for bound in (score.ci_low, score.ci_high) if bound is not None]
    text = f"{value:.{decimals}f}" + (f" [{', '.join(bounds)}]" if bounds else "")
    return text, "-" if published is None else f"{value - published:+.{decimals}f}"
