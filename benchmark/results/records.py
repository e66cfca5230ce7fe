"""Records as lines of a file: the digest that reveals an edited line, the choice of the newest, and older schemas.

The newest record of each key is used. Within a file this is the last line, whatever the dates say. Between files it is
the record with the latest date; a line counts as at least as new as the lines before it, and dates in the future of
this machine's clock are ignored. So a clock that was ahead or was set back cannot hide later measurements. If the dates
are equal, the file that was named later wins.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark.cleaning import is_file_name, one_line
from benchmark.results.jsonl import parse, raw_lines
from benchmark.types import SCHEMA, Result, Source
from zoo.errors import UserError, shortened, shown

# In the form that `append_line` writes: the schema first, the digest last.
_HEAD = f'{{"record_schema": {SCHEMA}, '.encode()
_TAIL = re.compile(rb', "digest": "([0-9a-f]{20})"\}')
_TAIL_LENGTH = len(', "digest": ""}') + 20
_OLDEST = 1
# These fields become file names: scores, timings and pictures of a record, and the page of a dataset.
_KEY = re.compile(r"[0-9A-Za-z_-]{1,100}")
_NAMES = ("dataset", "split")
# The clocks of two machines may differ by this much.
_CLOCK_SKEW = timedelta(hours=1)
_NO_DATE = datetime.min.replace(tzinfo=timezone.utc)


def content_of(result: Result) -> dict[str, Any]:
    """Return the content of a record's line, with its digest last."""
    content = {**result.model_dump(mode="json"), "record_schema": SCHEMA}
    return {**content, "digest": digest_of(content)}


def digest_of(content: Mapping[str, Any]) -> str:
    """Return a digest of a line's content without the stored digest; the order of the keys matters."""
    text = json.dumps({k: v for k, v in content.items() if k != "digest"}, ensure_ascii=False)
    return digest_of_text(text.encode(errors="backslashreplace"))


def digest_of_text(text: bytes) -> str:
    """Return the digest of a line's content that is already written as JSON."""
    return hashlib.sha256(text).hexdigest()[:20]


def read_records(path: Path, start: int = 0, before: int = 0) -> Iterator[tuple[Result, int]]:
    """Yield each record of ``path`` from byte ``start`` on, with the position where the next line begins.

    ``before``: number of records before ``start``. A line whose digest does not match is yielded with ``is_edited``;
    a line of schema 1 has no digest and is accepted. Raises UserError naming the record for another schema, a damaged
    line and content that is not a record.
    """
    for number, line in enumerate(raw_lines(path, start), start=before + 1):
        result = _fast(line.text, path, number)
        if result is None:
            result, is_intact = record_of(parse(line, path), f"{path}, record {number}")
            result.found_at(Source(path, number, is_intact))
        yield result, line.end


def _fast(text: bytes, path: Path, number: int) -> Result | None:
    """Return the record of an unchanged line, which is the usual case; None for any other line."""
    tail = _TAIL.fullmatch(text, len(text) - _TAIL_LENGTH) if text.startswith(_HEAD) else None
    if tail is None:
        return None
    content = text[: tail.start()] + b"}"
    if digest_of_text(content).encode() != tail[1]:
        return None
    try:
        result = Result.model_validate_json(content)
    except ValidationError:
        return None
    return None if _odd_name(result) else result.found_at(Source(path, number, True))


def record_of(value: Any, where: str) -> tuple[Result, bool | None]:
    """Return the record in a line's content, and whether its digest matches (None: schema 1 has none).

    Raises UserError, which begins with ``where``, for another schema and for content that is not a record.
    """
    schema = value.get("record_schema") if isinstance(value, dict) else None
    if not isinstance(schema, int) or schema not in range(_OLDEST, SCHEMA + 1) or isinstance(schema, bool):
        raise UserError(f"{where}: {_other_schema(schema)}")
    content = {name: field for name, field in value.items() if name != "digest"}
    is_intact = None if schema == _OLDEST else value.get("digest") == digest_of(content)
    try:
        result = Result.model_validate({**content, "record_schema": SCHEMA})
    except ValidationError as error:
        first = error.errors()[0]
        field = shortened(".".join(map(str, first["loc"])))
        raise UserError(f"{where}: field {field}: {shortened(first['msg'], 200)}; was it edited?") from None
    if field := _odd_name(result):
        found = one_line(str(getattr(result, field)))[:80]
        raise UserError(
            f"{where}: field {field}: '{found}' cannot name a file; expected letters, digits and signs such as '-' and"
            " '_'. Remove the line: no run of this tool writes it."
        )
    return result, is_intact


def _odd_name(result: Result) -> str:
    """Return the field whose text is not safe as a file name; empty if there is none."""
    if not _KEY.fullmatch(result.key):
        return "key"
    return next((name for name in _NAMES if not is_file_name(getattr(result, name))), "")


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
    """Switch off the garbage collector: records have no cycles, and its search takes longer than reading them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def newest(results: Iterable[Result], key: Callable[[Result], Hashable] = lambda result: result.key) -> list[Result]:
    """Return the newest record of each ``key`` (defined in this module), in the order of the keys' first records."""
    records = list(results)
    latest = {key(result): result for result in oldest_first(records)}
    return [latest[one] for one in dict.fromkeys(map(key, records))]


def oldest_first(results: Iterable[Result]) -> list[Result]:
    """Return records in the order in which they were written, as far as files and dates show it."""
    files: dict[object, list[Result]] = {}
    for index, result in enumerate(results):
        files.setdefault(result.source.file if result.source else index, []).append(result)
    placed = []
    for place, records in enumerate(files.values()):
        # A record that was just added has no number yet, so it comes last.
        lines = sorted(records, key=lambda r: (r.source.number or float("inf")) if r.source else 0)
        placed += [(moment, place, result) for moment, result in zip(moments(lines), lines)]
    return [result for _, _, result in sorted(placed, key=lambda one: one[:2])]


def moments(results: Iterable[Result]) -> Iterator[datetime]:
    """Yield for the records of one file when each was written: never before those above it, by no date to come."""
    latest_possible = datetime.now(timezone.utc) + _CLOCK_SKEW
    moment = _NO_DATE
    for result in results:
        written = _moment(result.created)
        moment = max(moment, written) if written <= latest_possible else moment
        yield moment


def is_ahead(result: Result) -> bool:
    """Whether a record is dated in the future of this machine's clock."""
    return _moment(result.created) > datetime.now(timezone.utc) + _CLOCK_SKEW


def _moment(created: str) -> datetime:
    try:
        moment = datetime.fromisoformat(created.replace("Z", "+00:00"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return _NO_DATE
