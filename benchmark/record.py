"""The base class of all stored or exchanged values: a frozen pydantic model that refuses unknown fields."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen record that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


def flattened(values: dict[str, Any], *parts: str) -> dict[str, Any]:
    """Return a record's JSON-ready ``values`` with each of ``parts`` replaced by its fields (None: by nothing)."""
    for part in parts:
        values |= values.pop(part) or {}
    return values
