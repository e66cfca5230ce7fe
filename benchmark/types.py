"""The central types: what is evaluated, under which conditions, with what result."""

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

from benchmark.cleaning import encodable
from benchmark.conditions import FIRST_CONDITIONS, Conditions
from benchmark.record import Record
from zoo.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from benchmark.reporting import Reporter

# 2: a line of results.jsonl ends with a digest of its other content; 1 had none.
SCHEMA = 2

Evidence = Literal["published", "official-weights", "trained", "weights-file", "parameter-free", "untrained"]
Status = Literal["ok", "oom", "error", "timeout"]
Kind = Literal["count", "score", "timing"]


def encode_number(value: float | None) -> float | str | None:
    """Return ``value`` as strict JSON takes it: infinities become the strings "inf" and "-inf".

    Raises ValueError for NaN: a score that is not a number is a failure, never a value.
    """
    if value is None or math.isfinite(value):
        return value
    if math.isnan(value):
        raise ValueError("NaN is not a measurement")
    return "inf" if value > 0 else "-inf"


def decode_number(value: Any) -> Any:
    """Return the number behind ``encode_number``; other values are left for pydantic to judge."""
    return {"inf": math.inf, "-inf": -math.inf}.get(value, value) if isinstance(value, str) else value


# Read back by pydantic itself: a float may be the string "inf".
Number = Annotated[float, PlainSerializer(encode_number)]
# Thousands of records repeat the same definitions: one copy of each.
Shared = Annotated[str, AfterValidator(sys.intern)]


class Measurement(Record):
    """One number with its full definition."""

    value: int | Number | None
    unit: Shared
    definition: Shared
    kind: Kind
    higher_is_better: bool | None = None
    version: int = 1
    # Beside a timing's median: quartiles, 95 % interval, number of samples, threads.
    q1: Number | None = None
    q3: Number | None = None
    ci_low: Number | None = None
    ci_high: Number | None = None
    n: int | None = None
    threads: int | None = None
    # Beside a timing that should not be trusted: why.
    tainted: tuple[str, ...] | None = None
    # Beside a value that is not like the others of its column, or is not there: why.
    remark: str | None = None
    # Beside a mean with infinite values: how many, and the mean of the others.
    n_inf: int | None = None
    finite_mean: Number | None = None
    # Beside a cost: the shape (N, C, H, W) that the network received.
    input_shape: list[int] | None = None
    # Beside a peak: where it occurs.
    layer: str | None = None

    @property
    def is_incomplete(self) -> bool:
        """Whether this is a count that lacks something, which the remark names: it is too low by an unknown amount."""
        return self.kind == "count" and self.remark is not None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None or key == "value"}


class Environment(Record):
    """Where a result was measured."""

    machine: str
    cpu: str
    cores: int
    memory_bytes: int
    platform: str
    python: str
    torch: str
    packages: dict[str, str]
    threads: int
    load: Number
    commit: str | None
    dirty: bool | None


class ProtocolRecord(Record):
    """How images are compared: what stands between a network's output and a score."""

    name: str
    version: int
    text: str


class Fingerprint(Record):
    """What a network returns for a fixed input, in a few numbers (see ``benchmark.results.fingerprint``)."""

    version: int
    input_shape: list[int]
    output_shape: list[int]
    # Mean, root mean square, extremes and projections of the output, in float64.
    values: dict[str, Number]
    # Of the output's float32 bytes: the same only where the arithmetic is.
    sha256: str


class SeamError(Record):
    """By how much approximate tiles of one size differ from the whole image, on a part of it: in the output's units."""

    size: list[int]
    tile: list[int]
    largest: Number
    rms: Number


