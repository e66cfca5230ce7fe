"""Say in words where two networks first differ, and what a difference of their outputs looks like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from benchmark.verifying.layers import difference
from benchmark.verifying.messages import Difference, Layer
from zoo.convention import InputSpec
from zoo.errors import shortened


def hint_for(ours: Tensor, theirs: Tensor, planes: Tensor, spec: InputSpec, tolerance: float) -> str | None:
    """Return the simple relation that makes two outputs equal, if there is one."""
    if ours.shape != theirs.shape:
        return None
    for text, one, other in _relations(ours.double(), theirs.double(), planes.double(), spec):
        if difference(one, other, 10 * tolerance).ok:
            return text
    return None


def _relations(ours: Tensor, theirs: Tensor, planes: Tensor, spec: InputSpec) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield relations, each with the two tensors that are equal if it holds."""
    image = planes[:, : ours.shape[1]]
    if image.shape == ours.shape:
        text = "the class returns its input minus the output of the model: add --noise, or leave it out"
        yield text, image - ours, theirs
    yield "the class returns its channels in the opposite order", ours.flip(1), theirs
    for text, inner, outer in (
        ("the class clips its output to [{:.4g}, {:.4g}], and the model does not", theirs, ours),
        ("the model clips its output to [{:.4g}, {:.4g}], and the class does not", ours, theirs),
    ):
        low, high = float(inner.min()), float(inner.max())
        yield text.format(low, high), outer.clamp(low, high), inner
    spread, (low, high) = ours - ours.mean(), spec.output_range
    if float(spread.abs().max()):
        factor = float((spread * (theirs - theirs.mean())).sum() / (spread * spread).sum())
        offset = float(theirs.mean() - factor * ours.mean())
        text = f"the class returns {factor:.4g} * output + {offset:.4g}"
        if factor > 0:
            ends = f"{factor * low + offset:.4g},{factor * high + offset:.4g}"
            text += f": if that is its range, add --output-range={ends}"
        yield text, factor * ours + offset, theirs


def first_difference(layers: Sequence[Layer], ours: nn.Module, theirs: nn.Module) -> str:
    """Say at which layer two networks that do not agree part."""
    if not layers:
        return "no layers of the two correspond; only the outputs were compared"
    position = next((index for index, layer in enumerate(layers) if not layer.output.ok), None)
    if position is None:
        return f"all {len(layers)} layers that correspond agree; the difference lies after {names_of(layers[-1])}"
    layer = layers[position]
    text = f"{names_of(layer)}: {difference_text(layer.output)}"
    if layer.input.ok:
        one, other = _described(ours, layer.model), _described(theirs, layer.against)
        return f"{text}; its input agrees, so it computes something else{f': {one} against {other}' * (one != other)}"
    before = f"{names_of(layers[position - 1])} agrees" if position else "no layer before it corresponds"
    if layer.input.largest is None:
        return f"{text}; {before}, and their inputs cannot be compared ({layer.input.remark})"
    between = "what has no weights between them (activation, padding, skip, order) differs" if position else ""
    return f"{text}; {before}, and its input differs already: {between or 'what comes before it differs'}"


def difference_text(one: Difference) -> str:
    """Return a difference as text: absolute, relative, and what it looks like."""
    if one.largest is None or one.relative is None:
        return one.remark or "not comparable"
    if one.largest == 0:
        return "equal"
    return f"{one.largest:.2e} (relative {one.relative:.1e}{f', {one.remark}' if one.remark else ''})"


def names_of(layer: Layer) -> str:
    """Return the name of a layer in the model, and in the class if that is another."""
    ours, theirs = layer.model or "the whole network", layer.against or "the whole network"
    return ours if ours == theirs else f"{ours} (theirs: {theirs})"


def _described(network: nn.Module, name: str) -> str:
    module = network.get_submodule(name)
    return shortened(f"{type(module).__name__}({module.extra_repr()})", 200)
