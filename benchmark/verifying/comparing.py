"""Run both networks on the same inputs of several sizes, and compare what they and their layers return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

import torch
from torch import Tensor, nn

from benchmark.reporting import Reporter
from benchmark.results.fingerprint import LEAST_SIDE
from benchmark.verifying.against import Against, call
from benchmark.verifying.hints import hint_for
from benchmark.verifying.layers import corresponding, difference, layers_of, recording, worst
from benchmark.verifying.messages import Layer, Pass
from zoo.convention import InputSpec
from zoo.errors import UserError
from zoo.raw import padded_size

Shape = tuple[int, int, int, int]


class Float32OnlyError(Exception):
    """A network does not compute in float64; the message says why."""


@dataclass(frozen=True)
class Pair:
    """A model and the user's network behind its convention, with the same weights."""

    name: str
    ours: nn.Module
    theirs: Against
    spec: InputSpec
    seed: int

    def planes(self, shape: Shape) -> Tensor:
        """Return uniform noise over the network's input range; a plane with the level of noise has one level."""
        low, high = self.spec.input_range
        planes = torch.rand(*shape, generator=torch.Generator().manual_seed(self.seed)) * (high - low) + low
        if self.spec.noise_level:
            planes[:, -1:] = planes[:, -1:, :1, :1]
        return planes


def shapes_for(spec: InputSpec, size: tuple[int, int] | None) -> list[Shape]:
    """Return the shapes of the passes: square, two images of another size, and odd sides if the model takes them."""
    side = max(spec.min_size, spec.multiple, LEAST_SIDE)
    sizes = [(1, side, side), (2, side + 16, side + 40), (1, side + 7, side + 21)]
    if size is not None:
        sizes = [(1, *size), (2, *size)]
    shapes = [(number, spec.channels, *padded_size(height, width, spec)) for number, height, width in sizes]
    return list(dict.fromkeys(shapes))


@dataclass
class Comparison:
    """Both networks in one precision, and what their passes showed.

    ``tolerance`` is for the outputs, ``of_layers`` for layers. ``layers`` goes by the names of the model, in the order
    in which it runs them.
    """

    pair: Pair
    kind: torch.dtype
    tolerance: float
    of_layers: float
    passes: list[Pass] = field(default_factory=list)
    layers: dict[str, Layer] = field(default_factory=dict)
    hint: str | None = None
    notes: list[str] = field(default_factory=list)

    def run(self, shapes: Sequence[Shape], reporter: Reporter) -> Comparison:
        """Compare for each shape and return this; sizes that the user's network refuses are kept as such.

        Raises Float32OnlyError if, in float64, one of them fails for the first shape or returns another precision, and
        UserError for a failure of the model.
        """
        nn.Module.to(self.pair.ours, self.kind)
        nn.Module.to(self.pair.theirs.network, self.kind)
        pairs = corresponding(self.pair.ours, self.pair.theirs.network)
        with reporter.progress("comparing", len(shapes)) as advance:
            for shape in shapes:
                self._pass(pairs, shape, first=shape == shapes[0])
                advance()
        return self

    def _pass(self, pairs: Mapping[str, str], shape: Shape, *, first: bool) -> None:
        pair, planes = self.pair, self.pair.planes(shape).to(self.kind)
        strict = first and self.kind == torch.float64
        with recording(pair.ours, list(pairs)) as mine:
            output = _run(pair.name, pair.ours, planes, pair.seed, strict)
        try:
            with recording(pair.theirs.network, list(pairs.values())) as others:
                other = _run(pair.theirs.name, pair.theirs, planes, pair.seed, strict)
        except UserError as error:
            if first:
                raise
            self.passes.append(Pass(input_shape=list(shape), output=None, refused=str(error)))
            return
        apart = difference(output, other, self.tolerance)
        self.passes.append(Pass(input_shape=list(shape), output=apart))
        for layer in layers_of(pairs, mine, others, self.of_layers):
            known = self.layers.get(layer.model, layer)
            both = {"output": worst([known.output, layer.output]), "input": worst([known.input, layer.input])}
            self.layers[layer.model] = layer.model_copy(update=both)
        if not apart.ok:
            self.hint = self.hint or hint_for(output, other, planes, pair.spec, self.tolerance)
        if first:
            self._look_for_randomness(planes, (output, other))

    def _look_for_randomness(self, planes: Tensor, outputs: tuple[Tensor, Tensor]) -> None:
        """Note a network that gives another output for other random numbers."""
        pair = self.pair
        for (name, network), output in zip(((pair.name, pair.ours), (pair.theirs.name, pair.theirs)), outputs):
            again = difference(output, _run(name, network, planes, pair.seed + 1, strict=False), self.tolerance)
            if not again.ok and again.largest is not None and isfinite(again.largest):
                text = "is random in evaluation mode too: dropout or noise does not look at self.training"
                self.notes.append(f"{name} {text}")


def _run(name: str, network: nn.Module, planes: Tensor, seed: int, strict: bool) -> Tensor:
    torch.manual_seed(seed)
    try:
        output: Tensor = call(name, network, planes.clone())
    except UserError as error:
        if strict:
            raise Float32OnlyError(str(error)) from error
        raise
    if strict and output.dtype != planes.dtype:
        raise Float32OnlyError(f"{name} returns {str(output.dtype).removeprefix('torch.')}.")
    return output
