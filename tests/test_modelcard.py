"""The model card of a file of weights: what its metadata say, in the hub's form, whatever they hold."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from huggingface_hub import ModelCard

from zoo import create_model
from zoo.trained import shipped_weights
from zoo.weights import read_checkpoint, save_state


def test_a_card_is_what_the_metadata_say(zoo_bench, tmp_path) -> None:
    file = tmp_path / "unet.safetensors"
    shutil.copy(shipped_weights("unet_w8"), file)
    outcome = zoo_bench("weights", "card", file, "--licence", "apache-2.0")
    assert (outcome.code, outcome.out) == (0, f"wrote {tmp_path / 'README.md'}\n")
    card = ModelCard.load(tmp_path / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag, card.data.license) == (
        "zoo-bench",
        "image-to-image",
        "apache-2.0",
    )
    assert {"unet_w8", "raw-to-rgb"} <= {*card.data.tags}
    (result,) = card.data.eval_results
    assert (result.metric_name, result.dataset_name, result.dataset_split) == ("psnr[rgb]", "zrr-standin", "validation")
    stored = json.loads(read_checkpoint(file).metadata["scores"])["scores"]["psnr[rgb]"]
    assert result.metric_value == pytest.approx(stored)
    assert "| recipe | standin_raw2rgb |" in card.text
    assert "Such scores say nothing about real sensors" in card.text
    assert 'load_weights(create_model("unet_w8"), "unet.safetensors")' in card.text
    # A README.md of somebody is not replaced, unless it is named.
    outcome = zoo_bench("weights", "card", file)
    assert (outcome.code, "README.md already; name the file to write with -o" in outcome.err) == (2, True)
    assert zoo_bench("weights", "card", file, "-o", tmp_path / "README.md").code == 0
    outcome = zoo_bench("weights", "card", file, "-o", file)
    assert (outcome.code, "would replace the input" in outcome.err) == (2, True)


def test_metadata_cannot_leave_their_place(zoo_bench, tmp_path) -> None:
    evil = "a\n---\n# Title <script>x</script> | b ](http://x) `c` \x1b[2J"
    metadata = {"model": "unet_w8", "options": "{}", "recipe": evil, "evidence": "trained"}
    metadata["scores"] = json.dumps(
        {"dataset": evil, "split": evil, "scores": {evil: 1.5, "psnr[rgb]": "inf", "b": "x"}}
    )
    save_state(tmp_path / "w.safetensors", create_model("unet_w8").state_dict(), metadata)
    assert zoo_bench("weights", "card", tmp_path / "w.safetensors", "--licence", evil).code == 0
    card = ModelCard.load(tmp_path / "README.md")
    assert len(card.data.eval_results) == 2
    assert "\x1b" not in card.content
    assert "<script" not in re.sub("`[^`]*`", "", card.text)
    assert [line for line in card.text.splitlines() if line.startswith("# ")] == ["# unet_w8"]


@pytest.mark.parametrize("scores", ["", "[1]", "{", '{"scores": 3}', '{"scores": {}}'])
def test_scores_that_cannot_be_read_are_no_scores(zoo_bench, tmp_path, scores: str) -> None:
    metadata = {"model": "unet_w8", "options": "{}", "scores": scores}
    save_state(tmp_path / "w.safetensors", create_model("unet_w8").state_dict(), metadata)
    assert zoo_bench("weights", "card", tmp_path / "w.safetensors").code == 0
    card = ModelCard.load(tmp_path / "README.md")
    assert "The file holds no scores." in card.text
    assert card.data.eval_results is None


def test_a_file_that_names_no_model_or_does_not_fit_has_no_card(zoo_bench, tmp_path) -> None:
    torch.save(create_model("unet_w8").state_dict(), tmp_path / "w.pth")
    outcome = zoo_bench("weights", "card", tmp_path / "w.pth")
    assert (outcome.code, "does not name its model" in outcome.err) == (2, True)
    save_state(tmp_path / "w.safetensors", create_model("unet_w8").state_dict(), {"model": "vdn_w8"})
    assert zoo_bench("weights", "card", tmp_path / "w.safetensors").code == 2
    assert not (tmp_path / "README.md").exists()
