"""The parts of the reference that are made from the code: Markdown, which `hooks.py` puts into the pages.

Each function of ``SECTIONS`` returns what replaces ``<!-- generated: NAME -->`` in a page of ``docs/reference``.
"""

from __future__ import annotations

import ast
import inspect
import json
import math
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import annotated_types
import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from benchmark.catalogue import card_lines
from benchmark.cli import cli
from benchmark.cli.options import common_options
from benchmark.cli.run import run_command
from benchmark.datasets import DATASETS
from benchmark.losses import LOSSES
from benchmark.metrics import METRICS
from benchmark.regression.thresholds import Thresholds
from benchmark.running.suite import Suite
from benchmark.sweeping.settings import Sweep
from benchmark.training.recipe import Recipe
from benchmark.types import Result
from benchmark.units import STYLES, style_of
from zoo.card import MODELS, get_card

# A range without an end that matters, as click writes it.
_FAR = re.compile(r" *\[0<=x<=[0-9]{10,}\]")
_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}


# ---- text


def cell(text: str) -> str:
    """Return text for a cell of a table: on one line, with signs of Markdown and HTML as they are outside of code."""
    parts = re.split(r"(`+[^`]+`+)", " ".join(text.replace("``", "`").split()))
    return "".join(part if number % 2 else _outside_code(part) for number, part in enumerate(parts))


def _outside_code(text: str) -> str:
    return re.sub(r"([*\[\]\\|])", r"\\\1", text).replace("<", "&lt;")


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; its cells are Markdown already."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# ---- commands


def commands() -> str:
    """Return all commands with their arguments and options."""
    common = common_options(click.Command("any"))
    found = ["### Options of every command", "", _options(common.params[::-1], click.Context(common)), ""]
    taken = {flag for parameter in common.params for flag in parameter.opts}
    for path, command in _commands(cli, ()):
        context = click.Context(command, info_name=" ".join(path))
        found += [f"### zoo-bench {' '.join(path)}", ""]
        found += ["```text", f"zoo-bench {' '.join([*path, *command.collect_usage_pieces(context)])}", "```", ""]
        found += [_prose(command.help or ""), ""]
        own = [parameter for parameter in command.params if not taken & {*parameter.opts}]
        found += [_options(own, context), ""]
    return "\n".join(found)


