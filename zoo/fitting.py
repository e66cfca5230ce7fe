"""Whether tensors can be the weights of a network: their kind, their values, and names that share memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

# Kinds of numbers that weights are kept in. Those of 8 bits mean nothing without scales that lie elsewhere.
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Buffers that follow the data; any other one may be a mask, which holds infinities.
_STATISTICS = ("running_mean", "running_var")


class Fitted(NamedTuple):
    """Tensors in the network's own types, and what a user should know about how they came to it."""

    state: dict[str, Tensor]
    notes: tuple[str, ...]


def judged(model: nn.Module, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield the values that must be finite, by key: all but the infinities of a fixed buffer, such as a mask."""
    fixed = {name for name, _ in model.named_buffers(remove_duplicate=False) if not name.endswith(_STATISTICS)}
    for key, value in state.items():
        yield key, value[~torch.isinf(value)] if key in fixed else value


def unusable(model: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Return the keys whose values no network can use: NaN, and infinities where they must be finite."""
    return [key for key, value in judged(model, state) if not bool(torch.isfinite(value).all())]


def with_tied_names(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``state`` with every name of a tensor that the network uses under several, where one of them is there."""
    named: dict[object, list[str]] = {}
    for key, value in own.items():
        place = (value.untyped_storage()._cdata, value.storage_offset(), value.shape, value.stride(), value.dtype)
        named.setdefault(place, []).append(key)
    complete = dict(state)
    for keys in named.values():
        given = next((key for key in keys if key in state), None)
        if given is not None:
            complete |= {key: state[given] for key in keys if key not in state}
    return complete


def fit_kinds(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> tuple[Fitted, list[str]]:
    """Return ``state`` in the types of ``own``, and the keys that cannot be had in them.

    Floating-point numbers become those of another width, which is noted; integers only where all values survive.
    """
    fitted, wrong, found = dict(state), [], dict[tuple[torch.dtype, torch.dtype], list[bool]]()
    for key, value in state.items():
        kind = own[key].dtype
        if value.dtype == kind:
            continue
        if value.dtype in _FLOATS and kind in _FLOATS:
            fitted[key] = value.to(kind)
            is_exact = torch.equal(fitted[key].to(value.dtype), value)
            found.setdefault((value.dtype, kind), []).append(is_exact)
        elif _is_whole(value.dtype) and _is_whole(kind) and torch.equal(value.to(kind).to(value.dtype), value):
            fitted[key] = value.to(kind)
        else:
            wrong.append(key)
    notes = [
        f"{len(exact)} tensor(s) of {type_name(before)} are used as {type_name(after)},"
        f" {'without loss' if all(exact) else 'rounded'}"
        for (before, after), exact in found.items()
    ]
    return Fitted(fitted, tuple(notes)), wrong


def _is_whole(kind: torch.dtype) -> bool:
    return not (kind.is_floating_point or kind.is_complex)


def type_name(kind: torch.dtype) -> str:
    """Return the name of a type of numbers, for example float32."""
    return str(kind).removeprefix("torch.")


def conflict(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """Return keys that share memory in the network, where ``state`` has different values for the same place.

    ``own`` may be on the meta device: where its tensors lie in their storages is all that counts.
    """
    sharing: dict[int, list[str]] = {}
    for key in state:
        # Torch itself refuses to fill a tensor that lies on itself.
        if not _overlaps_itself(own[key]):
            sharing.setdefault(own[key].untyped_storage()._cdata, []).append(key)
    for keys in sharing.values():
        if len(keys) > 1 and not _agree(own, state, keys):
            return keys
    return []


def _agree(own: Mapping[str, Tensor], state: Mapping[str, Tensor], keys: Iterable[str]) -> bool:
    memory: Tensor | None = None
    views = {}
    for key in keys:
        mine = own[key]
        if memory is None:
            memory = torch.empty(mine.untyped_storage().nbytes(), dtype=torch.uint8, device="cpu")
        views[key] = torch.empty(0, dtype=mine.dtype, device="cpu").set_(
            memory.untyped_storage(), mine.storage_offset(), mine.shape, mine.stride()
        )
        views[key].copy_(state[key])
    return all(torch.equal(view, state[key].cpu()) for key, view in views.items())


def _overlaps_itself(tensor: Tensor) -> bool:
    return any(stride == 0 and size > 1 for size, stride in zip(tensor.shape, tensor.stride()))


def unshared(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous tensors of which no two share memory: those that did are copied."""
    seen: set[int] = set()
    apart = {}
    for key, value in state.items():
        tensor = value.contiguous()
        if tensor.untyped_storage()._cdata in seen:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage()._cdata)
        apart[key] = tensor
    return apart
