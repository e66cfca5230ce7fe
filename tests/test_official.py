"""Published files are known by their digests, which decide options and evidence; nothing that can be written does."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.selection import entry_of
from tests.test_ffdnet import write_matconvnet
from zoo import UserError, create_model, get_card, load_weights, official, register_model
from zoo.card import MODELS
from zoo.matconvnet import read_matconvnet
from zoo.models.mobileie import MobileIE
from zoo.official import OfficialFile, digest_of_tensors, official_files
from zoo.weights import file_digest, official_state, read_checkpoint, save_state

SHARED = Path(os.environ.get("ZOO_BENCH_SHARED", ""))
FILE = OfficialFile(
    "mobileie", {"counts": "zrr"}, "ZRR", "a/b", "w.pth", "0123456", "MIT", "", ()
)  # its digests are those of a file that a test makes


def publish(monkeypatch, file: Path, **changes: object) -> OfficialFile:
    """Put a file of a test into the table of published ones, with the digest of its tensors under our keys."""
    known = replace(FILE, sha256=file_digest(file), **changes)
    state = official_state(get_card(known.model), read_checkpoint(file)) if known.model else {}
    known = replace(known, tensors=(digest_of_tensors(state),))
    monkeypatch.setattr(official, "official_files", lambda: (known,))
    return known


@pytest.fixture
def published(tmp_path, monkeypatch) -> Path:
    torch.manual_seed(5)
    torch.save(create_model("mobileie").state_dict(), tmp_path / "w.pth")
    publish(monkeypatch, tmp_path / "w.pth")
    return tmp_path / "w.pth"


def test_every_fact_of_the_table_can_be_used() -> None:
    files = official_files()
    assert len({file.sha256 for file in files}) == len(files)
    for file in files:
        assert len(file.sha256) == 64
        assert all(len(digest) == 32 for digest in file.tensors)
        assert file.repository
        assert file.licence
        if file.model:
            card = get_card(file.model)
            assert file.tensors
            assert card.official_weights
            # Every option that belongs to the weights is named, but for a file that is no result.
            assert set(file.options) == (set() if "start" in file.what else set(card.conventions))
            assert all(value in card.conventions[name] for name, value in file.options.items())


def test_the_axes_of_matconvnet_are_proved_by_a_twin_in_pytorch() -> None:
    by_path = {file.path: file for file in official_files()}
    assert by_path["model_zoo/dncnn_25.pth"].tensors == by_path["model/specifics/sigma=25.mat"].tensors


def test_a_published_file_brings_its_options_and_its_evidence(zoo_bench, published, tmp_path) -> None:
    out = tmp_path / "w.safetensors"
    outcome = zoo_bench("weights", "import", "mobileie", published, "-o", out)
    assert outcome.code == 0
    assert "official weights: w.pth of a/b (MIT; ZRR); counts=zrr" in outcome.err
    assert "official-weights" in outcome.out
    for file in (published, out):
        entry = entry_of("mobileie", file, {})
        assert (entry.evidence, entry.options) == ("official-weights", {"counts": "zrr"})
        assert entry_of("mobileie", file, {"counts": "zrr"}).options == {"counts": "zrr"}
        with pytest.raises(UserError, match=r"--set counts='ultraisp': .* published file of weights for counts='zrr'"):
            entry_of("mobileie", file, {"counts": "ultraisp"})


def test_options_that_are_defaults_are_not_named_but_cannot_be_contradicted(tmp_path, monkeypatch, published) -> None:
    publish(monkeypatch, published, options={"counts": "ultraisp"})
    assert entry_of("mobileie", published, {}).label == "mobileie"
    with pytest.raises(UserError, match="for counts='ultraisp'; leave the option out"):
        entry_of("mobileie", published, {"counts": "zrr"})


def test_metadata_alone_gives_no_star(tmp_path, published) -> None:
    state = read_checkpoint(published).state
    claim = {"model": "mobileie", "evidence": "official-weights", "source_sha256": file_digest(published)}
    save_state(tmp_path / "same.safetensors", state, claim)
    assert entry_of("mobileie", tmp_path / "same.safetensors", {}).evidence == "official-weights"
    key = "tail.1.bias"
    save_state(tmp_path / "other.safetensors", {**state, key: torch.nextafter(state[key], state[key] + 1)}, claim)
    other = entry_of("mobileie", tmp_path / "other.safetensors", {})
    assert other.evidence == "weights-file"
    assert other.checkpoint is not None
    assert "not official weights: its metadata names w.pth of a/b" in other.checkpoint.notes[0]


def test_the_same_tensors_in_another_file_are_recognised(tmp_path, published) -> None:
    state = read_checkpoint(published).state
    np.savez(tmp_path / "again.npz", **{key: value.numpy() for key, value in state.items()})
    entry = entry_of("mobileie", tmp_path / "again.npz", {})
    assert (entry.evidence, entry.options) == ("official-weights", {"counts": "zrr"})
    torch.save({key: value.half() for key, value in state.items()}, tmp_path / "half.pth")
    assert entry_of("mobileie", tmp_path / "half.pth", {}).evidence == "weights-file"


def test_another_model_is_refused_with_the_right_name(published, monkeypatch) -> None:
    with pytest.raises(UserError, match=r"lan_robust: .*w\.pth is w\.pth of a/b \(MIT; ZRR\); name mobileie instead"):
        entry_of("lan_robust", published, {})
    publish(monkeypatch, published, model=None)
    with pytest.raises(UserError, match="this zoo has no network for it"):
        entry_of("lan_robust", published, {})


def test_a_network_of_ones_own_takes_a_published_file_without_its_evidence(published, monkeypatch) -> None:
    monkeypatch.setattr(MODELS, "_items", dict(MODELS._items))

    @register_model(task="raw2rgb")
    def own_mobileie() -> nn.Module:
        return MobileIE()

    assert entry_of("own_mobileie", published, {}).evidence == "weights-file"


def test_a_module_built_for_other_counts_refuses_a_published_file(published) -> None:
    load_weights(create_model("mobileie", counts="zrr"), published)
    with pytest.raises(UserError, match=r"written with counts='zrr', the network was built with counts='ultraisp'"):
        load_weights(create_model("mobileie"), published)


def test_weights_of_this_tool_keep_the_convention_that_they_do_not_name(tmp_path) -> None:
    state = create_model("mobileie").state_dict()
    save_state(tmp_path / "w.safetensors", state, {"model": "mobileie", "options": "{}"})
    with pytest.raises(UserError, match=r"was written with counts='ultraisp'.* import the original file with it"):
        entry_of("mobileie", tmp_path / "w.safetensors", {"counts": "zrr"})
    torch.save(state, tmp_path / "w.pth")
    assert entry_of("mobileie", tmp_path / "w.pth", {"counts": "zrr"}).options == {"counts": "zrr"}


@pytest.mark.parametrize("fault", ["axes", "sub-pixels"])
def test_a_published_matconvnet_file_read_in_another_order_is_an_error(tmp_path, monkeypatch, fault: str) -> None:
    draw, sizes = np.random.RandomState(1), [5, *[64] * 14, 4]
    kernels = [draw.rand(3, 3, a, b).astype(np.float32) for a, b in pairwise(sizes)]
    write_matconvnet(tmp_path / "net.mat", kernels, [draw.rand(b).astype(np.float32) for b in sizes[1:]])
    publish(monkeypatch, tmp_path / "net.mat", model="ffdnet_gray", options={"clip": True})
    assert entry_of("ffdnet_gray", tmp_path / "net.mat", {}).evidence == "official-weights"
    if fault == "axes":

        def turned(file: Path) -> dict[str, torch.Tensor]:
            state = read_matconvnet(file)
            return {key: value.transpose(2, 3) if value.ndim == 4 else value for key, value in state.items()}

        monkeypatch.setattr("zoo.weights.read_matconvnet", turned)
    else:
        monkeypatch.setattr("zoo.models.ffdnet._order", lambda channels: list(range(channels)))
    with pytest.raises(UserError, match=r"its tensors are not in the published order or values here .* fault of the"):
        entry_of("ffdnet_gray", tmp_path / "net.mat", {})


@pytest.mark.skipif(not (SHARED / "weights" / "denoisers").is_dir(), reason="needs the official weights")
def test_all_official_files_are_known_and_read_as_published() -> None:
    found = {}
    for file in sorted((SHARED / "weights").rglob("*")):
        if file.suffix in (".pth", ".pkl", ".mat", ".index"):
            checkpoint = read_checkpoint(file)
            known = next(one for one in official_files() if one.sha256 == checkpoint.digest)
            found[known.sha256] = file
            if known.model:
                assert entry_of(known.model, file, {}).evidence == "official-weights"
    assert len(found) == len(official_files())


def test_published_files_of_a_folder_are_found_behind_links_and_a_folder_without_one_is_an_error(
    tmp_path, monkeypatch
) -> None:
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "folder").mkdir()
    save_state(tmp_path / "elsewhere" / "deep" / "any_name.safetensors", MobileIE().state_dict(), {})
    (tmp_path / "folder" / "notes.txt").write_text("no weights", encoding="utf-8")
    known = publish(monkeypatch, tmp_path / "elsewhere" / "deep" / "any_name.safetensors")
    with pytest.raises(UserError, match="none of its 1 files is a published file"):
        official.official_files_in(tmp_path / "folder")
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "deep" / "up").symlink_to(tmp_path / "elsewhere")
    found = official.official_files_in(tmp_path / "folder")
    assert found == [(known, tmp_path / "folder" / "link" / "deep" / "any_name.safetensors")]
