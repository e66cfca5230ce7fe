"""The central types: what is evaluated, under which conditions, and with which result."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, PlainSerializer, PrivateAttr, model_serializer, model_validator
from pydantic.functional_serializers import SerializerFunctionWrapHandler

from benchmark.cleaning import encodable, html_table
from benchmark.conditions import FIRST_CONDITIONS, Conditions
from benchmark.record import Record, flattened
from benchmark.sensor import Sensor
from benchmark.units import style_of
from zoo.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from benchmark.reporting import Reporter

# In version 2 a line of results.jsonl ends with a digest of its other content; version 1 had none.
SCHEMA = 2

Evidence = Literal["published", "official-weights", "trained", "weights-file", "parameter-free", "untrained"]
Status = Literal["ok", "oom", "error", "timeout"]
Kind = Literal["count", "score", "timing"]


def encode_number(value: float | None) -> float | str | None:
    """Return ``value`` for strict JSON: infinities become the strings "inf" and "-inf".

    Raises ValueError for NaN: a score that is not a number is a failure, never a value.
    """
    if value is None or math.isfinite(value):
        return value
    if math.isnan(value):
        raise ValueError("NaN is not a measurement")
    return "inf" if value > 0 else "-inf"


def decode_number(value: Any) -> Any:
    """Return the number that ``encode_number`` encoded; pydantic checks all other values."""
    return {"inf": math.inf, "-inf": -math.inf}.get(value, value) if isinstance(value, str) else value


# Pydantic itself reads it back: a float may be the string "inf".
Number = Annotated[float, PlainSerializer(encode_number)]
# Thousands of records repeat the same definitions; memory holds one copy of each.
Shared = Annotated[str, AfterValidator(sys.intern)]


class Measurement(Record):
    """One number with its full definition."""

    # The number; null: there is none, and the remark says why.
    value: int | Number | None
    unit: Shared  # Its unit; empty for a number without one.
    definition: Shared  # What was counted, computed or timed.
    kind: Kind  # A count is exact, a score is of images, a timing depends on the machine.
    higher_is_better: bool | None = None  # The direction; null: neither is better.
    version: int = 1  # Rises when the values of this definition move.
    # For the mean of a score: the number of scenes, over which its interval is.
    num_scenes: int | None = None
    # For the mean of a score over several trainings: their number.
    num_runs: int | None = None
    run_std: Number | None = None  # The standard deviation between these trainings.
    q1: Number | None = None  # For the median of a timing: the lower quartile.
    q3: Number | None = None  # For the median of a timing: the upper quartile.
    # The lower end of the 95 % interval of a mean over scenes or of the median of a timing.
    ci_low: Number | None = None
    ci_high: Number | None = None  # The upper end of that interval.
    n: int | None = None  # The number of images of a mean, or of samples of a median.
    threads: int | None = None  # For a timing: the number of threads.
    # For a timing that should not be trusted: the reasons.
    tainted: tuple[str, ...] | None = None
    # For a value that is missing or not comparable with its column: the reason.
    remark: str | None = None
    # For a mean with infinite values: how many there are.
    n_inf: int | None = None
    finite_mean: Number | None = None  # The mean of the other values.
    # For a cost: the shape (N, C, H, W) that the network received.
    input_shape: list[int] | None = None
    # For a peak: the layer where it occurs.
    layer: str | None = None

    @property
    def is_incomplete(self) -> bool:
        """Whether operations are missing in this count, which the remark names: it is too low by an unknown amount."""
        return self.kind == "count" and self.remark is not None

    @property
    def is_doubtful(self) -> bool:
        """Whether this is a timing that was disturbed, or was cut short or has few passes (the remark says so)."""
        return self.kind == "timing" and bool(self.tainted or self.remark)

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None or key == "value"}


class Environment(Record):
    """The machine and software with which a result was measured."""

    machine: str  # A digest that is the same for all records of one machine.
    cpu: str  # The name of the processor, with its family and model.
    cores: int  # The number of cores of the machine.
    memory_bytes: int  # The memory of the machine.
    platform: str  # The operating system.
    python: str  # The version of Python.
    torch: str  # The version of PyTorch.
    packages: dict[str, str]  # The versions of other packages that can change numbers.
    threads: int  # The number of threads that torch used.
    load: Number  # The load of the machine at the start: processes that ran or waited, over the last minute.
    commit: str | None  # The commit of zoo-bench; null: it was not run from a repository.
    dirty: bool | None  # Whether files of that commit were changed.


class ProtocolRecord(Record):
    """How images are compared: the steps from a network's output to a score."""

    name: str  # The name of the protocol.
    version: int  # Rises when scores by this protocol move.
    text: str  # The steps in words.


