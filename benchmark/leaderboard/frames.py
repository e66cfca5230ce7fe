"""Records as pandas data frames, with the names, values and warnings that the tables have."""

from __future__ import annotations

import keyword
import math
import re
import warnings as python_warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
import pandas as pd

from benchmark.cleaning import visible
from benchmark.conditions import Conditions
from benchmark.leaderboard.columns import KINDS, size_text
from benchmark.leaderboard.rows import Row, rows_of
from benchmark.results.conflicts import conflicts, warnings
from benchmark.results.records import oldest_first
from benchmark.results.store import read_folders
from benchmark.types import Evidence, Kind, Measurement, Result, Status, label_of
from zoo.errors import UserError, shown

Form = Literal["tidy", "wide"]
Level = Literal["record", "image"]
Records = str | Path | Result | Iterable[str | Path | Result]


class _Column(NamedTuple):
    """A column: its type, the values of a category that are known, and its value for a row or a measurement."""

    kind: str
    of: Callable[[Any], Any]
    values: tuple[str, ...] | None = None


def _weights(name: str) -> Callable[[Row], str | None]:
    return lambda row: (row.result.weights or {}).get(name)


def _condition(name: str) -> _Column:
    field = Conditions.model_fields[name]
    # A field with a serializer of its own is a text in records, as a tile's size is.
    types = () if field.metadata else (field.annotation, *get_args(field.annotation))
    kinds = ((bool, "bool"), (int, "Int64"), (float, "float64"))
    kind = next((kind for one, kind in kinds if one in types), "string")
    return _Column(kind, lambda row: row.result.spec.conditions.model_dump(include={name})[name])


def _of_mean(name: str) -> Callable[[_Line], Any]:
    return lambda line: line.own and getattr(line.own, name)


def _seed(row: Row) -> int | None:
    text = _weights("seed")(row) or ""
    return int(text) if re.fullmatch(r"\d{1,18}", text) else None


# What a row is: these columns come first.
_LEAD = {
    "model": _Column("string", lambda row: row.result.model),
    "row_name": _Column("string", lambda row: row.name),
    "options": _Column("string", lambda row: label_of("", row.result.spec.options)[1:-1]),
    "label": _Column("string", lambda row: row.result.label),
    "dataset": _Column("string", lambda row: row.result.dataset),
    "split": _Column("string", lambda row: row.result.split),
    "part": _Column("string", lambda row: row.result.part),
    "standin": _Column("bool", lambda row: row.is_standin),
    "num_images": _Column("Int64", lambda row: row.result.n),
    "num_scenes": _Column("Int64", lambda row: row.result.num_scenes),
    "evidence": _Column("category", lambda row: row.result.evidence, get_args(Evidence)),
    "status": _Column("category", lambda row: row.result.status, get_args(Status)),
    "edited": _Column("bool", lambda row: row.result.is_edited),
    "conflicting": _Column("bool", lambda row: bool(row.conflict)),
}
# Where its numbers come from: these columns come last.
_TAIL = {
    "error": _Column("string", lambda row: row.result.error),
    "recipe": _Column("string", _weights("recipe")),
    "recipe_digest": _Column("string", _weights("recipe_digest")),
    "training_seed": _Column("Int64", _seed),
    "sweep": _Column("string", lambda row: row.result.training.get("sweep", {}).get("name")),
    "weights_file": _Column("string", _weights("name")),
    "weights_sha256": _Column("string", _weights("sha256")),
    "seed": _Column("Int64", lambda row: row.result.spec.seed),
    **{name: _condition(name) for name in Conditions.model_fields},
    # Whether the output was really put together from tiles that are not exact, and not whether that was allowed.
    "approximate": _Column("bool", lambda row: row.result.is_approximate),
    "protocol": _Column("string", lambda row: row.result.spec.protocol),
    "scoring": _Column("string", lambda row: row.result.spec.scoring),
    "dataset_digest": _Column("string", lambda row: row.result.spec.dataset_digest),
    "code": _Column("string", lambda row: row.result.spec.code),
    "machine": _Column("string", lambda row: row.result.environment.machine),
    "cpu": _Column("string", lambda row: row.result.environment.cpu),
    "torch": _Column("string", lambda row: row.result.environment.torch),
    "commit": _Column("string", lambda row: row.result.environment.commit),
    "created": _Column("time", lambda row: row.result.created),
    "seconds": _Column("float64", lambda row: row.result.seconds),
    "remarks": _Column("string", lambda row: "; ".join(row.remarks) or None),
    "key": _Column("string", lambda row: row.result.key),
    "source": _Column("string", lambda row: row.result.source and str(row.result.source)),
}
_IMAGE = {
    "image": _Column("string", lambda item: item.image),
    "scene": _Column("string", lambda item: item.scene),
}


