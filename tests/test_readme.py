"""README and docs tell the truth: their examples run, their excerpts are the committed tables."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from benchmark.datasets import DATASETS
from tests.documents import PAGES, ROOT, block_with, name_of
from zoo import get_card

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_is_one_page() -> None:
    assert len(README.splitlines()) <= 150


def test_the_two_commands_set_themselves_up() -> None:
    run, test = (
        block_with("venv/bin/zoo-bench run --dataset zrr\n", "README.md").strip(),
        block_with("pytest", "README.md").strip(),
    )
    for line in (run, test):
        assert "\n" not in line
        assert line.startswith("python3 -m venv .venv && .venv/bin/pip install -q ")
    assert run.endswith("&& .venv/bin/zoo-bench run --dataset zrr")
    assert test.endswith("&& .venv/bin/python -m pytest -q")


def test_ci_calls_the_readmes_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "/^Run the tests:/" in script
    after = README[README.index("\nRun the tests:") :]
    assert re.search(r"^python3 -m venv.*$", after, re.M).group() == block_with("pytest", "README.md").strip()


@pytest.mark.thorough
def test_the_example_of_a_model_of_ones_own_runs(zoo_bench, tmp_path) -> None:
    example = block_with("def my_isp", "docs/howto/model.md")
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    (tmp_path / "my_isp.py").write_text(example)
    line = block_with("--plugin my_isp.py", "docs/howto/model.md").strip()
    words = [str(tmp_path / word) if word == "my_isp.py" else word for word in shlex.split(line)[1:]]
    outcome = zoo_bench(*words, "--limit", "1", "--out", tmp_path / "out", "--json")
    (record,) = json.loads(outcome.out)["results"]
    assert (record["status"], record["evidence"], record["n"]) == ("ok", "untrained", 1)
    assert record["measurements"]["params"]["value"] == 4 * 16 * 9 + 16 + 16 * 12 * 9 + 12
    assert "psnr[rgb]" not in record["measurements"]


_EXCERPT = re.compile(r"<!-- excerpt of (leaderboards/[^ ]+\.md) -->(.*?)<!-- end of excerpt -->", re.S)
EXCERPTS = [
    (name_of(page), file, excerpt)
    for page in PAGES
    for file, excerpt in _EXCERPT.findall(page.read_text(encoding="utf-8"))
]


def test_which_pages_show_excerpts() -> None:
    shown = {(page, file) for page, file, _ in EXCERPTS}
    assert ("README.md", "leaderboards/arena_raw2rgb.md") in shown
    assert ("docs/background/pieces.md", "leaderboards/full-scale.md") in shown


@pytest.mark.parametrize(("page", "file", "excerpt"), EXCERPTS, ids=[f"{page}-{file}" for page, file, _ in EXCERPTS])
def test_an_excerpt_is_the_committed_table(page: str, file: str, excerpt: str) -> None:
    rows = [line for line in excerpt.strip().splitlines() if line.startswith("| ")]
    table = (ROOT / file).read_text(encoding="utf-8")
    cells = {
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in table.splitlines()
        if line.startswith("| ")
    }
    assert len(rows) >= 4
    for row in rows:
        shown = [cell.strip() for cell in row.strip("|").split("|")]
        assert any(set(shown) <= set(line) for line in cells), f"not in the table: {row}"


def test_tables_of_12_mp_are_of_the_sizes_that_are_called_so() -> None:
    text = (ROOT / "docs" / "start" / "table.md").read_text(encoding="utf-8")
    sizes = set(re.search(r'^"12 MP" is (4x\d+x\d+) .* or (3x\d+x\d+) RGB', text, re.M).groups())
    cards = [DATASETS.get(name) for name in ("zrr", "sidd")]
    assert sizes == {f"{channels}x{c.full_size[0]}x{c.full_size[1]}" for channels, c in zip((4, 3), cards)}
    tables = [
        table
        for page in PAGES
        for table in re.findall(r"^\|.*\|\n\|[-|]+\|\n(?:\|.*\|\n)+", page.read_text(encoding="utf-8"), re.M)
    ]
    for table in tables:
        if "12 MP" in table.splitlines()[0]:
            assert set(re.findall(r"\b[34]x\d{4}x\d{4}\b", table)) <= sizes


def test_checkpoints_that_are_said_to_load_were_published() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    weights = (ROOT / "docs" / "howto" / "weights.md").read_text(encoding="utf-8")
    names = {"PyNET": "pynet", "PyNET-CA": "pynet_ca", "AWNet": "awnet_4ch", "VDN": "vdn", "DPED": "dped_rgb"}
    for text, pattern in (
        (weights, r"Official checkpoints of (.*?) load"),
        (changelog, r"published checkpoints of (.*?) \("),
    ):
        said = re.split(", | and ", re.search(pattern, text).group(1))
        assert sorted(said) == sorted(names)
    for model in names.values():
        weights = get_card(model).official_weights
        assert weights
        assert not weights.startswith("none")
