"""Clean text from records, files and models for each medium that it is written to.

A record, the name of a file or the message of an exception may hold line breaks, escape sequences, markup or invisible
characters. Records keep the text as it is; every writer passes it through the function of its medium.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import quote

# Characters that are not shown as such: controls, direction marks, zero-width, line separators, surrogates.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\uffff\U000e0000-\U000e0fff]"
)
_BUT_LINE_ENDS = re.compile(f"(?![\n\t]){_UNSEEN.pattern}")
# CI systems read these as a command: "::" at the beginning of a line, "##[" and "##vso[" anywhere in it.
_COMMAND = re.compile(r"^([^\S\n]*:)(?=:)|(##(?:vso)?)(?=\[)", re.MULTILINE)
# A link, an image, or the definition of a footnote or a link: a closing bracket and the character that follows.
# Backslashes before the bracket would cancel the escape, so they are removed.
_LINK = re.compile(r"\\*\](?=[(\[:])")
_PIPE = re.compile(r"\\*\|")
_SIGNS_OF_NAMES = frozenset(" ._-+()[],=@")
_FORMULA = ("=", "+", "-", "@")
_LONGEST_NAME = 200


def is_file_name(text: str) -> bool:
    """Return whether a name may be a file's: letters, digits and `` ._-+()[],=@``, no folder, not hidden."""
    signs = all(sign.isalnum() or sign in _SIGNS_OF_NAMES for sign in text)
    return signs and text[:1] not in ("", ".", "-", " ") and text[-1] != " " and len(text.encode()) <= _LONGEST_NAME


def visible(text: str) -> str:
    """Return the text with an escape in place of every character that is not shown as such."""
    return _UNSEEN.sub(_escape, text)


def one_line(text: str) -> str:
    """Return a text without line breaks and invisible characters, for use as a part of a line."""
    return visible(" ".join(text.split()))


def terminal(text: str) -> str:
    """Return lines for a terminal or a log, without escape sequences and without commands to a CI system."""
    return _COMMAND.sub(r"\1\2\\", _BUT_LINE_ENDS.sub(_escape, text))


def markdown(text: str) -> str:
    """Return a text for a cell or a paragraph of Markdown that cannot end the cell, open a tag or make a link."""
    return _LINK.sub(r"\\]", _PIPE.sub(r"\\|", one_line(text)).replace("<", "&lt;"))


def markdown_code(text: str) -> str:
    """Return a text as code in Markdown, also within a table."""
    code = _PIPE.sub(r"\\|", one_line(text).replace("`", "'"))
    return f"`{code}`"


def markdown_link(text: str, file: str) -> str:
    """Return a link in Markdown to a file in the folder of the page."""
    label = markdown(text).replace("[", "\\[").replace("]", "\\]")
    return f"[{label}]({quote(file)})"


def markup(text: str) -> str:
    """Return a text for HTML, as content or in quotes; code in Markdown's backticks becomes code here."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(one_line(text)))


def html_table(title: str, headers: Sequence[str], rows: Iterable[Sequence[str]], notes: Iterable[str] = ()) -> str:
    """Return a table for a notebook, with its title above and its notes below; all texts are cleaned here."""

    def line(cells: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{markup(cell)}</{tag}>' for cell in cells)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    below = "".join(f"<p>{markup(note)}</p>" for note in notes)
    head = f"<thead>{line(headers, 'th')}</thead>"
    return f"<div><p><b>{markup(title)}</b></p><table>{head}<tbody>{body}</tbody></table>{below}</div>"


def annotation(text: str) -> str:
    """Return the message of a GitHub workflow command."""
    return one_line(text).replace("%", "%25")


def annotation_property(text: str) -> str:
    """Return a property's value in a GitHub workflow command."""
    return annotation(text).replace(":", "%3A").replace(",", "%2C")


def csv_cell(value: Any) -> Any:
    """Return a value for a CSV file; an apostrophe is put before a text that a spreadsheet would read as a formula."""
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def in_texts(value: Any) -> Any:
    """Return JSON-ready content for a page: ``visible`` is applied to all texts and keys, but line ends are kept."""
    return _changed(value, lambda text: _BUT_LINE_ENDS.sub(_escape, text))


def encodable(value: Any) -> Any:
    """Return JSON-ready content for a record, without lone surrogates, which no encoding accepts."""
    return _changed(value, lambda text: text.encode(errors="backslashreplace").decode())


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {_changed(key, change): _changed(item, change) for key, item in value.items()}
    return [_changed(item, change) for item in value] if isinstance(value, (list, tuple)) else value


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
