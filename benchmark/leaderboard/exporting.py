"""Frames of records as files: CSV, JSON and Parquet."""

from __future__ import annotations

import importlib.util
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmark.cleaning import csv_cell
from benchmark.replacing import naming, replacing
from benchmark.types import encode_number
from zoo.errors import UserError


def as_csv(frame: Any) -> str:
    """Return a frame as CSV with a line of names; missing values are empty."""
    texts = frame.select_dtypes(["string", "category"])
    clean = {name: texts[name].astype("string").map(csv_cell, na_action="ignore") for name in texts}
    return str(frame.assign(**clean).to_csv(index=False, lineterminator="\n"))


def as_json(frame: Any) -> str:
    """Return a frame as a strict JSON document: its ``rows``, and what a wide one says of its columns.

    Missing values are null, infinite ones the texts "inf" and "-inf".
    """
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    document = {**frame.attrs, "rows": [{name: _plain(value) for name, value in row.items()} for row in rows]}
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return encode_number(value) if isinstance(value, float) else value


def write_parquet(frame: Any, path: Path, flag: str) -> None:
    """Write a frame as Parquet, atomically; raises UserError without pyarrow, DiskError if it cannot be written."""
    if importlib.util.find_spec("pyarrow") is None:
        raise UserError(
            f"{flag}: Parquet needs pyarrow, which is not installed; run: pip install 'zoo-bench[parquet]', or write"
            " --csv."
        )
    with naming(path, flag):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, flag) as partial:
        frame.to_parquet(partial, engine="pyarrow", index=False)