class Fingerprint(Record):
    """A network's output for a fixed input, in a few numbers (see ``benchmark.results.fingerprint``)."""

    version: int  # Rises when the input or the numbers change.
    input_shape: list[int]  # The shape (N, C, H, W) of the input.
    output_shape: list[int]  # The shape (N, C, H, W) of the output.
    # Mean, root mean square, extremes and projections of the output, in float64.
    values: dict[str, Number]
    # The digest of the output's float32 bytes: it is the same only if the arithmetic is the same.
    sha256: str


class SeamError(Record):
    """The difference of approximate tiles of one size from the whole, on a part of an image, in the output's units."""

    size: list[int]  # Height and width of the part of the image.
    tile: list[int]  # Height and width of the tiles.
    largest: Number  # The largest absolute difference.
    rms: Number  # The root mean square of the differences.


class Tiling(Record):
    """How images of one shape were run under ``--tile``; sizes are in pixels of the network's planes."""

    # Whether this is about the passes that were scored or those that were timed.
    purpose: Literal["scores", "time"]
    input_shape: list[int]  # The shape (N, C, H, W) of the network's input.
    # "whole", "whole, kernels joined", "tiles", "strips", "filters, then" these two, "approximate tiles" or "bands".
    mode: Shared
    # The size for --tile that gives the same tiles again.
    tile: list[int] | None = None
    crop: list[int] | None = None  # The largest crop that a pass gets of the image.
    num_tiles: int = 1  # The number of tiles or strips.
    # Further passes over tiles, in which a hyper-network's filters are found.
    filter_passes: int = 0
    at_once: int = 1  # How many tiles a pass takes as one batch.
    # The counted bytes that the tiles need.
    need_bytes: int | None = None
    seams: SeamError | None = None  # For approximate tiles: how far they are from the whole image.
    text: str  # All this in words.


