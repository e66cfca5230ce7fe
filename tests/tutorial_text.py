"""Run a tutorial from its own text: write its files, give its commands in order, compare what it shows with what comes.

What a fenced block is, its first line says, or an HTML comment above it, which readers do not see:

- ```` ```python title="my_net.py" ```` (any language): a file of this name
- ```` ```sh ````: commands, one a line or continued with a backslash; not run under ``<!-- not run: WHY -->``
- ```` ```text ````: what the commands above print, or a part of it; not compared under ``<!-- not compared: WHY -->``

In what is shown, ``...`` stands for any text, blanks for any blanks, and a number with decimals for one that differs by
at most 3 % (another processor adds in another order); all else must be there to the letter.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo import plugins
from zoo.card import MODELS

_BLOCK = re.compile(r'^(?:<!-- (not \w+): [^\n]*-->\n)?```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.S | re.M)
_NUMBER = r"(?<![\w.])\d+\.\d+(?![\w.]*[.\d]\w)"
_PART = re.compile(rf"(?P<number>{_NUMBER})|(?P<any>\.\.\.)|(?P<rule>─+)")
_MEANS = {"number": r"(\d+\.\d+)", "any": ".*?", "rule": "─+"}
_CLOSE = 0.03
# How a tutorial shows that a command fails.
_TELL_STATUS = ' || echo "exit status $?"'


@dataclass(frozen=True)
class Block:
    """A fenced block: ``kind`` is the language, ``file`` its title, ``left_out`` whether a comment exempts it."""

    kind: str
    file: str
    body: str
    left_out: bool


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    return [Block(kind, file, body, bool(note)) for note, kind, file, body in _BLOCK.findall(text)]


def commands(block: Block) -> list[str]:
    """Return the commands of an ``sh`` block, with continued lines joined."""
    return [line for line in block.body.replace("\\\n", " ").splitlines() if line.strip()]


def follow(text: str, folder: Path, zoo_bench: Callable[..., Any]) -> None:
    """Do what a tutorial says in ``folder``, the working directory; raises AssertionError where it is wrong."""
    printed = ""
    for block in blocks(text):
        if block.file:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.body)
        elif block.left_out:
            continue
        elif block.kind == "sh":
            printed = "".join(_call(line, folder, zoo_bench) for line in commands(block))
        elif block.kind == "text":
            wrong = difference(block.body, printed)
            assert not wrong, f"{wrong}\n--- the tutorial shows\n{block.body}\n--- printed\n{printed}"


def difference(shown: str, printed: str) -> str:
    """Return what of ``shown`` is not in ``printed``, or nothing if all is."""
    rest = printed
    for line in shown.splitlines():
        if not (words := line.split()) or words == ["..."]:
            continue
        pattern = re.compile(r"\s+".join(_pattern(word) for word in words))
        for found in pattern.finditer(rest):
            if all(_close(*pair) for pair in zip(re.findall(_NUMBER, line), found.groups())):
                rest = rest[found.end() :]
                break
        else:
            return f"not printed, or not in this order: {line}"
    return ""


def _pattern(word: str) -> str:
    """Return the expression for a word that is shown; each number with decimals becomes a group."""
    pattern, at = "", 0
    for found in _PART.finditer(word):
        pattern += re.escape(word[at : found.start()]) + _MEANS[str(found.lastgroup)]
        at = found.end()
    return pattern + re.escape(word[at:])


def _close(shown: str, printed: str) -> bool:
    return abs(float(shown) - float(printed)) <= _CLOSE * abs(float(shown))


def _call(line: str, folder: Path, zoo_bench: Callable[..., Any]) -> str:
    """Run one command, zoo-bench in this process if a shell is not needed; return what a terminal would show."""
    # Without a shell, because a process of its own imports torch for seconds.
    command = line.removesuffix(_TELL_STATUS)
    if command.startswith("zoo-bench ") and not re.search(r"[|&;<>$]", command.replace("->", "")):
        with _own_plugins(folder):
            outcome = zoo_bench(*shlex.split(command)[1:])
        printed = outcome.err + outcome.out
        assert (outcome.code != 0) is (command != line), f"{line}\n{printed}"
        return f"{printed}exit status {outcome.code}\n" if outcome.code else printed
    here = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-c", line],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}"},
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}"
    return done.stdout


@contextlib.contextmanager
def _own_plugins(folder: Path) -> Iterator[None]:
    """Forget the plug-ins of ``folder`` afterwards, as if each command had a process: tutorials change such files."""
    models, files = MODELS.names(), list(plugins._files)
    try:
        yield
    finally:
        plugins._files[:] = files
        for model in set(MODELS.names()) - set(models):
            del MODELS._items[model]
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(f"{folder}{os.sep}"):
                del sys.modules[name]
