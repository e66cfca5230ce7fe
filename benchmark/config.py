"""Read YAML files as strict settings; an error names the file, the key and the nearest valid key."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.record import Record
from zoo.errors import UserError, nearest, shortened, shown
from zoo.inputs import regular_file

Settings = TypeVar("Settings", bound=BaseModel)
# The largest shipped recipe has 3,000 bytes. PyYAML needs seconds for a file of this size.
MAX_BYTES = 200_000
# The depth of nested values, and the number of values in a file after its aliases are expanded.
_MAX_DEPTH, _MAX_VALUES = 40, 50_000
# Only types that JSON also has, because records contain settings.
_TAGS = ("null", "bool", "int", "float", "str", "seq", "map")


class Strict(Record):
    """Settings that refuse unknown keys and numbers that are not finite."""

    model_config = ConfigDict(allow_inf_nan=False)


def shipped_files(kind: str) -> dict[str, Path]:
    """Return the settings of a kind ("recipe", "suite", "sweep") that ship with the package, by name."""
    # The first folder is for an installed package, the second for a checkout without links.
    folders = (Path(__file__).parent / f"{kind}s", Path(__file__).parents[1] / "configs" / f"{kind}s")
    folder = next((folder for folder in folders if folder.is_dir()), None)
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))} if folder else {}


def find_settings(file: str | Path, kind: str, verb: str) -> Path:
    """Return the file of a recipe, a suite or a sweep (``kind``), given as a path or by the name of a shipped one.

    Raises UserError for the command ``verb``, with the nearest names.
    """
    path = Path(file)
    if os.path.lexists(path):
        return regular_file(path, f"a {kind}", verb)
    shipped = shipped_files(kind)
    name = path.name.removesuffix(".yaml")
    if name in shipped and path.parent in (Path(), Path(f"configs/{kind}s")):
        return shipped[name]
    what = "file" if kind == verb else f"{kind} file"
    where = f"{verb}: no {what} at {shortened(file, 400)}"
    raise UserError(f"{where}, and none shipped under that name{nearest(name, shipped)}")


def header_of(file: Path) -> tuple[str, str, str]:
    """Return command, summary and notes from the comment at the start of a shipped file; a shell runs the command.

    The comment begins with the lines of the command. The summary goes up to the first line that ends a sentence.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    texts = [line[1:].strip() for line in itertools.takewhile(lambda line: line.startswith("#"), lines)]
    commands = list(itertools.takewhile(lambda text: text.startswith("zoo-bench "), texts))
    rest = texts[len(commands) :]
    end = next((number for number, text in enumerate(rest, 1) if text.endswith(".")), len(rest))
    return " && ".join(commands), " ".join(rest[:end]), " ".join(rest[end:])


