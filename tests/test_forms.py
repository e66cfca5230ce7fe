"""Networks with a training form and a deploy form: both agree, and every command uses the one that is meant."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.catalogue import card_text, catalogue
from benchmark.costs.profiling import profile
from benchmark.leaderboard.pages import pages
from benchmark.running.run import run
from benchmark.selection import entry_of
from benchmark.training.loop import train
from zoo import create_model, get_card, list_models, register_model
from zoo.card import MODELS
from zoo.errors import UserError
from zoo.forms import TOLERANCE, in_form
from zoo.options import Option
from zoo.weights import read_checkpoint, save_state

# Every training form of every network that has two forms.
FORMS = [(name, form) for name in list_models() for form in get_card(name).forms[1:]]
RECIPE = {
    "model": "mobileie",
    "dataset": "tiny",
    "max_steps": 3,
    "batch_size": 2,
    "crop": 16,
    "lr": 1e-3,
    "validation": {"limit": 2},
}

each_form = pytest.mark.parametrize(("name", "form"), FORMS)


def options_of(name: str, form: str) -> dict[str, Any]:
    """Narrow networks: the conversion does not depend on the width."""
    return {"form": form, **({"width": 8} if "width" in get_card(name).options else {})}


@torch.no_grad()
def trained(name: str, form: str, seed: int = 0) -> nn.Module:
    """A network in training form, in evaluation mode, with statistics and affine values at random."""
    torch.manual_seed(seed)
    network = create_model(name, **options_of(name, form)).eval()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    for norm in norms:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_(0, 0.5)
        norm.running_var.uniform_(0.3, 2.0)
        norm.weight.uniform_(-2, 2)
        norm.bias.uniform_(-1, 1)
    return network


def saved(path: Path, name: str = "mobileie", form: str = "training", **metadata: str) -> Path:
    """A weights file of the tool with a network in training form."""
    about = {"model": name, "options": json.dumps(options_of(name, form)), **metadata}
    save_state(path, trained(name, form).state_dict(), about)
    return path


@pytest.fixture
def recipe(tiny, tmp_path) -> Path:
    path = tmp_path / "short.yaml"
    path.write_text(json.dumps(RECIPE))
    return path


@pytest.fixture
def registering():
    """Take out of the registry what a test registers."""
    before = dict(MODELS._items) if MODELS.names() else {}
    yield
    MODELS._items.clear()
    MODELS._items.update(before)


def test_there_are_networks_with_two_forms() -> None:
    assert {name for name, _ in FORMS} == {"dncnn_17", "dncnn_20", "dncnn_20_color", "mobileie", "syenet"}


@each_form
def test_both_forms_agree_with_random_statistics_at_any_size_and_batch(name: str, form: str) -> None:
    card, network = get_card(name), trained(name, form).double()
    assert card.deploy is not None
    before = copy.deepcopy(network.state_dict())
    plain = card.deploy(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in plain.modules())
    small = create_model(name, **options_of(name, "deploy")).state_dict()
    assert {key: value.shape for key, value in plain.state_dict().items()} == {k: v.shape for k, v in small.items()}
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    in_float32 = card.deploy(trained(name, form))
    for batch, size in ((1, (1, 1)), (2, (2, 9)), (3, (17, 12))):
        x = torch.rand(batch, card.input.channels, *size, dtype=torch.float64)
        with torch.no_grad():
            expected = network(x)
            largest = float(expected.abs().max() + 1)
            torch.testing.assert_close(plain(x), expected, rtol=0, atol=1e-10 * largest)
            torch.testing.assert_close(in_float32(x.float()).double(), expected, rtol=0, atol=2e-5 * largest)


@each_form
def test_every_parameter_of_a_training_form_gets_a_finite_gradient(name: str, form: str) -> None:
    network = create_model(name, **options_of(name, form)).train()
    x = torch.rand(2, get_card(name).input.channels, 9, 8)
    outputs = [network(x)]
    if hasattr(network, "warm_up_outputs"):
        outputs += network.warm_up_outputs(x)
    sum(output.square().sum() for output in outputs).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key


@each_form
def test_weights_are_converted_where_they_are_loaded_unless_the_form_is_named(name: str, form: str, tmp_path) -> None:
    network = trained(name, form)
    # As a file of another program: no metadata.
    torch.save(network.state_dict(), tmp_path / "w.pth")
    options = {key: value for key, value in options_of(name, form).items() if key != "form"}
    entry, own = (entry_of(name, tmp_path / "w.pth", {**options, **more}) for more in ({}, {"form": form}))
    assert (entry.options, own.options) == (options, {**options, "form": form})
    assert entry.checkpoint is not None
    assert own.checkpoint is not None
    assert (entry.checkpoint.held, own.checkpoint.held) == (form, "")
    assert f"weights of form={form} are used in the deploy form" in entry.notes[-1]
    assert entry.notes[0].startswith("costs and times are those of the deploy form")
    assert own.notes == [f"costs and times are those of form={form}, not of the smaller deploy form, which has the"
                         " same output"]  # fmt: skip
    assert (entry.weights_record() or {})["form"] == form
    x = torch.rand(2, get_card(name).input.channels, 7, 10)
    with torch.no_grad():
        expected = network(x)
        assert torch.equal(own.build()(x), expected)
        limit = 1e-5 * float(expected.abs().max() + 1)
        torch.testing.assert_close(entry.build()(x), expected, rtol=0, atol=limit)


def test_the_deploy_form_is_the_default_and_has_no_option_in_names_and_keys() -> None:
    assert entry_of("syenet", None, {"form": "deploy"}).options == {}
    assert entry_of("syenet", None, {"form": "deploy"}).label == "syenet"
    assert entry_of("syenet", None, {"form": "training"}).label == "syenet[form=training]"


def test_weights_deploy_keeps_the_metadata_and_the_output(zoo_bench, tmp_path) -> None:
    about = {"evidence": "trained", "recipe": "mine", "recipe_digest": "ab", "seed": "3", "lr": "0.001"}
    source = saved(tmp_path / "w.safetensors", **about)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((2, 4, 13, 10), dtype=np.float32))
    outcome = zoo_bench("weights", "deploy", source, "-o", tmp_path / "d.safetensors")
    assert outcome.code == 0, outcome.err
    assert "weights of form=training are used in the deploy form" in outcome.err
    first, second = read_checkpoint(source), read_checkpoint(tmp_path / "d.safetensors")
    assert second.metadata == {
        **about,
        "model": "mobileie",
        "options": '{"form": "deploy"}',
        "source": "w.safetensors",
        "source_sha256": first.digest,
    }
    assert (len(first.state), len(second.state)) == (182, 19)
    for name, weights, options in (
        ("own", source, ("--set", "form=training")),
        ("converted", source, ()),
        ("deployed", tmp_path / "d.safetensors", ()),
    ):
        flags = ("--weights", weights, "-o", tmp_path / name, *options)
        assert zoo_bench("infer", "mobileie", tmp_path / "x.npy", *flags).code == 0
    own, converted, deployed = (np.load(tmp_path / name / "x.npy") for name in ("own", "converted", "deployed"))
    assert np.array_equal(converted, deployed)
    assert np.abs(own - deployed).max() < 1e-5 * np.abs(own).max()


def test_what_cannot_be_deployed_is_one_line(zoo_bench, tmp_path) -> None:
    out = tmp_path / "out.safetensors"
    saved(tmp_path / "w.safetensors")
    assert zoo_bench("weights", "deploy", tmp_path / "w.safetensors", "-o", tmp_path / "d.safetensors").code == 0
    save_state(tmp_path / "one.safetensors", create_model("plainunet_8").state_dict(), {"model": "plainunet_8"})
    torch.save(trained("mobileie", "training").state_dict(), tmp_path / "foreign.pth")
    save_state(tmp_path / "other.safetensors", trained("syenet", "training").state_dict(), {"model": "mobileie"})
    for file, message in (
        ("d.safetensors", "holds the deploy form already; there is nothing to convert"),
        ("one.safetensors", "is of plainunet_8, which has one form; there is nothing to convert"),
        ("foreign.pth", "does not name its model; `weights import MODEL` takes it"),
        ("other.safetensors", "does not fit: .*It looks like a checkpoint of syenet"),
        ("nothing.safetensors", "no file at"),
    ):
        outcome = zoo_bench("weights", "deploy", tmp_path / file, "-o", out)
        assert (outcome.code, len(outcome.err.splitlines())) == (2, 1), outcome.err
        assert re.search(message, outcome.err), outcome.err
    outcome = zoo_bench("weights", "deploy", tmp_path / "w.safetensors", "-o", tmp_path / "w.safetensors")
    assert (outcome.code, "would replace the input" in outcome.err) == (2, True)
    assert not out.exists()


def test_the_import_takes_either_form_and_says_which_it_writes(zoo_bench, tmp_path) -> None:
    torch.save({"state_dict": trained("syenet", "training").state_dict()}, tmp_path / "w.pth")
    for flags, form in (((), "deploy"), (("--set", "form=training"), "training")):
        imported = tmp_path / f"{form}.safetensors"
        assert zoo_bench("weights", "import", "syenet", tmp_path / "w.pth", "-o", imported, *flags).code == 0
        assert json.loads(read_checkpoint(imported).metadata["options"]) == {"form": form}
    digests = [read_checkpoint(tmp_path / f"{form}.safetensors").metadata["source_sha256"]
               for form in ("deploy", "training")]  # fmt: skip
    assert digests == [read_checkpoint(tmp_path / "w.pth").digest] * 2


def test_the_deploy_form_is_not_turned_back(zoo_bench, tmp_path) -> None:
    save_state(tmp_path / "w.safetensors", create_model("mobileie").state_dict(), {"model": "mobileie"})
    outcome = zoo_bench("infer", "mobileie", tmp_path / "x.npy", "--weights", tmp_path / "w.safetensors",
                        "--set", "form=training", "-o", tmp_path / "o")  # fmt: skip
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
    assert "holds form=deploy, which cannot be turned back into form=training; choose form=deploy." in outcome.err


def test_files_in_either_form_and_half_precision_fit(tmp_path) -> None:
    state = trained("syenet", "training").state_dict()
    halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    torch.save(halves, tmp_path / "half.pth")
    notes = entry_of("syenet", tmp_path / "half.pth", {}).notes
    assert any("tensor(s) of float16 are used as float32" in note for note in notes)
    del state["body.block1.conv_out.weight"]
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(UserError, match=r"does not fit: 1 missing \(body\.block1\.conv_out\.weight\)"):
        entry_of("syenet", tmp_path / "bad.pth", {})


def test_seeds_in_different_forms_are_runs_of_one_recipe(tiny, zoo_bench, tmp_path) -> None:
    about = {"evidence": "trained", "recipe": "mine", "recipe_digest": "ab", "lr": "0.001"}
    files = [saved(tmp_path / f"{seed}.safetensors", **about, seed=str(seed)) for seed in (0, 1)]
    files[1] = tmp_path / "d.safetensors"
    assert zoo_bench("weights", "deploy", tmp_path / "1.safetensors", "-o", files[1]).code == 0
    records = run("tiny", models=["mobileie"], weights={"mobileie": files}, out=tmp_path / "out", isolate=False,
                  sizes=())  # fmt: skip
    assert [record.name for record in records] == ["mobileie", "mobileie"]


def test_a_run_scores_and_counts_the_deploy_form_and_tables_say_so(tiny, tmp_path) -> None:
    source = saved(tmp_path / "w.safetensors", evidence="trained")
    how: dict[str, Any] = {"models": ["mobileie"], "weights": {"mobileie": str(source)}, "out": tmp_path / "out"}
    records = [
        run("tiny", **how, options=options, limit=2, sizes=(), isolate=False)[0]
        for options in ({}, {"form": "training"})
    ]
    deploy, training = records
    assert (deploy.name, training.name) == ("mobileie", "mobileie[form=training]")
    assert (deploy.measurements["params"].value, training.measurements["params"].value) == (4_132, 51_259)
    scores = [one.measurements["psnr[rgb]"].value for one in records]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)
    table = pages(records)["tiny.md"]
    assert "mobileie: costs and times are those of the deploy form, which has the same output" in table
    assert "costs and times are those of form=training, not of the smaller deploy form" in table


def test_the_card_the_list_and_the_profile_say_which_form_is_counted() -> None:
    assert "deploy is counted, timed, scored and exported; form=training or form=training_kair" in card_text("dncnn_17")
    assert "forms" not in card_text("unet")
    forms = {row["name"]: row["forms"] for row in catalogue("models")}
    assert (forms["syenet"], forms["unet"]) == (("deploy", "training"), ())
    for options, words in (({}, "of the deploy form"), ({"form": "training"}, "of form=training")):
        (note,) = profile("mobileie", size=(8, 8), options=options)["notes"]
        assert note.startswith(f"costs and times are those {words}")
    assert profile("unet_w8")["notes"] == []


def test_training_uses_the_training_form_and_a_run_converts_it(recipe, zoo_bench, tiny, tmp_path) -> None:
    outcome = zoo_bench("--plugin", tiny, "train", recipe, "-o", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert "training: mobileie in form=training on tiny" in outcome.err
    checkpoint = read_checkpoint(tmp_path / "run" / "weights.safetensors")
    assert (checkpoint.metadata["options"], len(checkpoint.state)) == ('{"form": "training"}', 182)
    start = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])
    assert start["form"] == "training"
    (record,) = run("tiny", models=["mobileie"], weights={"mobileie": str(checkpoint.path)}, out=tmp_path / "out",
                    limit=2, isolate=False, sizes=())  # fmt: skip
    validated = json.loads(checkpoint.metadata["scores"])["scores"]["psnr[rgb]"]
    assert record.measurements["psnr[rgb]"].value == pytest.approx(validated, abs=1e-3)
    assert record.measurements["params"].value == 4_132
    again = train(recipe, tmp_path / "run", overrides={"max_steps": 5}, resume=True)
    assert (again["steps"], again["steps_of_this_call"]) == (5, 2)


def test_a_recipe_may_train_the_deploy_form(recipe, tmp_path) -> None:
    train(recipe, tmp_path / "run", overrides={"options.form": "deploy"})
    checkpoint = read_checkpoint(tmp_path / "run" / "weights.safetensors")
    assert (checkpoint.metadata["options"], len(checkpoint.state)) == ('{"form": "deploy"}', 19)
    with pytest.raises(UserError, match="holds form=deploy, which cannot be turned back into form=training"):
        train(recipe, tmp_path / "other", overrides={"init": str(checkpoint.path)})
    source = saved(tmp_path / "w.safetensors")
    train(recipe, tmp_path / "more", overrides={"init": str(source), "options.form": "deploy", "max_steps": 1})
    train(recipe, tmp_path / "third", overrides={"init": str(source), "max_steps": 1})


@pytest.mark.thorough
@pytest.mark.parametrize("model", ["mobileie", "syenet"])
def test_a_batch_of_one_is_one_line_before_the_training(recipe, zoo_bench, tiny, tmp_path, model: str) -> None:
    flags = ("--set", f"model={model}", "--set", "batch_size=1", "-o", tmp_path / "run")
    outcome = zoo_bench("--plugin", tiny, "train", recipe, *flags)
    # The first line says where the data come from.
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 2)
    assert f"recipe: batch_size: 1 is too small for {model} (ValueError: Expected more than 1 value" in outcome.err
    assert outcome.err.rstrip().endswith("choose at least 2.")
    train(recipe, tmp_path / "deploy", overrides={"model": model, "batch_size": 1, "options.form": "deploy"})


def test_a_card_with_deploy_needs_the_option_and_the_reverse(registering) -> None:
    def lone() -> nn.Module:
        return nn.Identity()

    def text(form: str = "deploy") -> nn.Module:
        return nn.Identity()

    def other(form: Literal["deploy", "training"] = "training") -> nn.Module:
        return nn.Identity()

    def both(form: Literal["deploy", "training"] = "deploy") -> nn.Module:
        return nn.Identity()

    def shape(form: Literal["round", "square"] = "round") -> nn.Module:
        return nn.Identity()

    for build in (lone, text, other):
        with pytest.raises(UserError, match=rf"^{build.__name__}: deploy needs the option `form: Literal"):
            register_model(task="raw2rgb", deploy=lambda network: network)(build)
    with pytest.raises(UserError, match=r"^both: the option form has the values deploy and training; pass deploy="):
        register_model(task="raw2rgb")(both)
    register_model(task="raw2rgb")(shape)
    assert get_card("shape").forms == ()
    register_model(task="raw2rgb", deploy=lambda network: network)(both)
    assert get_card("both").forms == ("deploy", "training")


class Bent(nn.Module):
    """A convolution with a batch norm, or without one in the deploy form."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 12, 1)
        self.norm = nn.BatchNorm2d(12, eps=0.5) if form == "training" else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pixel_shuffle(self.norm(self.conv(x)), 2)


