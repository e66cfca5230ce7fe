"""All links of README, CONTRIBUTING and docs lead somewhere, and their commands exist; the cheap ones run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

from benchmark.cli import cli
from tests.documents import PAGES, ROOT, commands, name_of, reference
from zoo.errors import UserError

LINES = sorted({(name_of(page), line) for page in PAGES for line in commands(page)})
# Commands that need no files, no network and less than a second or two.
CHEAP = re.compile(r"zoo-bench (--version|(list|show) .*|profile pynet --size 1488x1984)")
# A word that stands for something else, as MODEL or FILE.py:CLASS, or for more words.
PLACEHOLDER = re.compile(r"\b[A-Z]{2,}\b|\.\.\.|…|\[")


# ---- links


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and pictures, without its code."""
    text = re.sub(r"^ *```.*?^ *```+ *$|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.findall(r"\]\(<?([^)\s>]+)>?\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)", text, re.M)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    prose = re.sub(r"^ *```.*?^ *```+ *$", "", text, flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", prose, re.M)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in plain}


def broken(page: Path, link: str) -> str | None:
    """Return what is wrong with a link of a page to a file of the repository."""
    if re.match(r"[a-z]+:", link):
        return None
    path, _, anchor = unquote(link).partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.exists() or ROOT not in file.parents:
        return f"no file {path}"
    if not anchor or file.suffix != ".md":
        return None
    text = re.sub(
        r"^<!-- generated: (\w+) -->$",
        lambda match: reference().SECTIONS[match[1]](),
        file.read_text(encoding="utf-8"),
        flags=re.M,
    )
    known = anchors(text) | {name for name in re.findall(r"^::: ([\w.]+)", text, re.M)}
    return None if anchor in known else f"{path or page.name} has no heading #{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    found = [f"{link}: {problem}" for link in links(page) if (problem := broken(page, link))]
    assert not found


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("nowhere.md", "no file nowhere.md"),
        ("docs/timing.md#nothing", "docs/timing.md has no heading #nothing"),
        ("#nothing", "README.md has no heading #nothing"),
        ("../elsewhere.md", "no file ../elsewhere.md"),
        ("docs/timing.md#the-interval", None),
        ("https://example.org/", None),
    ],
)
def test_a_broken_link_is_found(link: str, problem: str | None) -> None:
    assert broken(ROOT / "README.md", link) == problem


# ---- commands


def mistake(line: str) -> str | None:
    """Return what is wrong with a command line, which is parsed by its own parser and not run."""
    words = shlex.split(line, comments=True)[1:]
    try:
        _parse(cli, words, None, is_complete=not PLACEHOLDER.search(line))
    except (click.UsageError, UserError) as error:
        return error.format_message() if isinstance(error, click.UsageError) else str(error)
    return None


def _parse(command: click.Command, words: list[str], parent: click.Context | None, *, is_complete: bool) -> None:
    context = click.Context(command, info_name=command.name, parent=parent)
    _, rest, _ = command.make_parser(context).parse_args([word for word in words if word not in ("...", "…")])
    if isinstance(command, click.Group) and rest:
        inner = command.get_command(context, rest[0])
        if inner is None:
            raise click.UsageError(f"no command called '{rest[0]}'")
        _parse(inner, rest[1:], context, is_complete=is_complete)
    # The mere name of a command, in running text, needs no arguments; a placeholder is no value.
    elif not isinstance(command, click.Group) and words and is_complete:
        command.make_context(command.name, list(words), parent=context)


@pytest.mark.parametrize(("page", "line"), LINES, ids=[f"{page}: {line}" for page, line in LINES])
def test_commands_and_flags_exist(page: str, line: str) -> None:
    assert mistake(line) is None


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("zoo-bench runn --dataset zrr", "no command called 'runn'"),
        ("zoo-bench run --dataset zrr --model unet", "--model"),
        ("zoo-bench weights imports unet FILE", "no command called 'imports'"),
        ("zoo-bench run --dataset", "requires an argument"),
        ("zoo-bench run --dataset zrr --device gpu", "gpu"),
        ("zoo-bench profile unet --size 12", "expected HxW"),
        ("zoo-bench doctor now", "unexpected extra argument (now)"),
        ("zoo-bench train -o runs/mine", "Missing argument"),
    ],
)
def test_a_wrong_command_is_found(line: str, part: str) -> None:
    assert part in (mistake(line) or "")


def test_the_pages_name_enough_commands_to_look_at() -> None:
    assert len(LINES) > 60
    assert {"zoo-bench list models", "zoo-bench show unet", "zoo-bench profile pynet --size 1488x1984"} <= {
        line for _, line in LINES
    }


@pytest.mark.parametrize(
    "line", sorted({line for _, line in LINES if CHEAP.fullmatch(line) and not PLACEHOLDER.search(line)})
)
def test_the_cheap_commands_run(line: str, zoo_bench) -> None:
    outcome = zoo_bench(*shlex.split(line, comments=True)[1:])
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.strip()
