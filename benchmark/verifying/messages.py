"""What the comparing process is asked, and what it found; the reply is what ``zoo-bench verify --json`` prints."""

from __future__ import annotations

from typing import Any, Literal

from benchmark.record import Record
from benchmark.types import Evidence, Fingerprint, Number

Precision = Literal["float64", "float32"]
# How a tensor found its counterpart, from the surest to the least sure.
Rule = Literal["name", "suffix", "shape", "order"]


class Convention(Record):
    """How the class differs from MODEL outside its layers.

    ``output`` picks the image from what it returns, a path of indices and keys such as ``0`` or ``out.image``;
    ``noise``: it returns the noise, so that the image is its input minus that. The ranges are those of the class where
    MODEL has the ranges of its card; None: the same.
    """

    output: str | None = None
    noise: bool = False
    input_range: tuple[float, float] | None = None
    output_range: tuple[float, float] | None = None


class Request(Record):
    """A model with options and weights, and the class to run beside it."""

    model: str
    options: dict[str, Any] = {}
    # "path/to/file.py:Class" or "module:Class", and the arguments of its constructor as Python or YAML writes them.
    against: str
    init: dict[str, str] = {}
    weights: str | None = None
    take: str | None = None
    # Beginnings of the class's key names, and what stands for them in MODEL or in the file.
    renames: dict[str, str] = {}
    convention: Convention = Convention()
    size: tuple[int, int] | None = None
    # Largest difference that counts as rounding, relative to the largest value; None: as the precision allows.
    tolerance: float | None = None
    seed: int = 0


class Mapped(Record):
    """Two tensors that now have the same values, and how they were found."""

    source: str
    target: str
    rule: Rule


class Transfer(Record):
    """Weights that went from a file or a network into a network.

    ``strictly``: as ``weights import`` does, through the model's conversion; then ``mapped`` is empty. ``unused`` are
    tensors of the source that were not taken, ``unfilled`` weights of the target that keep random values.
    """

    source: str
    target: str
    strictly: bool = False
    mapped: list[Mapped] = []
    unused: list[str] = []
    unfilled: list[str] = []


class Difference(Record):
    """Two outputs beside each other: the largest absolute difference, and it over the largest absolute value of ours.

    Both are None if the outputs have other shapes.
    """

    largest: Number | None
    relative: Number | None
    ok: bool
    # What the difference looks like: other shapes, only near the border.
    remark: str | None = None


class Layer(Record):
    """A module of MODEL and its counterpart in the class, with the worst difference of their outputs and inputs."""

    model: str
    against: str
    output: Difference
    input: Difference


class Pass(Record):
    """One input for both; ``output`` is None if the class refused it, for the reason in ``refused``."""

    input_shape: list[int]
    output: Difference | None
    refused: str | None = None


class Verdict(Record):
    """What was compared, and whether the two agree."""

    model: str
    options: dict[str, Any]
    evidence: Evidence
    weights: dict[str, str] | None
    against: str
    agrees: bool
    precision: Precision
    tolerance: float
    transfers: list[Transfer]
    passes: list[Pass]
    # In the order in which MODEL runs them.
    layers: list[Layer]
    # Where they first differ, in words, and what the difference of the outputs looks like.
    first_difference: str | None
    hint: str | None
    # Of MODEL in float32 with these weights, and how far the class is from it in shares of the output's spread.
    fingerprint: Fingerprint | None
    fingerprint_deviation: Number | None
    notes: list[str]
