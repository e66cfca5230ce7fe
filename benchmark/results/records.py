"""Records as lines of a file: the digest that tells an edited line, and what becomes of older schemas."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark.results.jsonl import RawLine, parse, raw_lines
from benchmark.types import SCHEMA, Result, Source
from zoo.errors import UserError, shortened, shown

# As `append_line` writes them: the schema first, the digest last.
_HEAD = f'{{"record_schema": {SCHEMA}, '.encode()
_TAIL = re.compile(rb', "digest": "([0-9a-f]{20})"\}')
_TAIL_LENGTH = len(', "digest": ""}') + 20
_OLDEST = 1


def content_of(result: Result) -> dict[str, Any]:
    """Return what a record's line holds, its digest last."""
    content = {**result.model_dump(mode="json"), "record_schema": SCHEMA}
    return {**content, "digest": digest_of(content)}


def digest_of(content: Mapping[str, Any]) -> str:
    """Return a digest of a line's content without its digest: of its keys in the order in which they stand."""
    text = json.dumps({k: v for k, v in content.items() if k != "digest"}, ensure_ascii=False)
    return _hash(text.encode("utf-8", "backslashreplace"))


def _hash(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:20]


def read_records(path: Path, start: int = 0, before: int = 0) -> Iterator[tuple[Result, int]]:
    """Yield each record of ``path`` from byte ``start`` on, and where in the file the next line begins.

    ``before``: number of records in front of ``start``. A line whose digest does not match is yielded with
    ``is_edited``; one of schema 1 has no digest and is taken as it is. Raises UserError naming the record for another
    schema, a damaged line and content that is no record.
    """
    for number, line in enumerate(raw_lines(path, start), start=before + 1):
        result = _fast(line.text, path, number)
        yield result or _slow(line, path, number), line.end


def _fast(text: bytes, path: Path, number: int) -> Result | None:
    """Return the record of a line that is as it was written, as most are; None for any other."""
    tail = _TAIL.fullmatch(text, len(text) - _TAIL_LENGTH) if text.startswith(_HEAD) else None
    if tail is None:
        return None
    content = text[: tail.start()] + b"}"
    if _hash(content).encode() != tail[1]:
        return None
    try:
        return Result.model_validate_json(content).found_at(Source(path, number, True))
    except ValidationError:
        return None


def _slow(line: RawLine, path: Path, number: int) -> Result:
    result, is_intact = record_of(parse(line, path), f"{path}, record {number}")
    return result.found_at(Source(path, number, is_intact))


def record_of(value: Any, where: str) -> tuple[Result, bool | None]:
    """Return the record in a line's content, and whether its digest matches (None: schema 1 has none).

    Raises UserError, which begins with ``where``, for another schema and for content that is no record.
    """
    schema = value.get("record_schema") if isinstance(value, dict) else None
    if not isinstance(schema, int) or schema not in range(_OLDEST, SCHEMA + 1) or isinstance(schema, bool):
        raise UserError(f"{where}: {_other_schema(schema)}")
    content = {name: field for name, field in value.items() if name != "digest"}
    is_intact = None if schema == _OLDEST else value.get("digest") == digest_of(content)
    try:
        return Result.model_validate({**content, "record_schema": SCHEMA}), is_intact
    except ValidationError as error:
        first = error.errors()[0]
        field = shortened(".".join(map(str, first["loc"])))
        raise UserError(f"{where}: field {field}: {shortened(first['msg'], 200)}; was it edited?") from None


def _other_schema(schema: object) -> str:
    reads = f"this version reads schema {_OLDEST} and {SCHEMA}"
    if not isinstance(schema, int) or isinstance(schema, bool):
        return f"no record_schema; {reads}. Was it written by `zoo-bench run`?"
    if schema > SCHEMA:
        return (
            f"schema {shown(schema)} is newer than this version, which reads schema {_OLDEST} and {SCHEMA}; update it."
        )
    return f"schema {shown(schema)} is too old, {reads}; run again with --rerun always into a new folder."


@contextlib.contextmanager
def without_gc() -> Iterator[None]:
    """Handle many records without the search for cycles: they have none, and looking takes longer than reading."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def newest(results: Iterable[Result]) -> list[Result]:
    """Return the newest record of each key, in order of the keys' first records.

    The newest was ``created`` last; of those of one second it is the last in ``results``.
    """
    kept: dict[str, Result] = {}
    for result in results:
        keep_newest(kept, result)
    return list(kept.values())


def keep_newest(kept: dict[str, Result], result: Result) -> None:
    """Put ``result`` into ``kept``, by key, unless a newer one is there."""
    other = kept.get(result.key)
    if other is None or result.created >= other.created:
        kept[result.key] = result
