"""YAML files to strict settings; an error names file, key and the nearest valid key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from zoo.errors import UserError, nearest

Settings = TypeVar("Settings", bound=BaseModel)


class Suite(BaseModel):
    """What ``zoo-bench run --suite FILE`` takes: the flags of ``run`` as data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    data_root: str | None = None
    pairs: str | None = None
    task: str | None = None
    models: list[str] | None = None
    split: str | None = None
    limit: int | None = None
    metrics: list[str] | None = None
    weights: dict[str, str] = {}
    options: dict[str, str | int | float | bool | list[int]] = {}
    sizes: list[str] | None = None
    exact: bool | None = None
    skip_bad: bool | None = None
    partial: bool | None = None
    seed: int | None = None
    threads: int | None = None
    device: str | None = None
    precision: str | None = None
    channels_last: bool | None = None
    backend: str | None = None
    tile: str | None = None
    approximate: bool | None = None
    time_limit: float | None = None
    memory_limit: int | str | None = None

    @field_validator("tile", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: object) -> object:
        # YAML reads a bare "off" as false.
        return "off" if value is False else value


def read_settings(
    path: str | Path, kind: type[Settings], overrides: Mapping[str, Any] | None = None, *, flag: str = "--set"
) -> Settings:
    """Read a YAML file as ``kind``; ``overrides`` by dotted key replace what the file says.

    Raises UserError naming the file and, for YAML errors, the line; for an unknown key the nearest valid one;
    for a wrong value what was expected. A key of ``overrides`` is named with ``flag`` in place of the file.
    """
    return settings_of(read_yaml(path), kind, str(path), overrides, flag=flag)


def settings_of(
    values: Mapping[str, Any],
    kind: type[Settings],
    source: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    flag: str = "--set",
) -> Settings:
    """Return keys and values that come from ``source`` as ``kind``; overrides and errors as in ``read_settings``."""
    _check_keys(values, kind, source)
    given = overrides or {}
    for key, value in given.items():
        values = _replaced(values, key.split("."), value, kind, f"{flag} {key}={value}")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        named = next((key for key in given if where == key or where.startswith(f"{key}.")), None)
        place = f"{source}: {where}" if named is None else f"{flag} {named}={given[named]}"
        raise UserError(f"{place}: {first['msg'].removeprefix('Value error, ')}; found {first['input']!r}.") from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the keys and values of a YAML file; raises UserError naming the file and the line."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected a YAML file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{where}: not YAML ({getattr(error, 'problem', error)}).") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected keys and values, e.g. `dataset: zrr`; found {type(values).__name__}.")
    return values


def parse_value(text: str) -> Any:
    """Return the value of ``--set key=TEXT`` as YAML reads it: numbers, lists, true, null, else the text."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _check_keys(values: Mapping[Any, Any], kind: type[BaseModel], source: str, prefix: str = "") -> None:
    """Raise UserError for a key that ``kind``, or a model inside it, does not have."""
    for key, value in values.items():
        if key not in kind.model_fields:
            raise UserError(f"{source}: unknown key '{prefix}{key}'{nearest(str(key), kind.model_fields)}")
        inner = _model_in(kind.model_fields[key].annotation)
        if inner is None:
            continue
        if _is_mapping(kind.model_fields[key].annotation) and isinstance(value, dict):
            # Its keys are names of the user's; the models are its values.
            items = list(value.values())
        else:
            items = value if isinstance(value, list) else [value]
        for item in items:
            if isinstance(item, dict):
                _check_keys(item, inner, source, f"{prefix}{key}.")


def _is_mapping(annotation: Any) -> bool:
    origin = get_origin(annotation)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the one settings model in an annotation such as ``Kind``, ``list[Kind]`` or ``Kind | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _replaced(values: Any, keys: list[str], value: Any, kind: type[BaseModel] | None, source: str) -> dict[str, Any]:
    """Return ``values`` with the value at a path of keys replaced; raises UserError for an unknown key."""
    key, *rest = keys
    if kind is not None and key not in kind.model_fields:
        raise UserError(f"{source}: unknown key '{key}'{nearest(key, kind.model_fields)}")
    values = dict(values) if isinstance(values, Mapping) else {}
    inner = None if kind is None else _model_in(kind.model_fields[key].annotation)
    values[key] = _replaced(values.get(key), rest, value, inner, source) if rest else value
    return values
