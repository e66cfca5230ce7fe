"""Check that a network returns one image; every command that calls a network uses this check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from zoo.errors import OutputError

# The largest number of described members of a list or a dictionary, and of letters of a name.
_SHOWN, _LETTERS = 4, 24


def checked(network: nn.Module) -> nn.Module:
    """Make every call of ``network`` raise OutputError if it does not return one image; return ``network``."""
    # nn.Module's own method is called, because TorchScript networks run hooks but their method refuses them.
    nn.Module.register_forward_hook(network, lambda module, args, output: check_output(output))
    return network


def check_output(output: Any) -> None:
    """Raise OutputError for anything but one tensor (N, C, H, W) of real floating-point numbers."""
    if isinstance(output, Tensor) and output.ndim == 4 and output.is_floating_point() and output.numel():
        return
    raise OutputError(
        f"the model returned {described(output)}; expected one tensor (N, C, H, W) of floating-point numbers:"
        " let forward return the image and a method all_outputs the side outputs."
    )


def described(output: Any) -> str:
    """Describe a network's output in a few words: its type and the shapes of its tensors."""
    if isinstance(output, Tensor):
        return f"a tensor {_member(output)}"
    if output is None:
        return "None"
    kind = f"a {_short(type(output).__name__)}"
    if isinstance(output, Mapping):
        members = [f"{_short(str(name))} {_member(value)}" for name, value in list(output.items())[:_SHOWN]]
    elif isinstance(output, (list, tuple)):
        names = [f"{_short(name)} " for name in getattr(output, "_fields", [])] or [""] * len(output)
        members = [f"{name}{_member(value)}" for name, value in list(zip(names, output))[:_SHOWN]]
    else:
        return kind
    more = f" and {len(output) - _SHOWN} more" if len(output) > _SHOWN else ""
    return f"{kind} of {', '.join(members)}{more}" if members else f"an empty {_short(type(output).__name__)}"


def _member(value: Any) -> str:
    if not isinstance(value, Tensor):
        return _short(type(value).__name__)
    plain = value.is_floating_point()
    return ("" if plain else f"{str(value.dtype).removeprefix('torch.')} ") + str(tuple(value.shape))


def _short(name: str) -> str:
    # Users may give their classes and keys any name.
    clean = "".join(sign if sign.isprintable() else "?" for sign in name)
    return clean if len(clean) <= _LETTERS else f"{clean[: _LETTERS - 3]}..."
