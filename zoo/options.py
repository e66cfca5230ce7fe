"""The options of a build function: read from its signature, parsed from ``--set key=value``."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from zoo.errors import UserError, nearest


@dataclass(frozen=True)
class Option:
    """One argument of a build function."""

    name: str
    annotation: Any
    default: Any

    def describe(self) -> str:
        """Return ``name: type = default``."""
        shown = self.annotation.__name__ if isinstance(self.annotation, type) else str(self.annotation)
        return f"{self.name}: {shown} = {self.default!r}"


def read_options(build: Callable[..., Any]) -> dict[str, Option]:
    """Return the options of ``build`` by name; every argument needs a default."""
    hints = typing.get_type_hints(build)
    options = {}
    for name, parameter in inspect.signature(build).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise UserError(f"{build.__name__}: *{name} cannot be set from outside; name each option.")
        if parameter.default is parameter.empty:
            raise UserError(f"{build.__name__}: option '{name}' needs a default value.")
        annotation = hints.get(name, type(parameter.default))
        options[name] = Option(name, annotation, parameter.default)
    return options


def resolve_options(model: str, options: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``given`` with strings parsed by the annotations.

    Raises UserError for an unknown key (naming the nearest) or a value that does not parse.
    """
    resolved = {}
    for name, value in given.items():
        if name not in options:
            raise UserError(f"{model} has no option '{name}'{nearest(name, options)}")
        option = options[name]
        try:
            resolved[name] = _coerce(option.annotation, value)
        except (ValueError, TypeError):
            raise UserError(f"{model}: option {name}={value!r} does not fit; expected {option.describe()}.") from None
    return resolved


def _coerce(annotation: Any, value: Any) -> Any:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _coerce_union(args, value)
    if origin is typing.Literal:
        for choice in args:
            if str(value) == str(choice):
                return choice
        raise ValueError(value)
    if annotation is tuple or origin is tuple:
        return _coerce_tuple(args, value)
    if annotation is bool:
        return _coerce_bool(value)
    if annotation is int:
        if isinstance(value, (bool, float)):
            raise TypeError(value)
        return int(value)
    if annotation in (float, str):
        return annotation(value)
    if isinstance(value, str):
        raise TypeError(annotation)
    return value


def _coerce_union(choices: tuple[Any, ...], value: Any) -> Any:
    if value is None or (isinstance(value, str) and value.lower() == "none"):
        if type(None) in choices:
            return None
        raise ValueError(value)
    for choice in choices:
        if choice is type(None):
            continue
        try:
            return _coerce(choice, value)
        except (ValueError, TypeError):
            continue
    raise ValueError(value)


def _coerce_tuple(args: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    items = value.split(",") if isinstance(value, str) else list(value)
    kind = args[0] if args else int
    if args and Ellipsis not in args and len(args) != len(items):
        raise ValueError(value)
    return tuple(_coerce(kind, item) for item in items)


def _coerce_bool(value: Any) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if isinstance(value, bool):
        return value
    if str(value).lower() not in words:
        raise ValueError(value)
    return words[str(value).lower()]
