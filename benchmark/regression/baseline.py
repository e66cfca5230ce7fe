"""A baseline: one file with everything that a later comparison needs.

It consists of sorted JSON lines: first a header with the format and the number of records, then one record per line
with its scores per image and its timing samples. The same records give the same bytes.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Strict, TypeAdapter, ValidationError

from benchmark.regression.matching import rows_to_compare
from benchmark.replacing import replace_text
from benchmark.results.journal import Scores
from benchmark.results.jsonl import read_lines
from benchmark.results.records import content_of, record_of
from benchmark.results.store import are_behind
from benchmark.results.upkeep import Migrated, renewed
from benchmark.types import Result, decode_number, encode_number
from zoo.errors import UserError, shown

FORMAT = 1
_HEADER = "zoo_bench_baseline"
_TIMES = ("latency_ms", "calibration_ms", "exchange_ms")
_Number = Annotated[float, Strict(), BeforeValidator(decode_number)]
_SCORES = TypeAdapter(dict[Any, dict[Any, _Number]])
_SCENES = TypeAdapter(dict[str, str])
_SAMPLES = TypeAdapter(dict[Any, dict[Any, list[_Number]]])
_AGAIN = "write it again: zoo-bench check --baseline FILE --results DIR --update"
_RESTORE = f"Restore it, or {_AGAIN}."


@dataclass(frozen=True)
class Kept:
    """One record of a baseline with its scores and scenes by image id, and its samples by suffix of the size.

    ``runs``: in a comparison, the records of the trainings that the scores are the means of.
    """

    result: Result
    scores: dict[str, Scores]
    samples: dict[str, Any]
    scenes: dict[str, str] = field(default_factory=dict)
    runs: tuple[Result, ...] = ()


def is_baseline(path: Path) -> bool:
    """Whether a file begins like a baseline of any format."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return f'"{_HEADER}"'.encode() in file.readline(200)


def read_baseline(path: Path) -> list[Kept]:
    """Return a baseline's records; raises UserError if it is missing, damaged, cut off or of another schema."""
    if not path.exists():
        raise UserError(f"--baseline {path}: no such file; run with --update to make it from the results.")
    if not is_baseline(path):
        raise UserError(
            f"--baseline {path}: not a baseline; expected a file that `zoo-bench check --update` wrote"
            " (a results.jsonl is compared by `zoo-bench compare`)."
        )
    header, *lines = read_lines(path) or [None]
    if not isinstance(header, dict) or _HEADER not in header:
        raise UserError(f"{path}, line 1: no header of a baseline; was it edited? {_RESTORE}")
    if header[_HEADER] != FORMAT:
        raise UserError(
            f"{path}: baseline of format {shown(header[_HEADER])}, this version reads format {FORMAT}; {_AGAIN}."
        )
    if len(lines) != header.get("records"):
        there = f"{len(lines)} of {header.get('records')} records are there"
        raise UserError(f"{path}: {there}; was it cut off or edited? {_RESTORE}")
    return [_parse(line, f"{path}, line {number}") for number, line in enumerate(lines, start=2)]


def _parse(line: Any, where: str) -> Kept:
    # Baselines of earlier versions have no scenes.
    if not isinstance(line, dict) or set(line) - {"scenes"} != {"record", "samples", "scores"}:
        raise UserError(f"{where}: expected a record with scores and samples; was it edited? {_RESTORE}")
    try:
        scores, samples = _SCORES.validate_python(line["scores"]), _SAMPLES.validate_python(line["samples"])
        scenes = _SCENES.validate_python(line.get("scenes", {}))
    except ValidationError:
        raise UserError(f"{where}: its scores or samples are no numbers; was it edited? {_RESTORE}") from None
    try:
        record, is_intact = record_of(line["record"], where)
    except UserError as error:
        raise UserError(f"{error} Restore the baseline, or {_AGAIN}.") from None
    if is_intact is False:
        raise UserError(f"{where}: the record's digest does not match: it was edited. {_RESTORE}")
    if scores and not are_behind(scores, record):
        raise UserError(
            f"{where}: the scores per image are not those that the record's means were made of: they were edited."
            f" {_RESTORE}"
        )
    if scenes and (scenes.keys() != scores.keys() or len(set(scenes.values())) != record.num_scenes):
        raise UserError(f"{where}: its scenes are not those that the record counts: they were edited. {_RESTORE}")
    return Kept(record, scores, samples, scenes)


def refuse_other_files(path: Path) -> None:
    """Raise UserError if a baseline would replace a file that is not a baseline."""
    if path.exists() and not is_baseline(path):
        raise UserError(f"--baseline {path}: this file exists and is not a baseline; name another file to write to.")


def write_baseline(path: Path, kept: Iterable[Kept]) -> int:
    """Write a baseline of the newest records, atomically; return their number. The same set gives the same bytes."""
    by_id = {id(entry.result): entry for entry in kept}
    records = [by_id[id(row.result)] for row in rows_to_compare(entry.result for entry in by_id.values())]
    lines = [_line({_HEADER: FORMAT, "records": len(records)}), *(_line(_document(entry)) for entry in records)]
    replace_text(path, "".join(lines), "--baseline")
    return len(records)


def migrate_baseline(path: Path) -> Migrated:
    """Rewrite a baseline's records as ``renewed`` says, atomically; raises UserError as ``read_baseline`` does."""
    kept = read_baseline(path)
    lines = [content_of(entry.result) for entry in kept]
    new = [renewed(entry.result, line, None) for entry, line in zip(kept, lines)]
    rewritten = sum(map(operator.ne, new, lines))
    if rewritten:
        write_baseline(path, [replace(one, result=record_of(line, str(path))[0]) for one, line in zip(kept, new)])
    return Migrated(rewritten, len(kept), ())


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


def _document(entry: Kept) -> dict[str, Any]:
    return {
        "record": content_of(entry.result),
        "scores": {
            image: {name: encode_number(value) for name, value in scores.items()}
            for image, scores in entry.scores.items()
        },
        **({"scenes": entry.scenes} if entry.scenes else {}),
        # Timers are not more precise than this, and people read the file.
        "samples": {
            suffix: {name: [float(f"{value:.5g}") for value in found[name]] for name in _TIMES if name in found}
            for suffix, found in entry.samples.items()
        },
    }
