"""Rows made from records: which record is taken, what the row is called, and whether it may be compared.

Every table is made from these rows: Markdown, terminal, page, papers' tables, ``compare``. Three kinds of records are
shown with a warning: those edited by hand, those contradicted by an older record of the same key, and those whose
output was joined from tiles that are not exact. They have no rank, no Pareto front and are never the best of a column.
Neither have scores of fewer than 6 scenes, or of images whose scenes are not known.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from benchmark.leaderboard.runs import mean_measurements, mean_scores
from benchmark.leaderboard.shares import shares_of
from benchmark.results.conflicts import conflicts
from benchmark.results.journal import Scores
from benchmark.results.paired import FEWEST_SCENES
from benchmark.results.records import newest, oldest_first
from benchmark.results.store import image_scenes, image_scores
from benchmark.types import Evidence, Measurement, Result, label_of
from benchmark.units import counted, shape_text
from zoo.card import FORM_NOTE, get_card
from zoo.errors import UserError

BADGES: dict[Evidence, tuple[str, str]] = {
    "published": ("¶", "printed in a paper, not measured here"),
    "official-weights": ("★", "the weights that the authors published, known by their digest"),
    "trained": ("●", "trained by the recipe named"),
    "weights-file": ("◆", "a file of the user's, by the beginning of its sha256"),
    "parameter-free": ("□", "nothing to train"),
    "untrained": ("○", "random weights, no quality"),
}
EDITED, CONFLICTING = "✎ edited by hand", "≠ conflicting records"
APPROXIMATE = "put together from tiles that are not exact, which changes the output; not ranked"


@dataclass(frozen=True)
class Row:
    """What tables show of one model under its conditions; ``conflict``: how an older record of the same key differs.

    If the network was trained several times, ``runs`` are the rows of the trainings, and ``result`` is the first one's.
    ``timed`` is a row of the same network that was timed apart from them.
    """

    result: Result
    conflict: str = ""
    runs: tuple[Row, ...] = ()
    timed: Row | None = None

    @cached_property
    def name(self) -> str:
        """Model and options, and the conditions that are not the usual ones."""
        # A sweep's records also name the seed, which several runs do not share.
        options = self.result.spec.options if self.runs else self.result.options
        return row_name(self.result, options)

    @cached_property
    def measurements(self) -> Mapping[str, Measurement]:
        """The measurements by id (of several runs their means), with the shares that follow from parts of the error."""
        if not self.runs:
            return {**self.result.measurements, **shares_of(self.result)}
        means = mean_measurements([run.measurements for run in self.runs], self.image_scores, self.scenes)
        times = {id: m for id, m in self.timed.measurements.items() if m.kind == "timing"} if self.timed else {}
        return {**means, **times}

    def image_size(self, measurement: Measurement) -> str:
        """Return the size of the image or mosaic that was measured as HxW; empty if the measurement has none.

        Of a network that is not registered here it is the planes' size.
        """
        if not measurement.input_shape:
            return ""
        try:
            cell = get_card(self.result.model).input_for(self.result.spec.options).cell
        except UserError:
            cell = 1
        return shape_text([cell * side for side in measurement.input_shape[-2:]])

    @property
    def training(self) -> str:
        """A digest of the recipe by which the weights were trained; empty if it is not known or nothing is trained."""
        return (self.result.weights or {}).get("recipe_digest", "") if self.result.evidence == "trained" else ""

    @property
    def num_runs(self) -> int:
        """The number of trainings that the scores are over; 0 if nothing was trained by a known recipe."""
        return len(self.runs) or bool(self.training)

    @property
    def is_standin(self) -> bool:
        """Whether the images are a stand-in."""
        return bool(self.result.data.get("standin"))

    @property
    def is_scored(self) -> bool:
        """Whether this row has a place in a table of quality: never with untrained weights."""
        result = self.result
        has_score = any(m.kind == "score" for m in result.measurements.values())
        return has_score and result.status == "ok" and result.evidence != "untrained"

    @property
    def is_timed(self) -> bool:
        """Whether there is a timing of the network: a sweep's records alone hold the time of its training."""
        if "sweep" in self.timing.training:
            return False
        # Timings are the last measurements.
        return any(m.kind == "timing" for m in reversed(self.timing.measurements.values()))

    @property
    def timing(self) -> Result:
        """The record that the timings are from."""
        return (self.timed or self).result

    @property
    def machine(self) -> str:
        """What timings depend on besides the model: machine, threads and device."""
        environment = self.timing.environment
        return f"{environment.machine}/{environment.threads}/{self.timing.spec.conditions.device}"

    @cached_property
    def is_fair(self) -> bool:
        """Whether this row may be ranked: not edited, not contradicted, and measured on the network's exact output."""
        return not (self.result.is_edited or self.result.is_approximate or self.conflict)

    @cached_property
    def image_scores(self) -> Mapping[str, Scores]:
        """The trusted scores by image, of several runs their means; empty if there are none beside the record."""
        return mean_scores([run.image_scores for run in self.runs]) if self.runs else image_scores(self.result)

    @cached_property
    def scenes(self) -> Mapping[str, str]:
        """The scenes of these images; empty if they are not known."""
        if self.runs:
            first = self.runs[0].scenes
            return first if all(run.scenes == first for run in self.runs) else {}
        return image_scenes(self.result)

    @property
    def has_enough_scenes(self) -> bool:
        """Whether the images show as many scenes as a rank needs."""
        return (self.result.num_scenes or 0) >= FEWEST_SCENES

    def value(self, id: str) -> float | None:
        """Return a measurement's value, or None if it has none."""
        measurement = self.measurements.get(id)
        return None if measurement is None or measurement.value is None else float(measurement.value)

    def fair_value(self, id: str) -> float | None:
        """Return the value if it may be compared with other rows; None if it is only shown."""
        one = self.measurements.get(id)
        if one is None or not self.is_fair or one.is_incomplete or one.is_doubtful:
            return None
        return self.value(id) if one.kind != "score" or self.has_enough_scenes else None

    @property
    def weights(self) -> str:
        """The recipe of the weights, or the beginning of the file's digest; empty if there are no weights."""
        weights = self.result.weights
        if weights is None:
            return ""
        trained_on = f", on {weights['part']} images" if "part" in weights else ""
        return f"{weights.get('recipe') or weights.get('sha256', '')[:8]}{trained_on}"

    @property
    def runs_text(self) -> str:
        """The number of trainings of this row as text; empty if it is not known."""
        return counted(len(self.runs), "run") if self.runs else ""

    @property
    def signs(self) -> list[str]:
        """Warnings beside the evidence of a row that should not be trusted: a sign and some words for each reason."""
        return [EDITED] * self.result.is_edited + [CONFLICTING] * bool(self.conflict)

    @property
    def evidence(self) -> str:
        """Sign and evidence; recipes and files are named, so that a score can be traced, and failures are shown."""
        result = self.result
        text = f"{BADGES[result.evidence][0]} {result.evidence}" + (f" ({self.weights})" if result.weights else "")
        text += f", {self.runs_text}" if self.runs else ""
        return " ".join([text if result.status == "ok" else f"{text}, {result.status}", *self.signs])

    @property
    def failure(self) -> str:
        """Status and error of a failed run; empty for any other run."""
        return f"{self.result.status}: {self.result.error}" if self.result.error else ""

    @property
    def doubts(self) -> list[str]:
        """Why this row is not ranked; empty for a fair one."""
        result, doubts = self.result, []
        if result.is_edited:
            where = f"{result.source} is not as it was written (its digest does not match)"
            doubts.append(f"{EDITED[0]} {where}; not ranked")
        if self.conflict:
            doubts.append(f"{CONFLICTING[0]} {self.conflict}; not ranked")
        return doubts + [APPROXIMATE] * result.is_approximate

    @property
    def remarks(self) -> list[str]:
        """What a reader should know: this row's doubts, how the images were tiled, and the run's notes."""
        # Other notes of a sweep's runs say by what and on what they were trained; its page says that above the tables.
        notes = [note for note in self.result.notes if not self.runs or note.startswith(FORM_NOTE)]
        return [*self.doubts, *_tilings(self.result), *notes]


