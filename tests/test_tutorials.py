"""The tutorials are followed to the letter: their files, their commands, and what they show of the output."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tutorial_text import blocks, commands, difference, follow

FOLDER = Path(__file__).parent.parent / "docs" / "tutorials"
# Each of these trains for minutes, exports several times, or runs an image of 12 megapixels.
SLOW = {"double-descent", "full-size", "to-a-phone", "train-and-compare"}
NEEDS = {"to-a-phone": ("onnx", "onnxscript", "onnxruntime")}
TUTORIALS = sorted(FOLDER.glob("*.md"))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "file", [pytest.param(f, marks=[pytest.mark.slow] if f.stem in SLOW else [], id=f.stem) for f in TUTORIALS]
)
def test_it_can_be_followed(file: Path, zoo_bench, tmp_path, monkeypatch) -> None:
    for package in NEEDS.get(file.stem, ()):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    follow(file.read_text(encoding="utf-8"), tmp_path, zoo_bench)


@pytest.mark.parametrize("file", TUTORIALS, ids=lambda file: file.stem)
def test_it_says_what_comes_and_what_the_numbers_do_not_mean(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for needed in (r"^\*\*At the end\*\* ", r"^\*\*Time:\*\* ", r"^\*\*What the numbers do not mean:\*\* "):
        assert re.search(needed, text, re.M), needed
    assert any(commands(block) for block in blocks(text) if block.kind == "sh" and not block.left_out)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("net  12  20.27", "a\nnet 12   20.31\nb", True),
        ("net  12  20.27", "net 12 21.31", False),
        ("net  12  20.27", "net 13 20.27", False),
        ("last\nfirst", "first\nlast", False),
        ("wrote ... in 3 s", "wrote out.onnx in 3 s", True),
        ("first\n...\nlast", "first\nsecond\nlast", True),
        ("torch 2.14.1 here", "torch 2.14.1 here", True),
    ],
)
def test_what_is_shown_is_compared(shown: str, printed: str, same: bool) -> None:
    assert (difference(shown, printed) == "") is same
