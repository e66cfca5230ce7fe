"""What MkDocs does to the pages of ``docs/``: fills in the reference, adds the leaderboards, and mends links to them.

Links in pages are those of the repository, so that they work on GitHub too. A file outside of ``docs/`` that belongs to
the site (``OUTSIDE``) has the same path there as in the repository.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from mkdocs.structure.files import File, Files
from reference import SECTIONS

ROOT = Path(__file__).resolve().parents[2]
# Files of the repository that are pages of the site, or that pages link to.
OUTSIDE = (
    *("CONTRIBUTING.md", "CHANGELOG.md", "examples/*"),
    *("leaderboards/*.md", "leaderboards/plots/*.png", "leaderboards/official.yaml"),
)
_LINK = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(<?([^)\s>]+)>?\)")
# GitHub draws it; a site without scripts of others shows its boxes.
_MERMAID = re.compile(r"```mermaid\n(.*?)```", re.S)


def on_files(files: Files, config: Any) -> Files:
    """Add the files outside of ``docs/``."""
    for path in (path for pattern in OUTSIDE for path in sorted(ROOT.glob(pattern)) if path.is_file()):
        uri = path.relative_to(ROOT).as_posix()
        files.append(File(uri, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Fill in what is generated, and mend the links."""
    markdown = re.sub(r"^<!-- generated: (\w+) -->$", lambda match: SECTIONS[match[1]](), markdown, flags=re.M)
    markdown = _MERMAID.sub(lambda match: _boxes(match[1]), markdown)
    here = page.file.src_uri
    if here.startswith("leaderboards/"):
        page.meta.setdefault("hide", ["toc"])  # The place beside the page is for the tables, which have many columns.
    is_outside = not Path(page.file.abs_src_path).is_relative_to(config.docs_dir)
    return _LINK.sub(lambda match: mended(match[1], match[2], here, files, is_outside=is_outside), markdown)


def mended(text: str, link: str, here: str, files: Files, *, is_outside: bool) -> str:
    """Return a link of the page at ``here`` to a path of the repository as one to a path of the site."""
    path, sign, anchor = link.partition("#")
    if not path or re.match(r"[a-z]+:", path):
        return f"[{text}]({link})"
    home = posixpath.dirname(here if is_outside else f"docs/{here}")
    target = posixpath.normpath(posixpath.join(home, unquote(path)))
    uri = "index.md" if target == "README.md" else target.removeprefix("docs/")
    if files.get_file_from_path(uri) is None and (ROOT / target).exists():
        return text  # The site has neither folders nor the code.
    return f"[{text}]({quote(posixpath.relpath(uri, posixpath.dirname(here) or '.'))}{sign}{anchor})"


def _boxes(chart: str) -> str:
    """Return a chart of labelled boxes below each other as a list of HTML."""
    labels = re.findall(r'\w+\["([^"]*)"\]', chart)
    return "\n".join(['<ol class="boxes">', *(f"<li>{label}</li>" for label in labels), "</ol>"])
