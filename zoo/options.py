"""The options of a build function: read from its signature, parsed from ``--set key=value``."""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from zoo.errors import UserError, nearest, shortened, shown


@dataclass(frozen=True)
class Option:
    """One argument of a build function."""

    name: str
    annotation: Any
    default: Any

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values that the option may have, if its annotation is a Literal; else empty."""
        return typing.get_args(self.annotation) if typing.get_origin(self.annotation) is typing.Literal else ()

    @property
    def type_name(self) -> str:
        """The annotation as text; for a Literal its values, as "deploy or training"."""
        if self.choices:
            return " or ".join(map(str, self.choices))
        return self.annotation.__name__ if isinstance(self.annotation, type) else str(self.annotation)

    def describe(self) -> str:
        """Return ``name: type = default``."""
        return f"{self.name}: {self.type_name} = {self.default!r}"


def read_options(build: Callable[..., Any], *, after: int = 0) -> dict[str, Option]:
    """Return the options of ``build`` by name: its arguments, ``after`` the first ones; each needs a default."""
    hints = typing.get_type_hints(build)
    options = {}
    for name, parameter in list(inspect.signature(build).parameters.items())[after:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise UserError(f"{build.__name__}: *{name} cannot be an option; give each option an argument of its own.")
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
            raise UserError(f"{model} has no option '{shortened(name)}'{nearest(str(name), options)}")
        option = options[name]
        try:
            resolved[name] = _coerce(option.annotation, value)
        except (ValueError, TypeError, OverflowError):
            text = f"{model}: option {name}={shown(value)} does not fit; expected {option.describe()}."
            raise UserError(text) from None
    return resolved


def _coerce(annotation: Any, value: Any) -> Any:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _coerce_union(args, value)
    if origin is typing.Literal:
        for choice in args if isinstance(value, (str, int, float)) else ():
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
        if not isinstance(value, (str, int, float)):
            raise TypeError(value)
        return _finite(annotation(value))
    if isinstance(value, str):
        raise TypeError(annotation)
    return _finite(value)


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
    if not isinstance(value, (str, list, tuple)):
        raise TypeError(value)
    items = value.split(",") if isinstance(value, str) else list(value)
    kind = args[0] if args else int
    if args and Ellipsis not in args and len(args) != len(items):
        raise ValueError(value)
    return tuple(_coerce(kind, item) for item in items)


def _finite(value: Any) -> Any:
    # Records hold no others.
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(value)
    return value


def _coerce_bool(value: Any) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if isinstance(value, bool):
        return value
    word = str(value).lower() if isinstance(value, (str, int)) else ""
    if word not in words:
        raise ValueError(value)
    return words[word]
