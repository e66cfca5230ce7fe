"""Which modules of two networks correspond, what they return, and how it differs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import Any, NamedTuple

from torch import Tensor, nn

from benchmark.units import shape_text
from benchmark.verifying.mapping import squeezed
from benchmark.verifying.messages import Difference, Layer


class Call(NamedTuple):
    """The tensors that went into a module and that came out, copied before any other module could change them."""

    inputs: list[Tensor]
    outputs: list[Tensor]


def execution_order(network: nn.Module, run: Callable[[], object]) -> dict[str, int]:
    """Return when each module of a network begins for the first time in ``run``; modules not run are missing."""
    begun: dict[str, int] = {}

    def begin(name: str) -> None:
        begun.setdefault(name, len(begun))

    hooks = [
        # TorchScript modules run hooks, but their own method refuses them.
        nn.Module.register_forward_pre_hook(module, lambda module, given, name=name: begin(name))
        for name, module in network.named_modules()
    ]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return begun


def corresponding(ours: nn.Module, theirs: nn.Module) -> dict[str, str]:
    """Return pairs of modules by name: those with the same weights and, if all names are the same, those without.

    A module whose weights are spread over several modules of the other network has no counterpart.
    """
    mine, others = _by_value(ours), _by_value(theirs)
    there: dict[str, set[str]] = {}
    back: dict[str, set[str]] = {}
    for digest in mine.keys() & others.keys():
        # Values that several weights have, such as zeros, tell nothing.
        if len(mine[digest]) == len(others[digest]) == 1:
            one, other = _owner(mine[digest][0]), _owner(others[digest][0])
            there.setdefault(one, set()).add(other)
            back.setdefault(other, set()).add(one)
    pairs = {one: next(iter(names)) for one, names in there.items() if len(names) == 1}
    pairs = {one: other for one, other in pairs.items() if len(back[other]) == 1}
    if ours.state_dict().keys() == theirs.state_dict().keys():
        known = dict(theirs.named_modules())
        pairs |= {name: name for name, _ in ours.named_modules() if name and name in known}
    return pairs


def have_same_weights(ours: nn.Module, theirs: nn.Module) -> bool:
    """Whether each parameter of ours is one of theirs, to the last bit; else it was converted or has no counterpart."""
    known = _by_value(theirs)
    learned = {name for name, _ in ours.named_parameters()}
    return all(digest in known for digest, names in _by_value(ours).items() if learned & {*names})


def _by_value(network: nn.Module) -> dict[str, list[str]]:
    """Return the names of weights by the digest of shape and values."""
    names: dict[str, list[str]] = {}
    for name, value in network.state_dict().items():
        if isinstance(value, Tensor) and value.is_floating_point() and value.numel():
            digest = hashlib.sha256(str(squeezed(value.shape)).encode())
            digest.update(value.detach().double().contiguous().numpy().tobytes())
            names.setdefault(digest.hexdigest(), []).append(name)
    return names


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


@contextmanager
def recording(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, list[Call]]]:
    """Yield the calls of the named modules, which fill while the block runs the network; who ends first is first."""
    calls: dict[str, list[Call]] = {}
    open_calls: dict[str, list[list[Tensor]]] = {name: [] for name in names}
    hooks = []

    def begin(name: str, given: Any) -> None:
        open_calls[name].append([tensor.clone() for tensor in _tensors(given)])

    def end(name: str, returned: Any) -> None:
        inputs = open_calls[name].pop() if open_calls[name] else []
        calls.setdefault(name, []).append(Call(inputs, [tensor.clone() for tensor in _tensors(returned)]))

    for name, module in network.named_modules():
        if name in open_calls:
            hooks += [
                nn.Module.register_forward_pre_hook(
                    module, lambda module, given, more, name=name: begin(name, (given, more)), with_kwargs=True
                ),
                nn.Module.register_forward_hook(module, lambda module, given, returned, name=name: end(name, returned)),
            ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value.detach()]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [tensor for one in value for tensor in _tensors(one)] if isinstance(value, (list, tuple)) else []


def layers_of(
    pairs: Mapping[str, str],
    ours: Mapping[str, Sequence[Call]],
    theirs: Mapping[str, Sequence[Call]],
    tolerance: float,
) -> list[Layer]:
    """Return the differences of the modules that both networks called, in the order of ours."""
    layers = []
    for name, calls in ours.items():
        others = theirs.get(pairs[name], ())
        if others:
            sides = [([c.inputs for c in calls], [c.inputs for c in others])]
            sides += [([c.outputs for c in calls], [c.outputs for c in others])]
            given, returned = (worst(_all(mine, other, tolerance)) for mine, other in sides)
            layers.append(Layer(model=name, against=pairs[name], output=returned, input=given))
    return layers


def _all(
    ours: Sequence[Sequence[Tensor]], theirs: Sequence[Sequence[Tensor]], tolerance: float
) -> Iterator[Difference]:
    counts = [[len(one) for one in side] for side in (ours, theirs)]
    if counts[0] != counts[1]:
        same = len(ours) == len(theirs)
        remark = "other numbers of tensors" if same else f"{len(ours)} call(s) against {len(theirs)}"
        yield Difference(largest=None, relative=None, ok=False, remark=remark)
        return
    for mine, others in zip(ours, theirs):
        yield from (difference(a, b, tolerance) for a, b in zip(mine, others))


def worst(differences: Iterable[Difference]) -> Difference:
    """Return the first difference that cannot be measured, else the largest relative one."""
    found = list(differences)
    nothing = Difference(largest=0.0, relative=0.0, ok=True)
    return max(found, key=lambda one: _size(one), default=nothing)


def _size(one: Difference) -> float:
    return float("inf") if one.relative is None or one.relative != one.relative else one.relative


def difference(ours: Tensor, theirs: Tensor, tolerance: float) -> Difference:
    """Compare two outputs; a NaN in either makes them differ."""
    if squeezed(ours.shape) != squeezed(theirs.shape):
        shapes = f"shapes {shape_text(ours.shape)} against {shape_text(theirs.shape)}"
        return Difference(largest=None, relative=None, ok=False, remark=shapes)
    if not ours.numel():
        return Difference(largest=0.0, relative=0.0, ok=True)
    mine, other = ours.double(), theirs.double().reshape(ours.shape)
    apart = (mine - other).abs()
    largest, scale = float(apart.max()), float(mine.abs().max())
    relative = 0.0 if largest == 0 else largest / scale if scale else float("inf")
    ok = relative <= tolerance
    remark = None if ok else _border(apart, scale, tolerance) if isfinite(largest) else "NaN or infinite values"
    return Difference(largest=largest, relative=relative, ok=ok, remark=remark)


def _border(apart: Tensor, scale: float, tolerance: float) -> str | None:
    """Say how near to the border all differences lie, if that is nearer than a quarter of the image."""
    if apart.ndim != 4:
        return None
    most = min(tolerance * scale, 1e-3 * float(apart.max()))
    for width in range(1, min(apart.shape[-2:]) // 4 + 1):
        if float(apart[..., width:-width, width:-width].max()) <= most:
            return f"only within {width} pixel(s) of the border: another padding"
    return None