# What a measurement says; only means and medians have what _OF_MEANS names.
_MEASURE = {
    "measurement": _Column("category", lambda line: line.id),
    "value": _Column("float64", lambda line: line.own and line.own.value),
    "unit": _Column("category", lambda line: line.own and line.own.unit),
    "kind": _Column("category", lambda line: line.own and line.own.kind, get_args(Kind)),
    "higher_is_better": _Column("boolean", lambda line: line.own and line.own.higher_is_better),
    "comparable": _Column("bool", lambda line: line.is_comparable),
    "remark": _Column("string", lambda line: (line.own and "; ".join(_doubts(line.own))) or None),
    "input_size": _Column("string", lambda line: (line.own and size_text(line.own)) or None),
    "version": _Column("Int64", lambda line: line.own and line.own.version),
    "definition": _Column("category", lambda line: line.own and line.own.definition),
}
_OF_MEANS = {name: _Column("float64", _of_mean(name)) for name in ("ci_low", "ci_high", "q1", "q3", "finite_mean")}
_OF_MEANS |= {name: _Column("Int64", _of_mean(name)) for name in ("n", "n_inf")}


class _Item(NamedTuple):
    """What the rows of a frame are about: the number and row of a record, an image, and measurements by id."""

    place: int
    row: Row
    measurements: Mapping[str, Measurement]
    image: str | None = None
    scene: str | None = None


class _Line(NamedTuple):
    """A row of a tidy frame: the number of its item, its measurement, and whether tables may rank it."""

    item: int
    id: str | None
    own: Measurement | None
    is_comparable: bool


def load_results(
    results: Records, form: Form = "tidy", *, level: Level = "record", newest: bool = True
) -> pd.DataFrame:
    """Return records as a data frame: ``results`` is a folder or file of records, a record, or several of these.

    The form "tidy" has a row for each measurement of a record (``measurement`` is its id, ``value`` its number in
    ``unit``), "wide" a row for each record and a column for each measurement: ``psnr[rgb]`` is ``psnr_rgb``,
    ``latency_ms@12mp`` is ``latency_ms_12mp``; ``frame.attrs`` gives ``units``, ids (``measurements``) and
    ``definitions`` by column. Numbers are those of the records, in their units, not rounded and not scaled. Intervals
    of 95 % (scores: over scenes) are ``ci_low`` and ``ci_high``, or end in ``_low`` and ``_high``.

    The level "image" has the scores of each image, with ``image`` and ``scene``, instead of means; scores that are
    missing beside a record or were changed have no rows. Of each key the newest record counts, as in tables; all
    records are there with ``newest=False``. Each training is a row: ``training_seed`` tells runs of one recipe apart.

    Look at ``evidence``, ``standin``, ``part``, ``status`` and ``edited`` before you compare: failed records are there
    with their ``error`` and without scores, records of stand-ins beside real ones. ``comparable`` (tidy) says whether
    tables may rank a value; ``not_comparable`` (wide) names the columns whose values they may not. A folder without
    records gives an empty frame. Raises UserError for a path that does not exist and for files that hold no records;
    warns about records and scores that were edited, or that contradict each other.
    """
    records = read(results)
    for text in warnings(records):
        python_warnings.warn(text, stacklevel=2)
    return frame_of(records, form, level=level, newest=newest)


