"""Files that a command reads are never replaced by what it writes, under whatever name or link."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.replacing import refuse_inputs
from tests.conftest import TINY
from zoo import UserError, create_model


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder to work in, with a picture, an array and weights."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((16, 16, 3), 99, np.uint8)).save("a.png")
    np.save("a.npy", np.zeros((1, 3, 16, 16), np.float32))
    torch.save(create_model("plainunet_8").state_dict(), "w.pth")
    return tmp_path


@pytest.mark.parametrize("link", [os.symlink, os.link, None])
def test_links_are_resolved(here, link) -> None:
    if link is not None:
        link(here / "a.png", here / "b.png")
    refuse_inputs("-o", ["missing.png", None], ["missing.png", "a.png", None])
    with pytest.raises(UserError, match=r"^-o would replace the input a\.png"):
        refuse_inputs("-o", ["b.png" if link else here / "a.png"], [None, "w.pth", "a.png"])


def refused(outcome, flag: str, file: str) -> bool:
    return outcome.code == 2 and f"{flag} would replace the input {file}" in outcome.err and outcome.out == ""


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


COMMANDS = [
    ("infer identity a.png -o .", "infer: -o .", "a.png"),
    ("infer identity linked/a.png -o .", "infer: -o .", "linked/a.png"),
    ("infer identity a.npy -o linked", "infer: -o linked", "a.npy"),
    # The output for one input is another input.
    ("infer identity a.png other/a.tif -o other", "same name", ""),
    ("infer identity b.tif a.png -o other", "infer: -o other", "a.png"),
    ("infer plainunet_8 c.npy --weights w.npy -o into", "infer: -o into", "w.npy"),
    ("weights import plainunet_8 w.pth -o linked/w.pth", "weights import: -o linked/w.pth", "w.pth"),
    ("export plainunet_8 --weights net.onnx -o net.onnx", "export: -o net.onnx", "net.onnx"),
    # Written only where the weights are large, and taken away before.
    ("export plainunet_8 --weights net.onnx.data -o net.onnx", "export: -o net.onnx", "net.onnx.data"),
    ("score linked targets --shift-plot a.png --all", "--shift-plot a.png", "linked/a.png"),
    ("submit vdn_w8 --data-root . --weights SubmitSrgb.csv -o .", "submit: -o .", "SubmitSrgb.csv"),
    (
        "data check pairs --data-root pairs --manifest pairs/input/a.png",
        "--manifest pairs/input/a.png",
        "pairs/input/a",
    ),
    ("train recipe.yaml -o into", "train: -o into", "into/weights.safetensors"),
    ("train into/log.jsonl -o into", "train: -o into", "into/log.jsonl"),
    ("sweep points.json -o .", "sweep: -o .", "points.json"),
]


@pytest.mark.parametrize(("command", "flag", "file"), COMMANDS, ids=[command for command, _, _ in COMMANDS])
def test_no_command_replaces_what_it_reads(here, zoo_bench, tiny, command: str, flag: str, file: str) -> None:
    if command.startswith("export"):
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    for folder in ("other", "into", "targets", "pairs/input", "pairs/target"):
        Path(folder).mkdir(parents=True)
    os.symlink(here, "linked")
    os.link("a.png", "other/b.png")
    for copy in ("targets/a.png", "pairs/input/a.png", "pairs/target/a.png", "other/a.tif", "b.tif"):
        shutil.copy("a.png", copy)
    for copy in ("net.onnx", "net.onnx.data", "SubmitSrgb.csv", "w.npy", "into/weights.safetensors"):
        shutil.copy("w.pth", copy)
    os.link("w.npy", "into/c.npy")
    shutil.copy("a.npy", "c.npy")
    recipe = "{model: tiny_net, dataset: tiny, max_steps: 1, batch_size: 2, crop: 16, lr: 1e-3%s}\n"
    Path("recipe.yaml").write_text(recipe % ", init: into/weights.safetensors")
    Path("into/log.jsonl").write_text(recipe % "")
    Path("points.json").write_text(
        "{recipe: %s, families: [{name: a, model: tiny_net, option: width, values: [1]}],"
        " plot: {error: mse}, evaluation: {metrics: ['psnr[rgb]']}}" % (recipe % "")
    )
    before = content_of(here)
    outcome = zoo_bench("--plugin", TINY, *command.split())
    if file:
        assert refused(outcome, flag, file), outcome.err
    else:
        assert (outcome.code, flag in outcome.err) == (2, True), outcome.err
    assert content_of(here) == before


def test_neither_gate_nor_page_replaces_records(here, zoo_bench) -> None:
    records = Path(__file__).parent.parent / "leaderboards" / "baselines" / "ci.jsonl"
    shutil.copy(records, "base.jsonl")
    shutil.copytree(records.parent.parent / "results", "results", ignore=lambda _, names: names[4:])
    results = sorted(path.as_posix() for path in Path("results").glob("*.jsonl"))
    before = content_of(here)
    for flag in ("--junit", "--markdown"):
        for file in ("base.jsonl", results[0]):
            outcome = zoo_bench("check", "--baseline", "base.jsonl", "--results", "results", flag, file)
            assert refused(outcome, f"{flag} {file}", file), outcome.err
    outcome = zoo_bench("check", "--baseline", "base.jsonl", "--results", "base.jsonl", "--update")
    assert refused(outcome, "--update: --baseline base.jsonl", "base.jsonl"), outcome.err
    outcome = zoo_bench("leaderboard", "--results", "results", "--html", results[0])
    assert refused(outcome, f"--html {results[0]}", results[0]), outcome.err
    assert content_of(here) == before