class Tiling(Record):
    """How images of one shape went through a network under ``--tile``; sizes in pixels of its planes."""

    # Of what: the passes that were scored, or those that were timed.
    purpose: Literal["scores", "time"]
    input_shape: list[int]
    # "whole", "tiles" or "strips", "filters, then" either of them, "approximate tiles" or "bands".
    mode: Shared
    # The size that --tile gives to have the same tiles again, and the largest crop: what a pass sees of the image.
    tile: list[int] | None = None
    crop: list[int] | None = None
    num_tiles: int = 1
    # Further passes over tiles, in which a hyper-network's filters are found.
    filter_passes: int = 0
    at_once: int = 1
    # What the tiles take, by counting.
    need_bytes: int | None = None
    seams: SeamError | None = None
    text: str


class RunSpec(Record):
    """Everything that decides the numbers of one record; the machine is not part of it.

    In JSON and in keys the conditions stand among the other fields, not inside one of their own.
    """

    model: str
    options: dict[str, Any]
    code: str
    weights_digest: str | None
    dataset: str
    dataset_digest: str
    split: str
    limit: int | None
    protocol: str
    metrics: dict[str, int]
    profilers: list[str]
    # As they were: with a number of threads. ``tile`` is what the user asked for; a record's ``tilings`` say what
    # "auto" took.
    conditions: Conditions
    seed: int
    evaluate: bool
    # "one-pass": float32, within 1e-5 of the metrics' definitions; "float64": the definitions themselves.
    scoring: str = "float64"
    skip_bad: bool = False

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
        values: dict[str, Any] = handler(self)
        return values | values.pop("conditions")

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
    """Where a record is stored: file, its number there (None: just added), what its digest says (None: has none)."""

    file: Path
    number: int | None
    is_intact: bool | None

    def __str__(self) -> str:
        return f"{self.file.name}, record {self.number}" if self.number else self.file.name