def read(results: Records) -> list[Result]:
    """Return the records of a path, a record, or several of these."""
    found: list[Result] = []
    is_one = isinstance(results, (str, Path, Result)) or not isinstance(results, Iterable)
    for one in cast("Iterable[Any]", [results] if is_one else results):
        if isinstance(one, Result):
            found.append(one)
        elif not isinstance(one, (str, Path)):
            raise UserError(f"load_results: expected a folder or file of records, or records, got {shown(one)}.")
        elif not Path(one).exists():
            raise UserError(
                f"load_results: nothing at {one}; expected a folder that `run` wrote, or a file of records."
            )
        elif not Path(one).is_dir() or any(Path(one).glob("*.jsonl")):
            found += read_folders([Path(one)])
    return found


def frame_of(
    records: Sequence[Result], form: Form = "tidy", *, level: Level = "record", newest: bool = True
) -> pd.DataFrame:
    """Return records as a data frame, as ``load_results`` does, without its warnings."""
    for name, value, known in (("form", form, get_args(Form)), ("level", level, get_args(Level))):
        if value not in known:
            raise UserError(f"load_results: {name}={shown(value)}: expected {' or '.join(known)}.")
    rows = rows_of(records) if newest else _all_rows(records)
    of_images = level == "image"
    items = _images(rows) if of_images else [_Item(place, row, row.measurements) for place, row in enumerate(rows)]
    lead, tail = _filled(_LEAD, rows), _filled(_TAIL, rows)
    lead = pd.concat([lead, _options(rows, [*lead, *tail])], axis=1)
    images = _filled(_IMAGE, items) if of_images else pd.DataFrame(index=range(len(items)))
    if form == "wide":
        own = _wide(items, [*lead, *images, *tail])
        places = [item.place for item in items]
    else:
        lines = list(_lines(items))
        own = _filled(_MEASURE if of_images else _MEASURE | _OF_MEANS, lines)
        places = [items[line.item].place for line in lines]
        images = _taken(images, [line.item for line in lines])
    frame = pd.concat([_taken(lead, places), images, own, _taken(tail, places)], axis=1)
    frame.attrs |= own.attrs
    return frame


def _all_rows(records: Sequence[Result]) -> list[Row]:
    doubts = conflicts(records)
    return [Row(one, doubts.get(one.key, "")) for one in oldest_first(records)]


def _images(rows: Sequence[Row]) -> list[_Item]:
    """Return an item for each image; its measurements are those of the means, with the values of the image."""
    items = []
    for place, row in enumerate(rows):
        known = {id: one.model_copy(update=dict.fromkeys(_OF_MEANS)) for id, one in row.measurements.items()}
        for image, scores in row.image_scores.items():
            own = {id: known[id].model_copy(update={"value": value}) for id, value in scores.items() if id in known}
            items.append(_Item(place, row, own, image, row.scenes.get(image)))
    return items


def _lines(items: Sequence[_Item]) -> Iterator[_Line]:
    for number, item in enumerate(items):
        for id, one in item.measurements.items():
            yield _Line(number, id, one, item.row.fair_value(id) is not None)
        if not item.measurements:
            yield _Line(number, None, None, is_comparable=False)


