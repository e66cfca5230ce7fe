"""YAML files to strict settings; an error names file, key and the nearest valid key."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

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
    seed: int | None = None
    threads: int | None = None
    device: str | None = None
    precision: str | None = None
    channels_last: bool | None = None
    time_limit: float | None = None
    memory_limit: int | str | None = None


def read_settings(path: str | Path, kind: type[Settings]) -> Settings:
    """Read a YAML file as ``kind``.

    Raises UserError naming the file and, for YAML errors, the line; for an unknown key the nearest valid one;
    for a wrong value what was expected.
    """
    file = Path(path)
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected a YAML file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{where}: not YAML ({getattr(error, 'problem', error)}).") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected keys and values, e.g. `dataset: zrr`; found {type(values).__name__}.")
    for key in values:
        if key not in kind.model_fields:
            raise UserError(f"{path}: unknown key '{key}'{nearest(str(key), kind.model_fields)}")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: {where}: {first['msg']}; found {first['input']!r}.") from None
