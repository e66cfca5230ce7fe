"""The README tells the truth: its commands exist, its examples run, its excerpt is the committed table."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from benchmark.datasets import DATASETS
from zoo import get_card

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)


def block_with(text: str) -> str:
    (found,) = [body for _, body in BLOCKS if text in body]
    return found


def commands() -> list[str]:
    """Every zoo-bench command line of the README, in blocks and in the table of verbs."""
    lines = [line for _, body in BLOCKS for line in body.splitlines()] + re.findall(
        r"^\| `(zoo-bench [^`]*)`", README, re.M
    )
    return [line for line in lines if line.startswith("zoo-bench ")]


@pytest.mark.parametrize("line", commands())
def test_commands_and_flags_exist(line: str, zoo_bench) -> None:
    words = shlex.split(line)[1:]
    while words and words[0] == "--plugin":
        words = words[2:]
    verb = words[:2] if words[0] in ("data", "results", "weights") else words[:1]
    help_text = zoo_bench(*verb, "--help")
    assert help_text.code == 0
    for flag in (word for word in words if word.startswith("--")):
        assert re.search(rf"{flag}\b", help_text.out), f"{' '.join(verb)} has no {flag}"


def test_the_two_commands_set_themselves_up() -> None:
    run, test = (block_with("zoo-bench run --dataset zrr\n").strip(), block_with("pytest").strip())
    for line in (run, test):
        assert "\n" not in line
        assert line.startswith("python3 -m venv .venv && .venv/bin/pip install -q ")
    assert run.endswith("&& .venv/bin/zoo-bench run --dataset zrr")
    assert test.endswith("&& .venv/bin/python -m pytest -q")


def test_ci_calls_the_readmes_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "/^Run the tests:/" in script
    after = README[README.index("\nRun the tests:") :]
    assert re.search(r"^python3 -m venv.*$", after, re.M).group() == block_with("pytest").strip()


def test_the_cheap_commands_run(zoo_bench) -> None:
    for line in ("zoo-bench list models", "zoo-bench show unet", "zoo-bench profile pynet --size 1488x1984"):
        assert line in commands()
        outcome = zoo_bench(*shlex.split(line)[1:])
        assert outcome.code == 0
        assert outcome.out.strip()


def test_the_example_of_a_model_of_ones_own_runs(zoo_bench, tmp_path) -> None:
    example = block_with("def my_isp")
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    (tmp_path / "my_isp.py").write_text(example)
    line = block_with("--plugin my_isp.py").strip()
    words = [str(tmp_path / word) if word == "my_isp.py" else word for word in shlex.split(line)[1:]]
    outcome = zoo_bench(*words, "--limit", "1", "--out", tmp_path / "out", "--json")
    (record,) = json.loads(outcome.out)["results"]
    assert (record["status"], record["evidence"], record["n"]) == ("ok", "untrained", 1)
    assert record["measurements"]["params"]["value"] == 4 * 16 * 9 + 16 + 16 * 12 * 9 + 12
    assert "psnr[rgb]" not in record["measurements"]


EXCERPTS = re.findall(r"<!-- excerpt of (leaderboards/[^ ]+\.md) -->(.*?)<!-- end of excerpt -->", README, re.S)


@pytest.mark.parametrize(("file", "excerpt"), EXCERPTS, ids=[file for file, _ in EXCERPTS])
def test_an_excerpt_is_the_committed_table(file: str, excerpt: str) -> None:
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


def test_linked_files_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target


def test_tables_of_12_mp_are_of_the_sizes_that_are_called_so() -> None:
    sizes = set(re.search(r'^"12 MP" is (4x\d+x\d+) .* or (3x\d+x\d+) RGB', README, re.M).groups())
    cards = [DATASETS.get(name) for name in ("zrr", "sidd")]
    assert sizes == {f"{channels}x{c.full_size[0]}x{c.full_size[1]}" for channels, c in zip((4, 3), cards)}
    for table in re.findall(r"^\|.*\|\n\|[-|]+\|\n(?:\|.*\|\n)+", README, re.M):
        if "12 MP" in table.splitlines()[0]:
            assert set(re.findall(r"\b[34]x\d{4}x\d{4}\b", table)) <= sizes


def test_checkpoints_that_are_said_to_load_were_published() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    names = {"PyNET": "pynet", "PyNET-CA": "pynet_ca", "AWNet": "awnet_4ch", "VDN": "vdn", "DPED": "dped_rgb"}
    for text, pattern in (
        (README, r"Official checkpoints of (.*?) load"),
        (changelog, r"published checkpoints of (.*?) \("),
    ):
        said = re.split(", | and ", re.search(pattern, text).group(1))
        assert sorted(said) == sorted(names)
    for model in names.values():
        weights = get_card(model).official_weights
        assert weights
        assert not weights.startswith("none")