def _commands(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        elif not command.hidden:
            yield (*path, name), command


def _prose(text: str) -> str:
    paragraphs = inspect.cleandoc(text).replace("\b", "").strip().split("\n\n")
    return "\n\n".join(cell(paragraph).replace(r"\|", "|") for paragraph in paragraphs)


def _options(parameters: Sequence[click.Parameter], context: click.Context) -> str:
    # Newer versions of click also have records of arguments, which say nothing that the usage does not.
    records = [one.get_help_record(context) for one in parameters if isinstance(one, click.Option)]
    rows = [(f"`{record[0]}`", cell(_FAR.sub("", record[1]))) for record in records if record]
    return table(("option", "meaning"), rows) if rows else ""


# ---- fields of pydantic models


def settings() -> str:
    """Return the keys of recipes, sweeps, suites and thresholds."""
    suite = {parameter.name: getattr(parameter, "help", None) or "" for parameter in run_command.params}
    kinds: tuple[tuple[str, type[BaseModel], Mapping[str, str]], ...] = (
        ("Recipe", Recipe, {}),
        ("Sweep", Sweep, {}),
        ("Suite", Suite, suite),
        ("Thresholds", Thresholds, {}),
    )
    return "\n\n".join(part for title, model, given in kinds for part in _sections(title, model, given))


def records() -> str:
    """Return the fields of a line of ``results.jsonl``."""
    return "\n\n".join(_sections("Result", Result, {}, level=3))


def costs() -> str:
    """Return the ids of costs in records, with the titles of their columns in tables."""
    rows = []
    for id, (title, _, _) in STYLES.items():
        small, large = (style_of(f"{id}{size}", "", is_score=False).unit for size in ("", "@12mp"))
        rows.append((f"`{id}`", title, small if small == large else f"{small}; {large} at 12 MP and full scale"))
    return table(("id", "column", "unit in tables"), rows)


def models_in(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Return a model and all that are in its fields, each once, in their order."""
    found = [model]
    for one in found:
        for field in one.model_fields.values():
            found += [inner for inner in _inner(field.annotation) if inner not in found]
    return found


def _inner(annotation: Any) -> list[type[BaseModel]]:
    if inside := typing.get_args(annotation):
        return [model for part in inside for model in _inner(part)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


def _sections(title: str, model: type[BaseModel], given: Mapping[str, str], level: int = 2) -> Iterator[str]:
    """Yield a heading, what the model is, and a table of its fields, for the model and for those inside it."""
    for one in models_in(model):
        is_first = one is model
        yield f"{'#' * (level if is_first else 3)} {title if is_first else one.__name__}"
        yield _prose(one.__doc__ or "")
        meanings = fields(one) | {name: text for name, text in given.items() if name in one.model_fields and text}
        rows = [
            (f"`{name}`", _type_of(field), _default_of(field), cell(meanings[name]))
            for name, field in one.model_fields.items()
        ]
        yield table(("key", "type", "default", "meaning"), rows)


def fields(model: type[BaseModel]) -> dict[str, str]:
    """Return what each field means: the comment above it, or behind it; empty for one that has none."""
    found = dict.fromkeys(model.model_fields, "")
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        lines = textwrap.dedent(inspect.getsource(base)).splitlines()
        (definition,) = ast.parse("\n".join(lines)).body
        for node in definition.body if isinstance(definition, ast.ClassDef) else ():
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id in found:
                found[node.target.id] = _comment(lines, node)
    return found


def _comment(lines: Sequence[str], node: ast.AnnAssign) -> str:
    behind = re.search(r" {2}# (.*)$", lines[(node.end_lineno or node.lineno) - 1][node.end_col_offset :])
    if behind:
        return _as_yaml(behind[1])
    above: list[str] = []
    for line in reversed(lines[: node.lineno - 1]):
        if not line.strip().startswith("# "):
            break
        above.insert(0, line.strip()[2:])
    return _as_yaml(" ".join(above))


def _as_yaml(comment: str) -> str:
    return re.sub(r"\bNone\b", "null", comment)


def _type_of(field: FieldInfo) -> str:
    limits = [text for one in field.metadata for text in _limit(one)]
    return ", ".join([_type_text(field.annotation), *limits])


def _limit(one: Any) -> list[str]:
    if isinstance(one, annotated_types.Interval):
        return [text for part in one for text in _limit(part)]
    signs: dict[type, tuple[str, str]] = {
        annotated_types.Ge: ("ge", "at least {}"),
        annotated_types.Gt: ("gt", "above {}"),
        annotated_types.Le: ("le", "at most {}"),
        annotated_types.Lt: ("lt", "below {}"),
        annotated_types.MultipleOf: ("multiple_of", "a multiple of {}"),
        annotated_types.MinLen: ("min_length", "at least {} of them"),
    }
    if type(one) not in signs:
        return []
    name, words = signs[type(one)]
    value = getattr(one, name)
    return [words.format(f"{value:,}".replace(",", " ") if isinstance(value, int) else f"{value:g}")]


def _type_text(annotation: Any) -> str:
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in _WORDS:
        return _WORDS[annotation]
    if not inside and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    if origin is typing.Annotated:
        return _type_text(inside[0])
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in inside)
    if origin in (typing.Union, types.UnionType):
        # A whole number is a number.
        return " or ".join(dict.fromkeys(map(_type_text, inside)))
    if origin is list or (origin is tuple and inside[1:] == (...,)):
        return f"list of {_several(inside[0])}"
    if origin is tuple:
        return f"list of {len(inside)} {_several(inside[0])}"
    if origin is dict:
        return f"mapping of {_several(inside[0])} to {_several(inside[1])}"
    return "any value"


def _several(annotation: Any) -> str:
    return f"{_WORDS[annotation]}s" if annotation in (str, int, float) else _type_text(annotation)


def _default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default()
    if isinstance(value, BaseModel):
        return "its defaults"
    if isinstance(value, list) and value and isinstance(value[0], BaseModel):
        value = [one.model_dump(mode="json", exclude_defaults=True) for one in value]
    return f"`{json.dumps(value)}`"


# ---- registered pieces


def metrics() -> str:
    """Return the definitions of all metrics."""
    found = []
    for card in METRICS:
        words = [f"unit {card.unit}" if card.unit else "no unit"]
        words.append("higher is better" if card.higher_is_better else "lower is better")
        if math.isfinite(card.least) or math.isfinite(card.most):
            words.append(f"values {card.least:g} to {card.most:g}")
        words += ["also for gray images"] if card.takes_gray else []
        words.append(f"version {card.version}")
        of = sorted({data.name for data in DATASETS if card.id in data.protocol.metrics})
        words += [f"in the protocol of {', '.join(of)}"] if of else []
        about = _what(inspect.getdoc(card.function) or "")
        found += [f"### `{card.id}`", cell(f"{_opened(card.definition)}.")]
        found += [cell(about), f"*{cell('; '.join(words))}*"]
    return "\n\n".join(found)


def _what(docstring: str) -> str:
    return _opened(docstring.removeprefix("Return "))


def _opened(text: str) -> str:
    """Return text with a capital at its beginning, but for an id, as `msssim[gray]`."""
    return text if "[" in text.partition(" ")[0] else text[:1].upper() + text[1:]


def losses() -> str:
    """Return the losses with their options."""
    found = []
    for loss in LOSSES:
        about = _what(inspect.getdoc(loss.function) or "" if loss.function else loss.summary).split("\n\n")
        found += [f"## `{loss.name}`", *map(cell, about)]
        if loss.options:
            rows = [(f"`{one.name}`", cell(one.type_name), f"`{one.default}`") for one in loss.options.values()]
            found.append(table(("option", "type", "default"), rows))
    return "\n\n".join(found)


def models() -> str:
    """Return the cards of all networks that are built in."""
    names = [card.name for card in MODELS if card.is_builtin]
    rows = [(f"[`{name}`](#{name})", get_card(name).task, cell(get_card(name).summary)) for name in names]
    found = [table(("network", "task", "what it is"), rows)]
    for name in names:
        found += [f"## `{name}`", cell(get_card(name).summary)]
        found.append(table(("property", "value"), [(about, cell(text)) for about, text in card_lines(name)]))
    return "\n\n".join(found)


SECTIONS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "settings": settings,
    "records": records,
    "costs": costs,
    "metrics": metrics,
    "losses": losses,
    "models": models,
}
