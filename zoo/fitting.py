"""Load weights into a network strictly: check names, shapes, types, values, and names that share memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from zoo.card import FORM, ModelCard, get_card, list_models
from zoo.errors import UserError, in_one_line, shortened

# Types of numbers for weights. 8-bit types are useless without scales that are stored elsewhere.
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Buffers that depend on the data; any other buffer may be a mask, which contains infinities.
_STATISTICS = ("running_mean", "running_var")


class Fitted(NamedTuple):
    """Tensors in the network's types, and messages for the user about conversions."""

    state: dict[str, Tensor]
    notes: tuple[str, ...]


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], *, name: str, source: object) -> tuple[str, ...]:
    """Load ``state`` into ``model``; raises the errors of ``check_fits``. Returns messages for the user."""
    fitted = check_fits(model, state, name=name, source=source)
    own = model.state_dict()
    # Only counters of training steps may be missing.
    try:
        model.load_state_dict({**{key: own[key] for key in own if key not in fitted.state}, **fitted.state})
    except RuntimeError as error:
        raise UserError(f"{name}: {source} cannot be loaded: {in_one_line(error)}.") from None
    return fitted.notes


def check_fits(model: nn.Module, state: Mapping[str, Tensor], *, name: str, source: object) -> Fitted:
    """Compare ``state`` with the state of ``model``, which may be on the meta device; return it in the model's form.

    If the network uses a tensor under several names, one of them is enough. Raises UserError naming the first missing,
    extra and mis-shaped keys (and the registered model that has such keys); the first key of a wrong type of numbers
    or with values that are not finite; and keys that are one tensor in the network but differ here.
    """
    own = model.state_dict()
    state = _with_tied_names(own, state)
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    extra = [key for key in state if key not in own]
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    if missing or extra or shapes:
        problems = [_first("missing", missing), _first("unexpected", extra)]
        if shapes:
            key = shapes[0]
            problems.append(
                f"{len(shapes)} of another shape ({key} is {tuple(state[key].shape)}, expected {tuple(own[key].shape)})"
            )
        raise UserError(f"{name}: {source} does not fit: {'; '.join(filter(None, problems))}.{_resembles(name, state)}")
    fitted, wrong = _fit_kinds(own, state)
    if wrong:
        raise UserError(
            f"{name}: {source} has weights of another kind: {wrong[0]} is {_type_name(state[wrong[0]].dtype)}, expected"
            f" {_type_name(own[wrong[0]].dtype)} ({len(wrong)} in all). Save them as that type; multiply"
            " quantised ones by their scales first."
        )
    if bad := [key for key, value in judged(model, fitted.state) if not bool(torch.isfinite(value).all())]:
        raise UserError(
            f"{name}: {source} has {_first('tensor(s) with NaN or infinite values', bad)}; expected finite ones."
            " Take a checkpoint from before the training diverged."
        )
    if shared := _conflict(own, fitted.state):
        raise UserError(
            f"{name}: {source} has different values for weights that share their memory in the network"
            f" ({', '.join(shared[:3])}{', ...' if len(shared) > 3 else ''}); expected the same ones."
        )
    return fitted


def _first(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    listed = ", ".join(shortened(key) for key in keys[:3])
    return f"{len(keys)} {what} ({listed}{', ...' if len(keys) > 3 else ''})"


def _resembles(name: str, state: Mapping[str, Tensor]) -> str:
    """Name the registered model whose keys and shapes agree best with ``state``, if it is another one."""
    best, score = "", 0.0
    for card in map(get_card, list_models()):
        for options in [{FORM: form} for form in card.forms] or [{}]:
            found = likeness(keys_of(card, options), state)
            if found > score:
                best, score = card.name, found
    return f" It looks like a checkpoint of {best}." if score > 0.5 and best != name else ""


def keys_of(card: ModelCard, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the state of a network for its keys and shapes, without memory for its values where that is possible."""
    try:
        with torch.device("meta"):
            return card.create(options).state_dict()
    except UserError:
        raise
    except Exception:
        # A build function that reads values of its tensors needs real tensors; other errors are raised here again.
        return card.create(options).state_dict()


def likeness(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> float:
    """Return the share of all keys in either state that both have with the same shape; 0 to 1."""
    union = own.keys() | state.keys()
    same = sum(key in state and state[key].shape == value.shape for key, value in own.items())
    return same / len(union) if union else 0.0


def judged(model: nn.Module, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield the values that must be finite, by key: all except the infinities in fixed buffers, such as masks."""
    fixed = fixed_buffers(model)
    for key, value in state.items():
        yield key, value[~torch.isinf(value)] if key in fixed else value


def fixed_buffers(model: nn.Module) -> set[str]:
    """Return the names of the buffers that training does not change: masks and constants, but no statistics."""
    return {name for name, _ in model.named_buffers(remove_duplicate=False) if not name.endswith(_STATISTICS)}


def _with_tied_names(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``state`` with all names of each tensor that the network shares, if at least one of them exists."""
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


def _fit_kinds(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> tuple[Fitted, list[str]]:
    """Return ``state`` in the types of ``own``, and the keys whose values cannot be converted.

    Floating-point numbers are converted to another width, which is reported; integers only if no value changes.
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
        f"{len(exact)} tensor(s) of {_type_name(before)} are used as {_type_name(after)},"
        f" {'without loss' if all(exact) else 'rounded'}"
        for (before, after), exact in found.items()
    ]
    return Fitted(fitted, tuple(notes)), wrong


def _is_whole(kind: torch.dtype) -> bool:
    return not (kind.is_floating_point or kind.is_complex)


def _type_name(kind: torch.dtype) -> str:
    """Return the name of a type of numbers, for example float32."""
    return str(kind).removeprefix("torch.")


def _conflict(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """Return keys that share memory in the network but have different values for the same place in ``state``.

    ``own`` may be on the meta device: only the positions of its tensors in their storages matter.
    """
    sharing: dict[int, list[str]] = {}
    for key in state:
        # Torch itself refuses to fill a tensor whose elements overlap.
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
    """Return contiguous tensors that do not share memory; tensors that did are copied."""
    seen: set[int] = set()
    apart = {}
    for key, value in state.items():
        tensor = value.contiguous()
        if tensor.untyped_storage()._cdata in seen:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage()._cdata)
        apart[key] = tensor
    return apart
