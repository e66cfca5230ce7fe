"""Losses of a user's own: options from YAML, one line for what cannot train, their code in the recipe's digest."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import torch

from benchmark.losses import LOSSES, register_loss
from benchmark.training.recipe import Recipe, Term, load_recipe, recipe_digest
from tests.conftest import TINY
from tests.documents import block_with
from zoo import plugins
from zoo.errors import UserError

RECIPE = """
model: tiny_net
dataset: tiny
max_steps: 2
batch_size: 2
crop: 16
lr: 1e-3
"""
LOSS = """
import torch
from torch import Tensor

from benchmark import register_loss


@register_loss()
def {name}(output: Tensor, target: Tensor, how: str = "plain", power: float = 1.0) -> Tensor:
    errors = (output - target).abs()
    if how == "nan":
        return errors.mean() * float("nan")
    if how == "map":
        return errors
    if how == "none":
        return None
    if how == "number":
        return errors.mean().item()
    if how == "detached":
        return (output.detach() - target).mean()
    if how == "constant":
        return torch.ones((), requires_grad=True)
    if how == "complex":
        return torch.fft.fft2(errors).mean()
    if how == "steep":
        return (output - output).square().sqrt().mean()
    if how == "raises":
        return (output - target[:, :2]).abs().mean()
    if how == "late" and output.grad_fn is not None and not output.is_meta and len(output) > 1:
        return errors.mean() * float("inf")
    return errors.pow(power).mean()
"""


def own(name: str, text: str = LOSS) -> str:
    return text.replace("{name}", name)


@pytest.fixture
def recipe(tiny, tmp_path) -> Path:
    (tmp_path / "mine.yaml").write_text(RECIPE)
    return tmp_path / "mine.yaml"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("plugin") / "my_loss.py"
    file.write_text(own("own_loss"))
    plugins.load_file(file)
    return file


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("nan", "loss own_loss: its value is nan for finite images; expected a finite one."),
        ("map", "loss own_loss: it returned a tensor (1, 3, 32, 32); expected a scalar tensor"),
        ("none", "loss own_loss: it returned None; expected a scalar tensor"),
        ("number", "loss own_loss: it returned a float; expected a scalar tensor"),
        ("complex", "loss own_loss: it returned a tensor complex64 (); expected a scalar tensor"),
        ("detached", "loss own_loss: its value has no gradient"),
        ("constant", "loss own_loss: its value does not depend on `output`"),
        ("steep", "loss own_loss: its gradient is not finite"),
        ("raises", "non-singleton dimension 1 (my_loss.py, line 28)."),
    ],
)
def test_a_loss_that_cannot_train_is_one_line_before_the_first_step(
    recipe, plugin, tmp_path, zoo_bench, how: str, words: str
) -> None:
    setting = f"loss=[{{name: mse}}, {{name: own_loss, from_epoch: 7, options: {{how: {how}}}}}]"
    outcome = zoo_bench("--plugin", TINY, "train", recipe, "--set", setting, "-o", tmp_path / "run")
    assert outcome.code == 2
    assert words in outcome.err.splitlines()[-1]
    assert outcome.err.splitlines()[-1].startswith("zoo-bench: loss own_loss: ")
    assert not (tmp_path / "run").exists()


def test_a_term_that_is_not_finite_later_is_named(recipe, plugin, tmp_path, zoo_bench) -> None:
    setting = "loss=[{name: mse}, {name: own_loss, options: {how: late}}]"
    outcome = zoo_bench("train", recipe, "--set", setting, "-o", tmp_path / "run")
    assert outcome.code == 1
    assert "the loss is inf at step 0" in outcome.err
    assert "Not finite: own_loss." in outcome.err
    assert "No weight has changed yet" in outcome.err


@pytest.mark.thorough
def test_the_examples_of_the_page_run(tmp_path, zoo_bench) -> None:
    (tmp_path / "my_pieces.py").write_text(block_with("def huber", "docs/howto/loss.md"))
    train, run = block_with("--plugin my_pieces.py", "docs/howto/loss.md").strip().splitlines()
    words = [str(tmp_path / word) if word == "my_pieces.py" else word for word in shlex.split(train)[1:-1]]
    outcome = zoo_bench(*words, tmp_path / "run", "--set", "max_steps=1", "--set", "validation.limit=1", "--json")
    assert (outcome.code, json.loads(outcome.out)["steps"]) == (0, 1)
    words = [str(tmp_path / word) if word == "my_pieces.py" else word for word in shlex.split(run)[1:]]
    outcome = zoo_bench(*words, "--limit", "1", "--sizes", "none", "--out", tmp_path / "out", "--json")
    bilinear = json.loads(outcome.out)["results"][0]
    assert 0 < bilinear["measurements"]["p95[rgb]"]["value"] < 1
    assert bilinear["measurements"]["p95[rgb]"]["definition"].startswith("95th percentile")
    assert bilinear["measurements"]["p95[rgb]"]["higher_is_better"] is False


def test_options_reach_the_function_with_its_types(plugin) -> None:
    term = Term(name="own_loss", options={"power": "2"})
    assert term.options == {"power": 2.0}
    output, target = torch.full((1, 3, 4, 4), 0.5), torch.zeros(1, 3, 4, 4)
    assert LOSSES.get("own_loss")(output, target, term.options).item() == 0.25


def test_the_code_of_a_loss_decides_whether_recipes_are_the_same(recipe, tmp_path, zoo_bench) -> None:
    """A run does not continue under a loss that has changed; a comment changes nothing."""
    texts = (own("own_one"), own("own_two"), own("own_two").replace("abs()", "square()"))
    digests = []
    for number, text in enumerate(texts):
        file = tmp_path / str(number) / "my_loss.py"
        file.parent.mkdir()
        file.write_text(text if number < 2 else text.replace("def own_two", "def own_three"))
        plugins.load_file(file)
        digests.append(LOSSES.get(("own_one", "own_two", "own_three")[number]).code)
    assert len(set(digests)) == 3
    loaded = load_recipe(recipe, {"loss": [{"name": "own_one"}]})
    assert loaded.flat()["loss"][0]["code"] == digests[0]
    assert Recipe.model_validate(loaded.model_dump(mode="json")) == loaded
    other = loaded.model_copy(update={"loss": [loaded.loss[0].model_copy(update={"code": digests[1]})]})
    assert recipe_digest(other) != recipe_digest(loaded)


def test_digests_of_recipes_without_options_are_as_before() -> None:
    # Of the version before losses could be registered.
    assert recipe_digest(load_recipe("vdn")) == "7f8e3df273fdcf78"
    assert recipe_digest(load_recipe("paper_large")) == "4f95a3314cee1457"
    assert "options" not in load_recipe("paper_large").flat()["loss"][0]


def test_names_that_are_taken_and_arguments_without_default_are_refused() -> None:
    def loss(output, target, delta):
        return output

    with pytest.raises(UserError, match="option 'delta' needs a default"):
        register_loss()(loss)
    for name in ("mse", "vgg"):
        with pytest.raises(UserError, match=f"a loss called '{name}' is registered already"):
            register_loss(name)(lambda output, target: output)
