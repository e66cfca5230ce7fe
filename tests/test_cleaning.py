"""Hostile texts in each medium: no command, no markup, no escape sequence comes through, and nothing crashes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmark import cleaning, cli

HOSTILE = (
    "a\n::error::b\r\n ::stop-commands::t\x1b]0;owned\x07\x9b31m\u202egpj.\u200bexe\ud800\u2028##[error]c"
    " \\| d|e <img src=x> [f\\](javascript:g)"
)
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202e\u2028\ud800]")


@pytest.mark.parametrize(
    "clean",
    [
        cleaning.visible,
        cleaning.one_line,
        cleaning.terminal,
        cleaning.markdown,
        cleaning.markdown_code,
        cleaning.annotation,
        cleaning.annotation_property,
        cleaning.csv_cell,
        cleaning.in_texts,
    ],
)
def test_nothing_unseen_is_left(clean) -> None:
    text = clean(HOSTILE)
    assert not UNSEEN.search(text)
    assert "\\x1b" in text
    assert "ü ≠ 中" in clean("ü ≠ 中")
    text.encode()


def test_no_line_of_a_log_is_a_command() -> None:
    lines = cleaning.terminal(HOSTILE).split("\n")
    assert len(lines) == 3
    assert not [line for line in lines if line.strip().startswith("::") or "##[" in line]
    assert cleaning.terminal("a::b\n\tc ##d") == "a::b\n\tc ##d"


def test_markdown_ends_no_cell_and_makes_no_link() -> None:
    text = cleaning.markdown(HOSTILE)
    assert "\n" not in text
    assert "<" not in text
    assert not re.search(r"(?<!\\)(\\\\)*\]\(", text)
    assert not re.search(r"(?<!\\)(\\\\)*\|", text)
    assert cleaning.markdown("`psnr[rgb]` [dB] ↑ a[b=1]") == "`psnr[rgb]` [dB] ↑ a[b=1]"
    assert cleaning.markdown("[a][b] [c]: d") == "[a\\][b] [c\\]: d"
    assert cleaning.markdown_code("a`b|c\nd") == "`a'b\\|c d`"
    assert cleaning.markdown_link("zrr-standin", "zrr-standin.md") == "[zrr-standin](zrr-standin.md)"
    assert cleaning.markdown_link("pairs (a)", "pairs (a).md") == "[pairs (a)](pairs%20%28a%29.md)"


def test_an_annotation_is_one_line_and_its_title_one_property() -> None:
    assert cleaning.annotation("a\n::error::b 5%") == "a ::error::b 5%25"
    assert cleaning.annotation_property("a: b,c") == "a%3A b%2Cc"


def test_a_cell_is_no_formula() -> None:
    assert [cleaning.csv_cell(value) for value in ("=1+1", "a\nb", -1.5, None)] == ["'=1+1", "a b", -1.5, None]


@pytest.mark.parametrize("name", ["zrr-standin (bsds500)", "pairs (polyu)", "a[b=1,c]", "münchen", "_x", "full-scale"])
def test_names_of_files(name: str) -> None:
    assert cleaning.is_file_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "..", ".a", "-a", " a", "a ", "a/b", "../a", "/a", "a\\b", "a\nb", "a\x00", "a\u202eb", "a:b", "a" * 201],
)
def test_what_is_no_name_of_a_file(name: str) -> None:
    assert not cleaning.is_file_name(name)


def test_content_of_a_record_can_be_encoded() -> None:
    assert cleaning.encodable({"a\udcff": ["b\udcff", 1, None]}) == {"a\\udcff": ["b\\udcff", 1, None]}


def test_commands_print_through_one_door() -> None:
    folder = Path(cli.__file__).parent
    printing = {file.name for file in folder.glob("*.py") if "click.echo(" in file.read_text(encoding="utf-8")}
    assert printing == {"__init__.py", "completion.py", "errors.py", "printing.py"}