def row_name(result: Result, options: Mapping[str, Any] | None = None) -> str:
    """Return model, options (by default the record's), label of the weights and the conditions that are not usual."""
    unusual = result.spec.conditions.words(approximate=result.is_approximate)
    return ", ".join([label_of(result.model, result.options if options is None else options, result.label), *unusual])


def rows_of(results: Iterable[Result], key: Callable[[Result], Hashable] = lambda result: result.key) -> list[Row]:
    """Return a row for the newest record of each ``key``, in the order in which the records were written.

    Records of a sweep on one machine have no fixed order; equal ones are ordered by the record's key.
    """
    known = list(results)
    doubts = conflicts(known)
    records = oldest_first(sorted(newest(known, key), key=lambda result: result.key))
    return [Row(result, doubts.get(result.key, "")) for result in records]


def one_per_model(rows: Sequence[Row]) -> list[Row]:
    """Keep one row per model and conditions: prefer a run on the data to a row of costs, and newer to older rows.

    Each failure keeps its own row, so that it is seen. ``rows`` are oldest first.
    """
    best: dict[tuple[str, str], Row] = {}
    for row in rows:
        place = (row.name, "" if row.result.status == "ok" else row.result.status)
        if place not in best or row.result.n >= best[place].result.n:
            best[place] = row
    return list(best.values())


def evidence_legend(rows: Sequence[Row]) -> str:
    """Return what the signs of these rows' evidence mean."""
    used = [evidence for evidence in BADGES if any(row.result.evidence == evidence for row in rows)]
    return f"Evidence: {'; '.join(f'{BADGES[e][0]} {e}: {BADGES[e][1]}' for e in used)}."


def remarks_on(rows: Sequence[Row]) -> list[str]:
    """Return the remarks on single rows; rows with the same remark share a line."""
    said: dict[str, list[str]] = {}
    for row in rows:
        for text in filter(None, [row.failure, *row.remarks]):
            said.setdefault(text, []).append(row.name)
    return [f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in said.items()]


def _tilings(result: Result) -> list[str]:
    """Return how the images were tiled, by shape; the tile size that ``--tile auto`` chose is written as HxW."""
    purposes: dict[str, list[str]] = {}
    for one in result.tilings:
        named = f" (--tile {one.tile[0]}x{one.tile[1]})" if one.tile and result.spec.conditions.tile == "auto" else ""
        purposes.setdefault(f"at {shape_text(one.input_shape[1:])}{named}: {one.text}", []).append(one.purpose)
    return [f"{' and '.join(dict.fromkeys(names))} {text}" for text, names in purposes.items()]
