"""The site: every page is in its navigation; built, its links lead somewhere and nothing comes from another server."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.documents import PAGES, ROOT, name_of

NAVIGATION = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
HAS_EXTRA = all(importlib.util.find_spec(name) for name in ("mkdocs", "material", "mkdocstrings"))
# What a browser loads by itself, other than links that a reader follows.
LOADED = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("object", "data")}


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"^ *- (?:.*: )?(\S.*\.md)$", NAVIGATION, re.M)
    pages = {name_of(page).removeprefix("docs/") for page in PAGES if page.name != "README.md"}
    tables = {name_of(page) for page in (ROOT / "leaderboards").glob("*.md")}
    assert sorted(listed) == sorted({*pages, *tables, "CHANGELOG.md"})


class Page(HTMLParser):
    """The ids of a page, its links, and what it loads."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember what the tag names."""
        for name, value in attrs:
            if name in ("id", "name"):
                self.ids.add(value or "")
            elif (tag, name) in LOADED:
                self.loaded.append(value or "")
            elif name == "href":
                self.links.append(value or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site without warnings; return its folder."""
    if not HAS_EXTRA:
        pytest.skip("needs pip install 'zoo-bench[docs]'")
    folder = tmp_path_factory.mktemp("built") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.mark.slow
def test_a_page_loads_nothing_from_another_server(site: Path) -> None:
    for file in site.rglob("*.html"):
        remote = [link for link in Page(file).loaded if urlsplit(link).netloc]
        assert not remote, file
    for file in site.rglob("*.css"):
        text = re.sub(r"url\(\"?data:[^)]*\)", "", file.read_text(encoding="utf-8"))
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", text), file


@pytest.mark.slow
def test_links_of_the_built_pages_lead_to_pages_and_headings(site: Path) -> None:
    pages = {file: Page(file) for file in site.rglob("*.html") if file.name != "404.html"}
    assert len(pages) > 30
    for file, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            assert target.is_file(), f"{file.relative_to(site)}: {link}"
            anchor = unquote(parts.fragment)
            assert not anchor or target.suffix != ".html" or anchor in pages[target].ids | {"__top"}, (
                f"{file.name}: {link}"
            )


@pytest.mark.slow
def test_what_is_generated_is_on_its_page(site: Path) -> None:
    for page, text in {
        "reference/cli": "zoo-bench weights import",
        "reference/settings": "divergence_factor",
        "reference/records": "higher_is_better",
        "reference/metrics": "psnr[rgb,aligned]",
        "reference/losses": "outlier_aware_tanh",
        "reference/models": "hyperunet_8_32_4000",
        "reference/python": "benchmark.load_results",
        "leaderboards/table1": "Max. Conv. Mem.",
    }.items():
        content = (site / f"{page}.html").read_text(encoding="utf-8")
        assert text in content
        assert "&lt;!-- generated" not in content
        assert "<!-- generated" not in content