def read_settings(path: str | Path, kind: type[Settings], overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read a YAML file as ``kind``; ``overrides`` by dotted key replace values of the file.

    Raises UserError with the name of the file and the line of a YAML error, the valid key nearest to an unknown one, or
    the expected value. For a key of ``overrides`` it names ``--set`` in place of the file.
    """
    return settings_of(read_yaml(path), kind, str(path), overrides)


def settings_of(
    values: Mapping[str, Any],
    kind: type[Settings],
    source: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    flag: str = "--set",
) -> Settings:
    """Return keys and values that come from ``source`` as ``kind``; overrides and errors as in ``read_settings``."""
    given = overrides or {}
    for key, value in given.items():
        place = f"{flag} {shortened(key)}={_text(value)}"
        keys = key.split(".")
        if len(keys) > _MAX_DEPTH:
            raise UserError(f"{place}: expected a key, or a.b for key b inside key a.")
        values = _replaced(values, keys, value, kind, place)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        unknown = [one for one in problems if one["type"] in ("extra_forbidden", "invalid_key")]
        first = (unknown or problems)[0]
        where = ".".join(map(str, first["loc"]))
        named = next((key for key in given if where == key or where.startswith(f"{key}.")), None)
        place = source if named is None else f"{flag} {shortened(named)}={_text(given[named])}"
        if unknown:
            raise UserError(f"{place}: {_unknown(first['loc'], kind)}") from None
        problem = shortened(first["msg"].removeprefix("Value error, "), 300)
        at = f": {shortened(where)}" if named is None else ""
        raise UserError(f"{place}{at}: {problem}; found {shown(first['input'])}.") from None


def _text(value: Any) -> str:
    """Return a value as it was typed after ``--set KEY=``, shortened."""
    return shortened(value) if isinstance(value, (str, bool)) else shown(value)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the keys and values of a YAML file, which may hold only JSON types and every key only once.

    Raises UserError with the name of the file and, if it is known, the line.
    """
    file = regular_file(path, "a YAML file")
    name = shortened(path, 400)
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror}); expected a YAML file.") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"{name}: more than {MAX_BYTES:,} bytes; expected a short YAML file.")
    try:
        values = _load(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{name}, line {line}: not UTF-8; expected YAML as text. Save the file as UTF-8.") from None
    except yaml.constructor.ConstructorError as error:
        raise UserError(f"{name}{_line_of(error, content)}: {_problem(error)}.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{name}{_line_of(error, content)}: not YAML ({_problem(error)}).") from None
    if not isinstance(values, dict):
        raise UserError(f"{name}: expected keys and values, e.g. `dataset: zrr`; found {shown(values)}.")
    return values


def parse_value(text: str) -> Any:
    """Return the value of ``--set key=TEXT`` as YAML reads it: numbers, lists, true, null, else the text.

    Raises UserError for YAML that is not a valid value: infinite numbers, endless aliases, or a key that appears twice.
    """
    if len(text) > MAX_BYTES:
        raise UserError(f"--set: {shortened(text)}: more than {MAX_BYTES:,} characters.")
    try:
        return _load(text)
    except yaml.constructor.ConstructorError as error:
        raise UserError(f"--set: {shortened(text)}: {_problem(error)}.") from None
    except yaml.YAMLError:
        return text


class _Loader(yaml.SafeLoader):
    """YAML of plain values: depth and expanded aliases are limited, keys must be unique and numbers finite."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        # The number of values that each node expands to, by its identity.
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node; raises if it is nested too deeply or if aliases expand to too many values."""
        self._depth += 1
        mark, is_alias = self.peek_event().start_mark, self.check_event(yaml.AliasEvent)
        if self._depth > _MAX_DEPTH:
            raise _refused(f"more than {_MAX_DEPTH} values inside each other", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias and id(node) not in self._sizes:
            raise _refused("an alias (*name) inside the value that it stands for", mark)
        if not is_alias:
            self._sizes[id(node)] = 1 + sum(self._sizes[id(part)] for part in _parts(node))
        if self._sizes[id(node)] > _MAX_VALUES:
            raise _refused(f"more than {_MAX_VALUES:,} values, aliases (*name) followed", mark)
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; raises for a key that appears twice, because the first one would be ignored."""
        seen: dict[Any, Any] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            name = self.construct_object(key)
            if name in seen:
                first = f"first in line {seen[name].start_mark.line + 1}"
                raise _refused(f"the key {shown(name)} is there twice, {first}; leave one out", key.start_mark)
            seen[name] = key
        return super().construct_mapping(node, deep)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Return a node's value; raises for a value that Python cannot hold and for a number that is not finite."""
        try:
            value = super().construct_object(node, deep)
        except (ValueError, OverflowError, KeyError, IndexError, TypeError, AttributeError):
            raise _refused(f"{shown(node.value)} is no value of this kind", node.start_mark) from None
        if isinstance(value, int) and abs(value) >> 64:
            raise _refused(f"{shown(node.value)} is a whole number beyond 64 bits", node.start_mark)
        if isinstance(value, float) and not math.isfinite(value):
            raise _refused(f"{shown(node.value)} is not a finite number", node.start_mark)
        return value


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


# Dates are text, and tags of other types (!!binary, !!set, !!python/...) are refused with their line.
_Loader.yaml_implicit_resolvers = {
    sign: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:timestamp"]
    for sign, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.yaml_constructors = {
    tag: make
    for tag, make in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.removeprefix("tag:yaml.org,2002:") in _TAGS
}


def _load(text: str) -> Any:
    """Return the only document in a text; raises YAMLError."""
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _refused(problem: str, mark: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)


def _problem(error: yaml.YAMLError) -> str:
    text = getattr(error, "problem", None) or getattr(error, "reason", None) or error
    character = getattr(error, "character", None)
    return shortened(text, 200) + (f": character {ord(character):#04x}" if isinstance(character, str) else "")


def _line_of(error: yaml.YAMLError, content: bytes) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f", line {mark.line + 1}"
    position = getattr(error, "position", None)
    text = content.decode("utf-8-sig", "replace")
    return f", line {text.count(chr(10), 0, position) + 1}" if position is not None else ""


def _unknown(path: Sequence[int | str], kind: type[BaseModel]) -> str:
    """Return the message that ``kind``, or a model inside it, has no key at ``path``, with the nearest keys."""
    names = []
    for part in path[:-1]:
        # Other parts are positions in a list, or names that the user chose.
        if part in kind.model_fields and (inner := _model_in(kind.model_fields[str(part)].annotation)):
            names.append(f"{part}.")
            kind = inner
    key = shortened(path[-1])
    return f"unknown key '{''.join(names)}{key}'{nearest(key, kind.model_fields)}"


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the one settings model in an annotation such as ``Kind``, ``list[Kind]`` or ``Kind | None``."""
    # On Python 3.10 `list[Kind]` is an instance of type too, and no class.
    if not get_args(annotation) and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _replaced(values: Any, keys: list[str], value: Any, kind: type[BaseModel] | None, source: str) -> dict[str, Any]:
    """Return ``values`` with the value at a path of keys replaced; raises UserError for an unknown key."""
    key, *rest = keys
    if kind is not None and key not in kind.model_fields:
        raise UserError(f"{source}: unknown key '{shortened(key)}'{nearest(key, kind.model_fields)}")
    values = dict(values) if isinstance(values, Mapping) else {}
    inner = None if kind is None else _model_in(kind.model_fields[key].annotation)
    values[key] = _replaced(values.get(key), rest, value, inner, source) if rest else value
    return values