class Result(Record):
    """One line of results.jsonl: a model on a dataset, or why there is no number."""

    record_schema: int = SCHEMA
    key: str
    model: str
    options: dict[str, Any]
    dataset: str
    split: str
    n: int
    evidence: Evidence
    status: Status
    error: str | None
    seconds: Number
    created: str
    measurements: dict[str, Measurement]
    # Paths relative to the folder of results.jsonl.
    per_image: str | None
    pictures: str | None
    # A folder of separate pictures, with an index: see benchmark.imaging.pictures.save_pictures.
    gallery: str | None = None
    # The raw samples of the timings, by size.
    timings: str | None = None
    # Seconds spent loading, in the network, in the metrics and in the store.
    phases: dict[str, Number] = {}
    notes: list[str] = []
    # Images or files that were left out because they are bad (--skip-bad): how many, and what is wrong with the first.
    num_skipped: int = 0
    skipped: dict[str, str] = {}
    # Where the scores align the output first: a plot of the shifts that were found.
    shift_plot: str | None = None
    # What the network computes, where it ran; and the shape (N, C, H, W) of its output at each size of the costs.
    fingerprint: Fingerprint | None = None
    output_shapes: dict[str, list[int]] = {}
    # Under --tile: how the images went through the network, by shape.
    tilings: list[Tiling] = []
    # Of the weights file, where there is one: its name, sha256 and, if trained here, the recipe.
    weights: dict[str, str] | None = None
    spec: RunSpec
    protocol: ProtocolRecord
    environment: Environment
    # About the data: for a stand-in, the generator, its version and the digest of its sources.
    data: dict[str, Any] = {}
    _source: Source | None = PrivateAttr(None)

    def __eq__(self, other: object) -> bool:
        """Whether two records say the same, wherever they are stored."""
        return isinstance(other, Result) and self.__dict__ == other.__dict__

    @property
    def source(self) -> Source | None:
        """Where this record was read or written; None: it has not been stored."""
        return self._source

    @property
    def part(self) -> str:
        """How much of the split was there, as "12 of 1204"; empty for a whole one."""
        pairs, published = self.data.get("pairs"), self.data.get("published_pairs")
        # Records from before --partial describe a part of SIDD-Small only by these two numbers.
        older = f"{pairs} of {published}" if published is not None and pairs != published else ""
        return str(self.data.get("part", older))

    @property
    def is_approximate(self) -> bool:
        """Whether the output was put together from tiles that are not exact, or may have been."""
        modes = [tiling.mode for tiling in self.tilings]
        return self.spec.conditions.approximate and (not modes or "approximate tiles" in modes)

    @property
    def is_edited(self) -> bool:
        """Whether the line that this record was read from is not the one that was written."""
        return self._source is not None and self._source.is_intact is False

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
        """Return the record of what ``spec`` describes: the one place where a new record is put together.

        ``fields`` are others of the record; what they do not say follows from the spec or is absent. Text from outside
        is made such that every encoding takes it.
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

    def found_at(self, source: Source) -> Result:
        """Note where this record is stored; return it."""
        self._source = source
        return self


def label_of(model: str, options: Mapping[str, Any]) -> str:
    """Return ``name`` or ``name[key=value,...]``."""
    if not options:
        return model
    return f"{model}[{','.join(f'{key}={value}' for key, value in sorted(options.items()))}]"


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
    """One pair. ``input``: RAW counts (1, 1, H, W) or RGB (1, 3, H, W) in [0, 1]; ``target`` (1, 3, H, W).

    ``black`` and ``white`` are the sensor's levels in counts and ``red`` the (row, column) of the red pixel
    in the first 2x2 block; all three matter for RAW only.
    """

    id: str
    input: Tensor
    target: Tensor
    black: float = 0.0
    white: float = 1.0
    red: tuple[int, int] = (0, 0)


class Dataset(Protocol):
    """An opened split: a sequence of samples that knows its name and what its files contain."""

    name: str
    split: str
    ids: Sequence[str]
    provenance: Mapping[str, Any]

    def __getitem__(self, index: int) -> Sample:
        """Return sample ``index``; raises UserError naming the file if it is damaged."""

    def digest(self, limit: int | None = None) -> str:
        """Return a digest of the content of the first ``limit`` samples' files (all if None).

        Where only a part of the split is there (``provenance["part"]``: "12 of 1204"), that text is in it too.
        """


@dataclass(frozen=True)
class DatasetCard:
    """A registered dataset. ``plane_size`` is what a network receives per patch, ``full_size`` at 12 MP."""

    name: str
    task: str
    summary: str
    protocol: EvaluationProtocol
    splits: tuple[str, ...]
    default_split: str
    plane_size: tuple[int, int]
    full_size: tuple[int, int]
    # Opens a split: (root, split). Raises UserError for everything that is wrong with the files; one that also takes
    # ``skip_bad=True`` leaves those images out instead and says so in ``left_out`` {image or file: what is wrong}; one
    # that also takes ``partial=True`` opens what is there of the split and says in ``provenance["part"]`` how much.
    open: Callable[..., Dataset]
    # Returns the root of the embedded stand-in, building it first where needed; None: there is none.
    standin: Callable[[Reporter], Path] | None = None
    # Writes a stand-in into an empty folder: (folder, seed, reporter).
    write_standin: Callable[[Path, int, Reporter], None] | None = None
    # Writes one from a user's photographs, resumable: (folder, photographs, count, seed, reporter).
    write_from_photos: Callable[[Path, Path, int | None, int, Reporter], None] | None = None
    # Returns the card for options that the user gives, as pairs does for rule, task and white.
    configure: Callable[[Mapping[str, str]], DatasetCard] | None = None
    # The count that is white in files of 16 bits, where the user says so.
    white: float | None = None


class MetricFunction(Protocol):
    """Compare two images (H, W, 3), float64 in [0, 1]; raises UserError where the metric is not defined."""

    def __call__(self, output: np.ndarray, target: np.ndarray) -> float: ...


@dataclass(frozen=True)
class MetricCard:
    """A registered metric: a pure function with a definition and a version. Values lie in [``least``, ``most``]."""

    id: str
    function: MetricFunction
    definition: str
    unit: str = ""
    higher_is_better: bool = True
    version: int = 1
    least: float = -math.inf
    most: float = math.inf