def _wide(items: Sequence[_Item], taken: Sequence[str]) -> pd.DataFrame:
    """Return a column for each measurement, in the order of tables, with its interval if any of the rows has one."""
    found: dict[str, list[Measurement | None]] = {}
    ids = dict.fromkeys((KINDS.index(one.kind), id) for item in items for id, one in item.measurements.items())
    for id in dict.fromkeys(id for _, id in sorted(ids, key=lambda one: one[0])):
        found[id] = [item.measurements.get(id) for item in items]
    names, columns, wrong = [*taken, "not_comparable"], {}, [list[str]() for _ in items]
    attrs: dict[str, dict[str, Any]] = {"units": {}, "measurements": {}, "definitions": {}}
    for id, values in found.items():
        known = [one for one in values if one is not None]
        name, newest = _name(id, names), max(one.version for one in known)
        columns[name] = _array(_kind_of([one.value for one in known]), [one and one.value for one in values])
        for end in ("low", "high"):
            if any(getattr(one, f"ci_{end}") is not None for one in known):
                interval = [one and getattr(one, f"ci_{end}") for one in values]
                columns[_name(f"{name}_{end}", names)] = _array("float64", interval)
        for item, one, own in zip(items, values, wrong):
            if one and one.value is not None and (item.row.fair_value(id) is None or one.version < newest):
                own.append(name)
        attrs["units"][name] = " or ".join(sorted({visible(one.unit) for one in known}))
        attrs["measurements"][name] = visible(id)
        attrs["definitions"][name] = " or ".join(sorted({visible(one.definition) for one in known}))
    columns["not_comparable"] = _array("string", [", ".join(own) for own in wrong])
    frame = pd.DataFrame(columns, index=range(len(items)))
    frame.attrs = attrs
    return frame


def _options(rows: Sequence[Row], taken: Sequence[str]) -> pd.DataFrame:
    """Return a column for each option that a record has, missing where a network has no such option or its default."""
    given = [row.result.spec.options for row in rows]
    names = list(taken)
    columns = {}
    for key in sorted({key for options in given for key in options}):
        values = [_option(options.get(key)) for options in given]
        columns[_name(f"option_{key}", names)] = _array(_kind_of(values), values)
    return pd.DataFrame(columns, index=range(len(rows)))


def _option(value: Any) -> Any:
    """Return the value of an option: a number, True or False, a text (lists as ``--set`` takes them) or None."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value if isinstance(value, (bool, int, float, str)) or value is None else str(value)


def _name(text: str, taken: list[str]) -> str:
    """Return a name for a column, usable as ``frame.name``, which none of those ``taken`` has; add it to them."""
    name = re.sub(r"\W+", "_", text).strip("_") or "unnamed"
    name = f"_{name}" if name[0].isdigit() else name
    name = f"{name}_" if keyword.iskeyword(name) or hasattr(pd.DataFrame, name) else name
    name = next(one for one in chain([name], (f"{name}_{number}" for number in count(2))) if one not in taken)
    taken.append(name)
    return name


def _taken(frame: pd.DataFrame, places: Sequence[int]) -> pd.DataFrame:
    return frame.take(places).reset_index(drop=True)


def _filled(columns: Mapping[str, _Column], subjects: Sequence[Any]) -> pd.DataFrame:
    """Return a frame with a row for each of ``subjects``."""
    return pd.DataFrame(
        {
            name: _array(one.kind, [one.of(subject) for subject in subjects], one.values)
            for name, one in columns.items()
        },
        index=range(len(subjects)),
    )


def _kind_of(values: Iterable[Any]) -> str:
    """Return the type of a column for these values, of which some may be None."""
    types = {type(value) for value in values if value is not None}
    if types == {bool}:
        return "boolean"
    if types == {int} and all(value is None or abs(value) < 2**63 for value in values):
        return "Int64"
    return "float64" if types <= {int, float} else "string"


def _array(kind: str, values: Sequence[Any], known: Sequence[str] | None = None) -> Any:
    """Return the values of a column, where None is a missing one; characters that are not shown become escapes."""
    if kind == "float64":
        return np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)
    if kind in ("string", "category"):
        texts = [None if value is None else visible(str(value)) for value in values]
        if kind == "string":
            return pd.array(texts, dtype=pd.StringDtype())
        return pd.Categorical(texts, categories=known or sorted({text for text in texts if text is not None}))
    if kind == "time":
        return pd.to_datetime(list(values), utc=True, errors="coerce", format="ISO8601").as_unit("us")
    return np.array(values, dtype=bool) if kind == "bool" else pd.array(list(values), dtype=kind)


def _doubts(one: Measurement) -> list[str]:
    """Return why a value should not be trusted or is missing; empty if there is no reason."""
    return [*(one.tainted or ()), *([one.remark] if one.remark else [])]