class RunSpec(Record):
    """Everything that determines the numbers of one record; the machine is not part of it.

    In JSON and in keys the conditions are on the same level as the other fields.
    """

    model: str  # The name of the network.
    options: dict[str, Any]  # The options that were given; others have their defaults.
    code: str  # The digest of the code that defines it.
    weights_digest: str | None  # The digest of its weights; null: they are from no file.
    dataset: str  # The name of the dataset.
    dataset_digest: str  # The digest of the files that were used.
    split: str  # The split of the dataset.
    limit: int | None  # Only this many images, the first ones; null: all.
    protocol: str  # The name and version of the protocol.
    metrics: dict[str, int]  # The metrics, each with its version.
    profilers: list[str]  # The costs that were counted or measured.
    # The actual conditions, with a number of threads. ``tile`` is what the user asked for; a record's ``tilings`` tell
    # what "auto" chose.
    conditions: Conditions
    seed: int  # The seed of random weights and of all other draws.
    evaluate: bool  # Whether images went through the network; false: only costs were measured.
    # "one-pass": float32, within 1e-5 of the metrics' definitions; "float64": the definitions themselves.
    scoring: str = "float64"
    skip_bad: bool = False  # Whether bad images were left out.

    @model_validator(mode="before")
    @classmethod
    def _nest_conditions(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "conditions" in values:
            return values
        given = {name: value for name, value in values.items() if name in Conditions.model_fields}
        if missing := {"threads", "device", "precision"} - given.keys():
            raise ValueError(f"no {min(missing)}")
        try:
            conditions = Conditions(**given)
        except UserError as error:
            raise ValueError(str(error)) from None
        return {name: value for name, value in values.items() if name not in given} | {"conditions": conditions}

    @model_serializer(mode="wrap")
    def _flatten_conditions(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return flattened(handler(self), "conditions")

    def key(self) -> str:
        """Return a digest of the spec: two runs with the same key measure the same thing."""
        values = self.model_dump(mode="json")
        for name, field in Conditions.model_fields.items():
            if name not in FIRST_CONDITIONS and values[name] == field.default:
                del values[name]
        text = json.dumps(values, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Source:
    """Where a record is stored: the file, its number there (None: just added), its digest check (None: no digest)."""

    file: Path
    number: int | None
    is_intact: bool | None

    def __str__(self) -> str:
        return f"{self.file.name}, record {self.number}" if self.number else self.file.name


class Result(Record):
    """One line of results.jsonl: the numbers of a model on a dataset, or why there are none."""

    record_schema: int = SCHEMA  # The version of these fields.
    key: str  # The digest of `spec`.
    model: str  # The name of the network.
    options: dict[str, Any]  # The options that were given.
    dataset: str  # What tables call the data, for example `zrr-standin`.
    split: str  # The split of the dataset.
    n: int  # How many images went through the network.
    # How many scenes the images show; None: unknown, in records of earlier versions and of data without scenes.
    num_scenes: int | None = None
    evidence: Evidence  # Where the weights are from.
    status: Status  # Whether the measurement ended well.
    error: str | None  # What went wrong, if it did not.
    seconds: Number  # How long it took.
    created: str  # The date and time, in UTC.
    measurements: dict[str, Measurement]  # All numbers, by id.
    # The file of the scores per image. Paths are relative to the folder of results.jsonl.
    per_image: str | None
    pictures: str | None  # The picture of input, output, target and error.
    # A folder of separate pictures, with an index: see benchmark.imaging.pictures.save_pictures.
    gallery: str | None = None
    # The raw samples of the timings, by size.
    timings: str | None = None
    # Seconds spent loading, in the network, in the metrics and in the store.
    phases: dict[str, Number] = {}
    notes: list[str] = []  # Remarks that tables show below the row.
    # How many bad images or files were left out (--skip-bad).
    num_skipped: int = 0
    skipped: dict[str, str] = {}  # What is wrong with the first of them.
    # If the scores first align the output: a plot of the shifts that were found.
    shift_plot: str | None = None
    # The fingerprint, if the network ran.
    fingerprint: Fingerprint | None = None
    output_shapes: dict[str, list[int]] = {}  # The shape (N, C, H, W) of its output at each size of the costs.
    # Under --tile: how images of each shape were run.
    tilings: list[Tiling] = []
    # Of a network that a sweep trained: steps, learning rate and how it was chosen, digest of the recipe, curves.
    training: dict[str, Any] = {}
    # The weights file, if there is one: its name, sha256, the user's label and, if it was trained here, the recipe.
    weights: dict[str, str] | None = None
    spec: RunSpec  # Everything that decides the numbers.
    protocol: ProtocolRecord  # How images were compared.
    environment: Environment  # The machine and its software.
    # About the data: for a stand-in, the generator, its version and the digest of its sources.
    data: dict[str, Any] = {}
    _source: Source | None = PrivateAttr(None)

    def __eq__(self, other: object) -> bool:
        """Return whether two records have the same content, wherever they are stored."""
        return isinstance(other, Result) and self.__dict__ == other.__dict__

    @property
    def source(self) -> Source | None:
        """The place where this record was read or written; None: it has not been stored."""
        return self._source

    @property
    def label(self) -> str:
        """The user's name for the weights; empty if there is none. It decides no number, so no key holds it."""
        return (self.weights or {}).get("label", "")

    @property
    def name(self) -> str:
        """Model, options and label of the weights, without conditions."""
        return label_of(self.model, self.options, self.label)

    @property
    def part(self) -> str:
        """The part of the split that was used, for example "12 of 1204"; empty for a whole split."""
        pairs, published = self.data.get("pairs"), self.data.get("published_pairs")
        # Records from before --partial describe a part of SIDD-Small only with these two numbers.
        older = f"{pairs} of {published}" if published is not None and pairs != published else ""
        return str(self.data.get("part", older))

    @property
    def is_approximate(self) -> bool:
        """Whether the output was, or may have been, put together from tiles that are not exact."""
        modes = [tiling.mode for tiling in self.tilings]
        return self.spec.conditions.approximate and (not modes or "approximate tiles" in modes)

    @property
    def is_edited(self) -> bool:
        """Whether the line of this record was changed after it was written."""
        return self._source is not None and self._source.is_intact is False

    def _repr_html_(self) -> str:
        """Return a table of the measurements for a notebook, with the units that every table has."""
        about = [f"{self.dataset} {self.split}", f"{self.part or self.n} images", self.evidence, self.status]
        title = ", ".join([self.name, *self.spec.conditions.words(approximate=self.is_approximate)])
        rows = []
        for id, one in self.measurements.items():
            style = style_of(id, one.unit, is_score=one.kind == "score")
            value, low, high = (
                "-" if number is None else style.show(float(number)) for number in (one.value, one.ci_low, one.ci_high)
            )
            doubts = "; ".join([*(one.tainted or ()), *([one.remark] if one.remark else [])])
            rows.append([style.full_title, value, style.unit, "" if one.ci_low is None else f"{low} to {high}", doubts])
        edited = ["This record was edited by hand."] if self.is_edited else []
        notes = filter(None, [*edited, self.error, *self.notes])
        headers = ("measurement", "value", "unit", "95 % interval", "doubts")
        return html_table(f"{title}: {', '.join(about)}", headers, rows, notes)

    @classmethod
    def of(
        cls,
        spec: RunSpec,
        *,
        seconds: float,
        error: str | None,
        notes: Sequence[str] = (),
        skipped: Mapping[str, str] | None = None,
        weights: Mapping[str, str] | None = None,
        data: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Result:
        """Return the record for ``spec``; every new record is made here.

        ``fields`` are other fields of the record; the rest follows from the spec or is absent. Text from outside is
        changed so that every encoding accepts it.
        """
        own: dict[str, Any] = {
            "key": spec.key(),
            "model": spec.model,
            "options": spec.options,
            "dataset": spec.dataset,
            "split": spec.split,
            "n": 0,
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "per_image": None,
            "pictures": None,
        }
        text = {"error": error, "notes": list(notes), "skipped": dict(skipped or {}), "data": dict(data or {})}
        text["weights"] = None if weights is None else dict(weights)
        return cls(spec=spec, seconds=round(seconds, 3), **own | fields, **encodable(text))

    def labelled(self, label: str) -> Result:
        """Return this record with another name for its weights (empty: with none)."""
        weights = {name: text for name, text in (self.weights or {}).items() if name != "label"}
        return self.model_copy(update={"weights": weights | ({"label": label} if label else {})})

    def found_at(self, source: Source) -> Result:
        """Set the place where this record is stored; return the record."""
        self._source = source
        return self


def label_of(model: str, options: Mapping[str, Any], label: str = "") -> str:
    """Return ``name``, ``name[key=value,...]``, or either of them with the label of weights: ``name (label)``."""
    given = f"[{','.join(f'{key}={value}' for key, value in sorted(options.items()))}]" if options else ""
    return f"{model}{given} ({label})" if label else f"{model}{given}"


@dataclass(frozen=True)
class EvaluationProtocol:
    """How a dataset's images are compared; ``text`` becomes part of every score's definition."""

    name: str
    version: int
    text: str
    clamp: bool
    round_uint8: bool
    metrics: tuple[str, ...]

    def record(self) -> ProtocolRecord:
        """Return the part that is stored."""
        return ProtocolRecord(name=self.name, version=self.version, text=self.text)


@dataclass(frozen=True)
class Sample:
    """One pair. ``input``: RAW counts (1, 1, H, W), RGB (1, 3, H, W) or gray (1, 1, H, W); ``target`` RGB, or gray too.

    RGB and gray values are in [0, 1], or beyond where noise was added. ``sigma`` is the standard deviation of the noise
    on the scale of 8-bit values, where it is known: networks that take it are told it. ``black`` and ``white`` are the
    sensor's levels in counts and ``red`` the (row, column) of the red pixel in the first 2x2 block; all three matter
    for RAW only. ``scene`` names what the picture shows (the photograph, the scene instance): images of one scene are
    not independent.
    """

    id: str
    input: Tensor
    target: Tensor
    black: float = 0.0
    white: float = 1.0
    red: tuple[int, int] = (0, 0)
    scene: str = ""
    sigma: float | None = None

    @property
    def is_raw(self) -> bool:
        """Whether the input is a mosaic of counts."""
        return self.input.shape[1] < self.target.shape[1]


class Dataset(Protocol):
    """An opened split: a sequence of samples with its name and a digest of its files.

    ``scenes`` gives the scene of each of ``ids``; scores of a dataset without it are shown and never ranked.
    """

    name: str
    split: str
    ids: Sequence[str]
    scenes: Sequence[str]
    provenance: Mapping[str, Any]

    def __getitem__(self, index: int) -> Sample:
        """Return sample ``index``; raises UserError naming the file if it is damaged."""

    def digest(self, limit: int | None = None) -> str:
        """Return a digest of the content of the first ``limit`` samples' files (all if None).

        If only a part of the split exists (``provenance["part"]``: "12 of 1204"), the digest includes that text.
        """


def scenes_of(dataset: Dataset) -> dict[str, str]:
    """Return the scene of each image by id, as far as the dataset names them."""
    return {id: scene for id, scene in zip(dataset.ids, getattr(dataset, "scenes", ())) if scene}


@dataclass(frozen=True)
class DatasetCard:
    """A registered dataset. ``plane_size`` is the size of a network's input for a patch, ``full_size`` for 12 MP."""

    name: str
    task: str
    summary: str
    protocol: EvaluationProtocol
    splits: tuple[str, ...]
    default_split: str
    plane_size: tuple[int, int]
    full_size: tuple[int, int]
    # Opens a split: (root, split). Raises UserError for every fault in the files. If it also takes ``skip_bad=True``,
    # it leaves out bad images and lists them in ``left_out`` {image or file: what is wrong}. If it also takes
    # ``partial=True``, it opens the existing part of the split and gives its size in ``provenance["part"]``.
    open: Callable[..., Dataset]
    # Returns the root of the built-in stand-in, which is made first if needed; None: there is no stand-in.
    standin: Callable[[Reporter], Path] | None = None
    # Writes a stand-in into an empty folder: (folder, seed, reporter, label=None).
    write_standin: Callable[..., None] | None = None
    # Writes or continues one from a user's photographs: (folder, photographs, count, seed, reporter, label=None); False
    # if it is there already.
    write_from_photos: Callable[..., bool] | None = None
    # Returns the card for the user's options, for example rule, task and white of pairs.
    configure: Callable[[Mapping[str, str]], DatasetCard] | None = None
    # The names of these options.
    options: tuple[str, ...] = ()
    # The white level of 16-bit files in counts, if the user gives it.
    white: float | None = None
    # The sensor of RAW mosaics, if the user describes it.
    sensor: Sensor | None = None
    # Whether the dataset adds noise of a level that the user gives, which its samples know.
    adds_noise: bool = False
    # Returns the card for a folder: its files may decide the task. None: they decide nothing.
    at_root: Callable[[DatasetCard, Path], DatasetCard] | None = None

    @property
    def is_gray(self) -> bool:
        """Whether the images have one channel."""
        return self.task == "denoise_gray"


class MetricFunction(Protocol):
    """Compare two images (H, W, 3) or gray (H, W, 1), float64 in [0, 1]; raises UserError if it is not defined."""

    def __call__(self, output: np.ndarray, target: np.ndarray) -> float: ...


@dataclass(frozen=True)
class MetricCard:
    """A registered metric: a pure function with a definition and a version. Values lie in [``least``, ``most``].

    ``check`` raises UserError if a package or file that the function needs is missing. ``takes_gray``: whether it is
    also defined for gray images.
    """

    id: str
    function: MetricFunction
    definition: str
    unit: str = ""
    higher_is_better: bool = True
    version: int = 1
    least: float = -math.inf
    most: float = math.inf
    check: Callable[[], None] = lambda: None
    takes_gray: bool = False
