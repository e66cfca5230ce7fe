"""Passes without data must not change a network: grids and counters that it keeps are restored afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

# The attributes that torch keeps in every module, besides parameters and buffers.
_TORCH = set(nn.Module().__dict__) - {"_parameters", "_buffers"}


@contextmanager
def untouched(network: nn.Module) -> Iterator[list[str]]:
    """Restore the attributes, parameters and buffers that the block sets in the modules of ``network``.

    Yields a list that, once the block has ended, holds the names of all that had changed.
    """
    before = [(name, module, _state(module)) for name, module in network.named_modules()]
    changed: list[str] = []
    try:
        yield changed
    finally:
        for name, module, state in before:
            changed += [f"{name}.{key}".lstrip(".") for key in _put_back(module, state)]


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Keep ``network`` in evaluation mode while the block runs."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def _state(module: nn.Module) -> dict[str, Any]:
    """Return a module's own attributes, each with a copy of its content if it is a container."""
    return {key: (value, _content(value)) for key, value in module.__dict__.items() if key not in _TORCH}


def _content(value: Any) -> Any:
    return value.copy() if isinstance(value, (dict, list, set)) else None


def _put_back(module: nn.Module, state: dict[str, Any]) -> list[str]:
    new = {key: value for key, value in module.__dict__.items() if key not in _TORCH and key not in state}
    for key in new:
        del module.__dict__[key]
    # An attribute that was set to the value of its class has not changed.
    changed = [key for key, value in new.items() if getattr(type(module), key, new) is not value]
    for key, (value, content) in state.items():
        if module.__dict__.get(key, changed) is not value:
            module.__dict__[key] = value
            changed.append(key)
        if content is not None and not _same(value, content):
            value.clear()
            value.extend(content) if isinstance(value, list) else value.update(content)
            changed.append(key)
    return changed


def _same(value: Any, content: Any) -> bool:
    if isinstance(value, set):
        return bool(value == content)
    if len(value) != len(content):
        return False
    if isinstance(value, list):
        return all(one is other for one, other in zip(value, content))
    return all(key in content and content[key] is one for key, one in value.items())
