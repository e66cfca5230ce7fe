"""The settings file of ``zoo-bench run --suite``: the flags of ``run`` as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ConfigDict, field_validator

from benchmark.conditions import Conditions
from benchmark.config import find_settings, read_settings

_LIMITS = ("time_limit", "memory_limit")


class Suite(Conditions):
    """The settings of a suite: which models on which images, what is measured, and under which conditions."""

    model_config = ConfigDict(allow_inf_nan=False)

    dataset: str
    data_root: str | None = None
    pairs: str | None = None
    cfa: str | None = None
    black: float | None = None
    white: float | None = None
    raw_size: str | None = None
    scene: str | None = None
    noise_seed: int | None = None
    clip: bool | None = None
    gray: str | None = None
    name: str | None = None
    remark: str | None = None
    task: str | None = None
    models: list[str] | None = None
    split: str | None = None
    limit: int | None = None
    metrics: list[str] | None = None
    weights: dict[str, str | list[str]] = {}
    options: dict[str, str | int | float | bool | list[int]] = {}
    sizes: list[str] | None = None
    exact: bool | None = None
    skip_bad: bool | None = None
    partial: bool | None = None
    seed: int | None = None
    time_limit: float | None = None
    memory_limit: int | str | None = None

    @field_validator("tile", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: object) -> object:
        # YAML reads a bare "off" as false.
        return "off" if value is False else value

    def how(self) -> dict[str, Any]:
        """Return the conditions and limits that the file gives."""
        names = {*Conditions.model_fields, *_LIMITS}
        return {name: getattr(self, name) for name in names & self.model_fields_set}

    def arguments(self) -> dict[str, Any]:
        """Return everything else as arguments for ``benchmark.running.run.run``."""
        return self.model_dump(exclude_none=True, exclude={*Conditions.model_fields, *_LIMITS})


def load_suite(suite: str | Path) -> Suite:
    """Return a suite, by file or shipped name; raises UserError with file and key for all that is unknown or wrong."""
    return read_settings(find_settings(suite, "suite", "run"), Suite)
