"""The documents that a user reads: README, CONTRIBUTING, and the pages of ``docs/`` with their blocks and commands."""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Languages of blocks that show what a command prints, or a part of another file.
_NOT_A_SHELL = {"text", "python", "yaml", "json", "mermaid", "toml", "dockerfile"}


def name_of(page: Path) -> str:
    """Return the path of a page from the root of the repository, with slashes."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return language and content of each fenced block of a page."""
    found = re.findall(r"^ *```+ *(\w*)[^\n]*\n(.*?)^ *```+ *$", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return [(language.lower(), body) for language, body in found]


def block_with(text: str, page: str | None = None) -> str:
    """Return the only block that contains ``text``: of the page at this path, or of all pages that are no tutorial."""
    pages = [ROOT / page] if page else [page for page in PAGES if page.parent.name != "tutorials"]
    (found,) = [body for page in pages for _, body in blocks(page) if text in body]
    return found


def commands(page: Path) -> list[str]:
    """Return every ``zoo-bench`` command line of a page, in blocks and in running text, as a shell would see it."""
    text = page.read_text(encoding="utf-8")
    lines: list[str] = []
    for language, body in blocks(page):
        if language not in _NOT_A_SHELL:
            lines += body.replace("\\\n", " ").splitlines()
    # Without the blocks, whose marks would pair up wrongly with those of the text.
    prose = re.sub(r"^ *```.*?^ *```+ *$", "", text, flags=re.M | re.S)
    lines += [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose)]
    parts = [part for line in lines for part in re.split(r"&&|;|\|\||(?<= )\|(?= )", line)]
    # A prompt, variables and the path of a virtual environment may stand before the command.
    found = [re.match(r"^\s*(?:\$ )?(?:\w+=\S+ )*(?:\S*/)?(zoo-bench(?: .*)?)$", part) for part in parts]
    return [match[1].strip() for match in found if match and match[1] != "zoo-bench"]


@functools.cache
def reference() -> ModuleType:
    """Return the module that makes the parts of the reference from the code; it is in no package."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "building" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
