"""Make tables from rows: one quality table per set of images, one table of costs, and the texts around them."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from benchmark.leaderboard.cells import machines_of
from benchmark.leaderboard.columns import BESIDE_QUALITY, COSTS, KINDS, Column, columns_of, score_ids
from benchmark.leaderboard.pooling import pooled, with_times
from benchmark.leaderboard.ranks import pareto_cells, ranked
from benchmark.leaderboard.rows import Row, evidence_legend, one_per_model, rows_of
from benchmark.leaderboard.shares import COLUMNS, NOTE, SHOWN_THERE
from benchmark.leaderboard.sweeps import is_aside, page_of_sweep
from benchmark.results.paired import FEWEST_SCENES, LEVEL
from benchmark.types import Result
from benchmark.units import counted
from zoo.errors import UserError

# The titles of the texts above a table.
STANDIN, PART, SCENES, MACHINE = "Stand-in data", "A part of the dataset", "Scenes", "Machine of the timings"
MOSAICS, NOISE, GRAY, REMARK = "RAW mosaics", "Noise added", "Gray pictures", "Remark of who measured"
_NO_QUALITY = "No quality is shown for untrained weights; costs do not depend on training."
INTERVAL = (
    f"In brackets: the {LEVEL:.0%} interval of the mean over scenes. Rows are compared image by image, so they may"
    " differ significantly although their intervals overlap."
)
UNKNOWN_SCENES = "scenes unknown: measure again to rank"
_PRINTED = "Figures from papers, not measured here."
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Table:
    """Rows that share a table, in their order, with ranks and columns: Markdown, terminal and page show the same.

    ``columns`` are shown in the Markdown, ``others`` hold all other measurements; ``main`` orders the rows. ``ranks``
    and ``fronts`` (letters of costs) have a text per row; both may be empty. ``lead`` is shown above the table as pairs
    of title and text; ``caution`` is what a reader must know about the whole table, ``notes`` explain its signs.
    """

    kind: Literal["quality", "error", "published", "costs"]
    title: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    others: tuple[Column, ...]
    main: str
    lead: tuple[tuple[str, str], ...]
    caution: str
    notes: tuple[str, ...]
    ranks: tuple[str, ...] = ()
    fronts: tuple[str, ...] = ()
    # The sweep or recipe that trained the networks of a quality table, if it is known.
    recipe: str = ""

    @property
    def is_standin(self) -> bool:
        """Whether the images are a stand-in."""
        return self.rows[0].is_standin

    @property
    def part(self) -> str:
        """The part of the dataset that the rows are about, as "12 of 1204"; empty for the whole dataset."""
        return self.rows[0].result.part


def tables_by_page(results: Sequence[Result]) -> dict[str, list[Table]]:
    """Return the tables of each page by its name: a dataset's, or that of sweeps that name a page of their own.

    The page of a sweep also has the floors and the times that were measured on its dataset. Raises UserError for no
    records.
    """
    if not results:
        raise UserError("leaderboard: no records; run `zoo-bench run` first or name a folder with --results.")
    by_page = grouped(results, lambda result: page_of_sweep(result) or "")
    rest = by_page.pop("", [])
    found = {dataset: tables_of(rows_of(own)) for dataset, own in grouped(rest, lambda result: result.dataset).items()}
    for page, own in by_page.items():
        datasets = {result.dataset for result in own}
        beside = rows_of(result for result in rest if result.dataset in datasets)
        floors = [row for row in beside if row.result.evidence == "parameter-free"]
        found[page] = tables_of([*floors, *with_times(pooled(rows_of(own)), beside)])
    return dict(sorted(found.items()))


def tables_of(rows: Sequence[Row]) -> list[Table]:
    """Return the tables of one dataset: a quality table per set of images, then one table of all models' costs.

    A quality table is followed by one of what the error is made of, if its records say that.

    Runs on a part of the dataset have tables of their own, which come later and name the part. Rows are comparable
    within a table: they have the same images, protocol and metric versions. ``rows`` are oldest first.
    """
    tables = []
    by_data = grouped(pooled(rows), lambda row: (row.is_standin, row.result.part))
    for data in sorted(by_data):
        # A number from a paper is never shown in a measured column.
        scored = grouped(
            [row for row in by_data[data] if row.is_scored],
            lambda row: (row.result.evidence == "published", images_of(row.result)),
        )
        for group in (own for images in sorted(scored, key=str) for own in _by_training(scored[images])):
            tables.append(_quality_table(group))
            tables += _error_tables(tables[-1])
        tables.append(_cost_table(one_per_model(by_data[data])))
    return tables


def _by_training(rows: Sequence[Row]) -> list[list[Row]]:
    """Divide the rows of one set of images by the recipe of their training, each with the floors, which have none.

    Networks that were trained by different recipes are not shown side by side. Rows whose training is not known
    (official weights, a user's file) share a table: there a rank compares files.
    """
    floors = [row for row in rows if row.result.evidence == "parameter-free"]
    by_training = grouped([row for row in rows if row.result.evidence != "parameter-free"], lambda row: row.training)
    chosen = [{id(row) for row in [*own, *floors]} for _, own in sorted(by_training.items())]
    return [[row for row in rows if id(row) in own] for own in chosen] or [floors]


def grouped(items: Sequence[Any], key: Callable[[Any], Key]) -> dict[Key, list[Any]]:
    """Return the items by key, each group in the order of ``items``."""
    groups: dict[Key, list[Any]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def images_text(result: Result) -> str:
    """Return the number of images of a record: "12", "12 of 1204" or "the first 5 of 12 of 1204" images.

    If bad images were left out: "4 images of the first 5 of 12 of 1204". If only the middle of each is used:
    "100 images (middle 64x64)".
    """
    limit, part = result.spec.limit, result.part
    # A sweep may use only the middle of each image.
    window = f" (middle {result.data['window']}x{result.data['window']})" if result.data.get("window") else ""
    if not part or part.startswith(f"{result.n} of "):
        return f"{part or result.n} images{window}"
    meant = f"the first {limit} of {part}" if limit else part
    return f"{meant} images{window}" if result.n == limit else f"{result.n} images{window} of {meant}"


def scenes_text(result: Result) -> str:
    """Return the number of scenes that the images of a record show, and why it has no rank if they are the reason."""
    number = result.num_scenes
    if number is None:
        return UNKNOWN_SCENES
    text = counted(number, "scene")
    return text if number >= FEWEST_SCENES else f"{text}: too few to rank"


def images_of(result: Result) -> tuple[object, ...]:
    """Return what all scores of one table have in common: images, scenes, protocol and versions of the metrics."""
    scores = ((id, m.version) for id, m in result.measurements.items() if m.kind == "score" and not is_aside(id))
    versions = sorted(scores)
    spec = result.spec
    scenes = result.num_scenes, result.data.get("scene", "")
    return (result.split, result.n, scenes, spec.dataset_digest, spec.protocol, spec.scoring, tuple(versions))


def _quality_table(group: Sequence[Row]) -> Table:
    (main,) = columns_of(group, score_ids(group[:1])[:1])
    rows = _in_order(group, main.id, descending=bool(main.higher_is_better))
    elsewhere = SHOWN_THERE - {main.id} if _has_shares(rows) else ()
    shown = (id for id in score_ids(rows) if id not in elsewhere and not is_aside(id))
    columns = columns_of(rows, [*shown, *BESIDE_QUALITY])
    ranks, rank_notes = ranked(rows, main.id)
    fronts, front_note = pareto_cells(rows, main, columns)
    first = rows[0].result
    is_printed = first.evidence == "published"
    trained = [row for row in rows if row.training]
    recipe = _training_name(trained[0].result) if trained else ""
    about = "" if is_printed else f", {scenes_text(first)}{trained_by(recipe)}"
    return Table(
        "published" if is_printed else "quality",
        f"{first.dataset}, {first.split}: {images_text(first)}{about}",
        tuple(rows),
        columns,
        _others(rows, columns),
        main.id,
        _lead(rows),
        _PRINTED if is_printed else _few_scenes(rows),
        tuple(filter(None, [_interval_note(rows), *rank_notes, front_note, evidence_legend(rows)])),
        tuple(ranks),
        fronts,
        recipe,
    )


def trained_by(recipe: str) -> str:
    """Return the part of a title that names the recipe of a table's networks."""
    return f", trained by {recipe}" if recipe else ""


def _training_name(result: Result) -> str:
    """Return the name of the sweep, or else of the recipe, that trained a network."""
    return str(result.training.get("sweep", {}).get("name") or (result.weights or {}).get("recipe", ""))


def _few_scenes(rows: Sequence[Row]) -> str:
    """Say why no row of a table has a rank; empty if its scenes are not the reason."""
    if rows[0].has_enough_scenes:
        return ""
    why = (
        "these records do not say which images show one scene"
        if rows[0].result.num_scenes is None
        else "images of one scene are not independent"
    )
    text = scenes_text(rows[0].result)
    return (
        f"{text[0].upper()}{text[1:]}. Scores are only shown, without intervals, ranks, best values and fronts: {why},"
        f" and a difference is tested over at least {FEWEST_SCENES} scenes."
    )


def _interval_note(rows: Sequence[Row]) -> str:
    scores = [one for row in rows for one in row.measurements.values() if one.kind == "score"]
    return INTERVAL if any(one.ci_low is not None for one in scores) else ""


def _has_shares(rows: Sequence[Row]) -> bool:
    return any(COLUMNS[-1] in row.measurements for row in rows)


def _error_tables(quality: Table) -> list[Table]:
    """Return the table that says what the error of a quality table's rows is made of, if that was measured."""
    if not _has_shares(quality.rows):
        return []
    columns = columns_of(quality.rows, dict.fromkeys((quality.main, *COLUMNS)))
    lead = tuple(one for one in quality.lead if one[0] != MACHINE)
    title = f"{quality.title}: what the error is made of"
    notes = tuple(filter(None, [_interval_note(quality.rows), NOTE]))
    return [Table("error", title, quality.rows, columns, (), quality.main, lead, quality.caution, notes)]


def _cost_table(group: Sequence[Row]) -> Table:
    main = "flops@12mp" if any("flops@12mp" in row.measurements for row in group) else "flops@fullscale"
    rows = _in_order(group, main)
    first = rows[0].result
    part = f", from runs on {first.part} images" if first.part else ""
    columns = columns_of(rows, COSTS)
    return Table(
        "costs",
        f"{first.dataset}: costs{part}",
        tuple(rows),
        columns,
        tuple(column for column in _others(rows, columns) if column.kind != "score"),
        main,
        _lead(rows),
        _NO_QUALITY,
        (evidence_legend(rows),),
    )


def _in_order(rows: Sequence[Row], id: str, *, descending: bool = False) -> list[Row]:
    """Return the rows sorted by a measurement, then by name; rows without the measurement come last."""

    def place(row: Row) -> tuple[float, str, str]:
        value = row.value(id)
        return (math.inf if value is None else -value if descending else value, row.name, row.result.key)

    return sorted(rows, key=place)


def _others(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns of the other measurements: scores, costs, then times."""
    known = {column.id for column in columns}
    ids = dict.fromkeys(id for row in rows for id in row.measurements if id not in known)
    return tuple(sorted(columns_of(rows, ids), key=lambda column: KINDS.index(column.kind)))


def _lead(rows: Sequence[Row]) -> tuple[tuple[str, str], ...]:
    """Return what a reader must know first: whether the data is a stand-in or a part, and which machines timed."""
    first, lines = rows[0], []
    if first.is_standin:
        # A later generator may make the same images: rows of one quality table have them.
        versions = " or ".join(sorted({str(row.result.data.get("generator")) for row in rows}))
        lines.append((
            STANDIN,
            f"made from photographs by generator {versions} (sources {str(first.result.data.get('sources'))[:12]}); its"
            " scores say nothing about the real dataset.",
        ))  # fmt: skip
    if part := first.result.part:
        lines.append((PART, f"{part} images; scores of the whole dataset may differ."))
    remarks = dict.fromkeys(str(row.result.data["remark"]) for row in rows if row.result.data.get("remark"))
    lines += [(REMARK, remark) for remark in remarks]
    if rule := first.result.data.get("scene"):
        lines.append((SCENES, f"found in the names of the inputs by the regular expression {rule}"))
    for key, title in (("noise", NOISE), ("conversion", GRAY)):
        # A table of costs may hold rows of several levels.
        if len(texts := {str(row.result.data.get(key, "")) for row in rows}) == 1 and (text := texts.pop()):
            lines.append((title, text))
    described = [row.result.data for row in rows if "cfa" in row.result.data]
    sensors = [f"{data['cfa']}, black level {data.get('black')}, white level {data.get('white')}" for data in described]
    if sensors:
        lines.append((MOSAICS, f"{'; '.join(dict.fromkeys(sensors))}, as the user states."))
    letters = machines_of(rows)
    by_key = {row.machine: row.timing for row in rows if row.is_timed}
    for key, letter in letters.items():
        machine, device = by_key[key].environment, by_key[key].spec.conditions.device
        mark = f"{letter} = " if len(letters) > 1 else ""
        lines.append((
            MACHINE,
            f"{mark}{machine.cpu}, {machine.cores} cores, {counted(machine.threads, 'thread')}, torch {machine.torch}"
            f"{'' if device == 'cpu' else f', on {device}'}; median (quartiles) of one image.",
        ))  # fmt: skip
    return tuple(lines)