def fused(network: Bent, eps: float) -> Bent:
    """In place, as many programs do."""
    gain = network.norm.weight / (network.norm.running_var + eps).sqrt()
    network.conv.weight.mul_(gain[:, None, None, None])
    network.conv.bias.copy_((network.conv.bias - network.norm.running_mean) * gain + network.norm.bias)
    network.norm = nn.Identity()
    return network


@pytest.mark.parametrize(
    ("deploy", "message"),
    [
        (lambda network: fused(network, 0.5), ""),
        (lambda network: fused(network, 0.501), "in the deploy form the output differs by"),
        (lambda network: network.fuse(), "bent cannot be brought into its deploy form: AttributeError"),
        (lambda network: None, "bent cannot be brought into its deploy form: AttributeError"),
        (lambda network: network, "does not fit: 5 unexpected"),
    ],
)
def test_a_conversion_of_a_users_network_is_checked(registering, tmp_path, deploy, message: str) -> None:
    def bent(form: Literal["deploy", "training"] = "deploy") -> nn.Module:
        return Bent(form)

    register_model(task="raw2rgb", deploy=deploy)(bent)
    torch.save(trained("bent", "training").state_dict(), tmp_path / "w.pth")
    if not message:
        assert entry_of("bent", tmp_path / "w.pth", {}).scored
        return
    with pytest.raises(UserError, match=message):
        entry_of("bent", tmp_path / "w.pth", {})


def test_a_wrong_epsilon_is_more_than_the_tolerance(registering) -> None:
    card = get_card("dncnn_17")
    options = options_of("dncnn_17", "training")
    network = trained("dncnn_17", "training")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.mul_(0.01)
    found = in_form(card, {"width": 8}, network.state_dict(), "w.pth")
    assert found.held == options["form"]
    wrong = copy.deepcopy(network)
    for module in wrong.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-4
    x = torch.rand(1, card.input.channels, 16, 19)
    with torch.no_grad():
        outputs = [one(x) for one in (network, wrong)]
    assert (outputs[0] - outputs[1]).abs().max() > TOLERANCE * outputs[0].abs().max()


def test_an_option_of_choices_names_them() -> None:
    option = Option("form", Literal["deploy", "training"], "deploy")
    assert option.describe() == "form: deploy or training = 'deploy'"
    assert option.choices == ("deploy", "training")
