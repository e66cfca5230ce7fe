"""Training: it learns, it resumes to the last bit, it stops when it must, and its weights are accepted."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from benchmark.datasets import DATASETS
from benchmark.results.jsonl import alone, read_lines
from benchmark.training import checkpoints, fitting, loop
from benchmark.training.batches import Batch
from benchmark.training.divergence import DivergedError, Watch
from benchmark.training.loop import train
from benchmark.training.losses import Objective
from benchmark.training.optimizing import Clipper, follow_mean, learning_rate, settings_at
from benchmark.training.preparing import process_settings
from benchmark.training.recipe import Clip, Recipe, Validation
from benchmark.training.validating import Validator
from tests.conftest import TINY
from zoo.card import MODELS, default_input, get_card
from zoo.convention import InputSpec
from zoo.errors import UserError
from zoo.options import read_options
from zoo.weights import read_checkpoint

ROOT = Path(__file__).parent.parent
BASE = """
model: tiny_net
dataset: tiny
epochs: 6
batch_size: 2
crop: 16
crops_per_image: 2
lr: 1e-2
optimizers: [{name: adam}, {name: sgd, from_epoch: 4, lr: 1e-3, momentum: 0.9}]
schedule: {warmup: 3, milestones: [2], gamma: 0.5}
clip: {norms: {"*": 0.5}, tighten: true}
ema: 0.9
checkpoint_every: 4
log_every: 3
validation: {every: 6}
"""  # 8 windows an epoch: 4 steps, 24 in all


@pytest.fixture
def recipe(tiny, tmp_path) -> Path:
    path = tmp_path / "short.yaml"
    path.write_text(BASE)
    return path


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / "weights.safetensors").state


def assert_same_run(one: Path, other: Path) -> None:
    first, second = state_of(one), state_of(other)
    assert all(torch.equal(first[key], second[key]) for key in first)
    states = [checkpoints.read_state(folder) for folder in (one, other)]
    for name in ("model", "ema"):
        a, b = (getattr(state, name) for state in states)
        assert all(torch.equal(a[key], b[key]) for key in a)
    logs = [
        [
            (line["kind"], line["step"], line.get("loss"), line.get("scores"))
            for line in read_lines(folder / "log.jsonl")
        ]
        for folder in (one, other)
    ]
    assert logs[0] == logs[1]


def test_a_run_leaves_weights_log_curves_and_samples(recipe, tmp_path) -> None:
    document = train(recipe, tmp_path / "run")
    assert (document["steps"], document["epochs"]) == (24, 6.0)
    with safe_open(tmp_path / "run" / "weights.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["model"], metadata["evidence"]) == ("tiny_net", "trained")
    assert (metadata["recipe"], metadata["seed"]) == ("short", "0")
    assert json.loads(metadata["scores"])["scores"] == document["scores"]["scores"]
    assert len(metadata["data_digest"]) == 16
    lines = read_lines(tmp_path / "run" / "log.jsonl")
    assert [line["step"] for line in lines if line["kind"] == "train"] == [3, 6, 9, 12, 15, 18, 21, 24]
    assert [line["step"] for line in lines if line["kind"] == "checkpoint"] == [4, 8, 12, 16, 20, 24]
    for picture in ("curves.png", "samples/step_0000024.png"):
        with Image.open(tmp_path / "run" / picture) as image:
            assert image.width > 400


@pytest.mark.thorough
def test_training_beats_its_start(recipe, tmp_path) -> None:
    # The targets are noise, uniform in [0, 1]: the best that can be learned is their mean, 10 log10(12) = 10.79 dB.
    start = train(recipe, tmp_path / "start", overrides={"max_steps": 1, "lr": 1e-9, "schedule.warmup": 0})
    more = {"epochs": 60, "ema": None, "clip": None, "optimizers": [{"name": "adam"}], "crop": None, "augment": False}
    train(recipe, tmp_path / "run", overrides={**more, "validation.every": 60})
    lines = read_lines(tmp_path / "run" / "log.jsonl")
    scores = [line["scores"]["psnr[rgb]"] for line in lines if line["kind"] == "validation"]
    assert scores[-1] > start["scores"]["scores"]["psnr[rgb]"] + 1
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert 10.6 < scores[-1] < 11.5
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.thorough
def test_a_resumed_run_equals_an_uninterrupted_one(recipe, tmp_path) -> None:
    train(recipe, tmp_path / "whole")
    # Stops behind a checkpoint, in the middle of an epoch and before the switch of optimisers; then behind it.
    for steps in (7, 18, 24):
        train(recipe, tmp_path / "parts", overrides={"max_steps": steps}, resume=True)
    whole, parts = state_of(tmp_path / "whole"), state_of(tmp_path / "parts")
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    again = train(recipe, tmp_path / "parts", resume=True)
    assert (again["steps"], again["steps_of_this_call"]) == (24, 0)


@pytest.mark.thorough
def test_kill_9_and_resume_equal_an_uninterrupted_run(recipe, tmp_path) -> None:
    settings = [
        "--set",
        "epochs=60",
        "--set",
        "log_every=50",
        "--set",
        "validation.every=120",
        "--set",
        "checkpoint_every=20",
    ]
    command = [sys.executable, "-m", "benchmark.cli", "--plugin", str(TINY), "train", str(recipe), *settings]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}

    def start(folder: Path, *flags: str) -> subprocess.Popen:
        return subprocess.Popen(
            [*command, "-o", str(folder), *flags], env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

    child = start(tmp_path / "killed")
    deadline = time.monotonic() + 60
    while not (tmp_path / "killed" / "state.pt").exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert checkpoints.read_state(tmp_path / "killed").step < 240
    assert start(tmp_path / "killed", "--resume").wait() == 0
    train(
        recipe,
        tmp_path / "whole",
        overrides={"epochs": 60, "log_every": 50, "validation.every": 120, "checkpoint_every": 20},
    )
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


def test_another_recipe_or_seed_is_refused_with_the_key(recipe, tmp_path) -> None:
    train(recipe, tmp_path / "run", overrides={"max_steps": 2})
    before = (tmp_path / "run" / "state.pt").read_bytes()
    for overrides, named in (
        ({"lr": 0.5}, "lr was 0.01 there, it is 0.5 here"),
        ({"seed": 3}, "seed was 0 there"),
        ({"options.width": 8}, "options.width was None there, it is 8 here"),
    ):
        with pytest.raises(UserError, match=named):
            train(recipe, tmp_path / "run", overrides=overrides, resume=True)
    with pytest.raises(UserError, match="pass --resume"):
        train(recipe, tmp_path / "run", overrides={"max_steps": 4})
    assert (tmp_path / "run" / "state.pt").read_bytes() == before


def test_a_longer_cosine_is_another_recipe(recipe, tmp_path) -> None:
    train(recipe, tmp_path / "run", overrides={"max_steps": 2, "schedule.cosine": True})
    with pytest.raises(UserError, match="max_steps was 2 there"):
        train(recipe, tmp_path / "run", overrides={"max_steps": 4, "schedule.cosine": True}, resume=True)


def test_resume_begins_where_there_is_no_checkpoint_yet(recipe, tmp_path) -> None:
    assert train(recipe, tmp_path / "run", overrides={"max_steps": 2}, resume=True)["steps"] == 2


@pytest.mark.parametrize("where", ["state", "weights"])
def test_a_full_disk_keeps_the_previous_checkpoint(recipe, tmp_path, monkeypatch, where) -> None:
    folder = tmp_path / "run"
    full = OSError(28, "No space left on device")
    real = {"state": torch.save, "weights": checkpoints.save_state}[where]
    calls = []

    def once_then_full(*args, **kwargs):
        calls.append(1)
        if len(calls) > 1:
            raise full
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(*((torch, "save") if where == "state" else (checkpoints, "save_state")), once_then_full)
        with pytest.raises(UserError, match=r"cannot save step 8 .*No space left.*checkpoint before it is intact"):
            train(recipe, folder)
    assert checkpoints.read_state(folder).step == 4
    assert state_of(folder)
    assert not list(folder.glob("*.part"))
    train(recipe, folder, resume=True)
    train(recipe, tmp_path / "whole")
    assert_same_run(folder, tmp_path / "whole")


def test_a_damaged_state_is_one_line(recipe, tmp_path) -> None:
    train(recipe, tmp_path / "run", overrides={"max_steps": 2})
    state = tmp_path / "run" / "state.pt"
    state.write_bytes(state.read_bytes()[:500])
    with pytest.raises(UserError, match=r"state.pt is damaged"):
        train(recipe, tmp_path / "run", resume=True)


def rewrite_state(folder: Path, **values) -> None:
    """Replace fields of a run's state; those that are None go."""
    content = torch.load(folder / "state.pt", weights_only=True) | values
    torch.save({key: value for key, value in content.items() if value is not None}, folder / "state.pt")


def test_another_number_of_processes_is_refused_on_resume(recipe, tmp_path) -> None:
    train(recipe, tmp_path / "run", overrides={"max_steps": 4})
    state = checkpoints.read_state(tmp_path / "run")
    assert (state.processes, state.samples) == (1, 8)
    rewrite_state(tmp_path / "run", processes=2, samples=16)
    before = (tmp_path / "run" / "state.pt").read_bytes()
    with pytest.raises(
        UserError, match=r"trained by 2 process\(es\) up to step 4 \(16 samples seen\); with 1 a step takes 2"
    ):
        train(recipe, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "state.pt").read_bytes() == before


def test_a_state_without_the_number_of_processes_goes_on_and_is_noted(recipe, tmp_path, zoo_bench) -> None:
    train(recipe, tmp_path / "run", overrides={"max_steps": 7})
    rewrite_state(tmp_path / "run", schema=1, processes=None, samples=None)
    outcome = zoo_bench("--plugin", TINY, "train", recipe, "-o", tmp_path / "run", "--resume")
    assert (outcome.code, "does not say how many processes" in outcome.err) == (0, True)
    train(recipe, tmp_path / "whole")
    whole, parts = state_of(tmp_path / "whole"), state_of(tmp_path / "run")
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_a_flipped_bit_of_the_state_is_one_line(recipe, tmp_path) -> None:
    train(recipe, tmp_path / "run", overrides={"max_steps": 2})
    state = tmp_path / "run" / "state.pt"
    content = bytearray(state.read_bytes())
    content[content.index(checkpoints.read_state(tmp_path / "run").model["0.weight"].numpy().tobytes()) + 5] ^= 1
    state.write_bytes(content)
    with pytest.raises(UserError, match=r"state\.pt is damaged .*checksum does not match"):
        train(recipe, tmp_path / "run", resume=True)


def test_a_network_that_changed_since_the_checkpoint_is_one_line(recipe, tmp_path, other_network) -> None:
    train(recipe, tmp_path / "run", overrides={"max_steps": 2})
    other_network(lambda width=4: torch.nn.Sequential(torch.nn.Conv2d(4, 12, 1), torch.nn.PixelShuffle(2)))
    with pytest.raises(UserError, match=r"tiny_net: .*state\.pt does not fit: 2 unexpected"):
        train(recipe, tmp_path / "run", resume=True)


def test_one_training_at_a_time_writes_into_a_folder(recipe, tmp_path, zoo_bench) -> None:
    train(recipe, tmp_path / "run", overrides={"max_steps": 4})
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir() if file.is_file()}
    with alone(tmp_path / "run" / "train", ""):
        outcome = zoo_bench("--plugin", TINY, "train", recipe, "-o", tmp_path / "run", "--resume")
    assert (outcome.code, "train: another training runs in" in outcome.err) == (2, True)
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir() if file.is_file()} == before
    assert train(recipe, tmp_path / "run", resume=True)["steps"] == 24


def test_each_process_draws_random_numbers_of_its_own() -> None:
    def drawn(process: int, step: int = 5) -> list[float]:
        run = SimpleNamespace(recipe=SimpleNamespace(seed=7), step=step, fabric=SimpleNamespace(global_rank=process))
        with process_settings(Recipe(model="m", dataset="d", max_steps=1, batch_size=1, lr=1.0)):
            loop._seed_layers(run)
            return [torch.rand(1).item(), random.random(), np.random.rand()]

    before = random.getstate()
    # A run of one process draws what it always drew: shipped weights and resumed runs stay the same.
    torch.manual_seed(int(np.random.SeedSequence([7, 3, 5]).generate_state(1)[0]))
    assert drawn(0)[0] == torch.rand(1).item()
    assert drawn(1) == drawn(1)
    values = [value for process in range(3) for value in drawn(process)] + drawn(0, step=6)
    assert len(set(values)) == len(values)
    assert random.getstate() == before


class Recursive(torch.nn.Module):
    """One layer, twice; a mask of infinities; layers that draw from torch, Python and NumPy."""

    def __init__(self) -> None:
        super().__init__()
        layer = torch.nn.Conv2d(4, 4, 3, padding=1)
        self.body, self.last = torch.nn.ModuleList([layer, layer]), torch.nn.Conv2d(4, 12, 1)
        self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))

    def forward(self, x):
        for layer in self.body:
            x = torch.nn.functional.dropout(layer(x), 0.2, self.training)
            x = x * (1 + self.training * (random.random() + np.random.rand())) + self.mask.exp().sum()
        return torch.nn.functional.pixel_shuffle(self.last(x), 2)


@pytest.fixture
def other_network(tiny, monkeypatch):
    """Let tiny_net be built by another function."""

    def replace_by(build) -> None:
        card = dataclasses.replace(get_card("tiny_net"), build=build, options=read_options(build))
        monkeypatch.setitem(MODELS._items, "tiny_net", card)

    return replace_by


def test_a_network_that_uses_a_layer_twice_is_trained_saved_and_resumed(recipe, tmp_path, other_network) -> None:
    other_network(Recursive)
    train(recipe, tmp_path / "whole", overrides={"max_steps": 10})
    for steps in (6, 10):
        train(recipe, tmp_path / "parts", overrides={"max_steps": steps}, resume=True)
    whole, parts = state_of(tmp_path / "whole"), state_of(tmp_path / "parts")
    assert whole.keys() == Recursive().state_dict().keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert torch.equal(whole["body.0.weight"], whole["body.1.weight"])


def test_the_mean_of_a_shared_weight_moves_once_a_step() -> None:
    model, mean = Recursive(), Recursive()
    before = mean.body[0].weight.detach().clone()
    follow_mean(mean, model, decay=0.9)
    assert torch.equal(mean.body[0].weight, torch.lerp(before, model.body[0].weight, 0.1))
    assert mean.mask.tolist() == [0.0, float("-inf")]


def test_a_bad_loss_stops_the_run_and_keeps_the_last_good_state(recipe, tmp_path, monkeypatch, zoo_bench) -> None:
    real = loop.total

    def spoilt(losses):
        value = real(losses)
        return value * float("nan") if spoilt.left == 0 else (setattr(spoilt, "left", spoilt.left - 1), value)[1]

    spoilt.left = 6
    monkeypatch.setattr(loop, "total", spoilt)
    outcome = zoo_bench("--plugin", TINY, "train", recipe, "-o", tmp_path / "run")
    assert outcome.code == 1
    assert "the loss is nan at step 6" in outcome.err
    assert "checkpoint of step 4 is kept" in outcome.err
    assert checkpoints.read_state(tmp_path / "run").step == 4


def test_an_exploding_loss_is_noticed_whatever_its_sign() -> None:
    watch = Watch(10.0)
    for step in range(30):
        watch.check(-2.0 if step % 2 else 1.0, step=step, lr=0.1, kept="")
    watch.check(19.0, step=30, lr=0.1, kept="")
    with pytest.raises(DivergedError, match="is -21, over 20"):
        watch.check(-21.0, step=31, lr=0.1, kept="")


def test_weights_that_are_not_finite_are_never_kept(recipe, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(loop, "all_finite", lambda tensors: False)
    with pytest.raises(DivergedError, match="weights are not finite after step 4"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_a_batch_that_does_not_fit_names_the_largest_that_does(recipe, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(fitting, "available_memory", lambda: 365_000)
    with pytest.raises(
        UserError, match=r"batch_size 8 of 4x16x16 needs about .* the largest that fits is (\d+)"
    ) as error:
        train(recipe, tmp_path / "run", overrides={"batch_size": 8})
    largest = int(str(error.value).split("largest that fits is ")[1].split(":")[0])
    assert 0 < largest < 8
    train(recipe, tmp_path / "run", overrides={"batch_size": largest, "max_steps": 1, "crops_per_image": 4})


def test_the_footprint_counts_what_autograd_keeps(tiny) -> None:
    recipe = Recipe(model="tiny_net", dataset="tiny", max_steps=1, batch_size=1, lr=1.0)
    objective = Objective(recipe, default_input("raw2rgb"), None)

    def build() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Conv2d(4, 12, 1), torch.nn.PixelShuffle(2))

    need = fitting.footprint(build, objective, torch.empty(1, 4, 8, 8), torch.empty(1, 3, 16, 16), epoch=0)
    # The planes for the convolution's weights, output and target for the MSE: 256, 768 and 768 floats.
    assert need.sample_bytes == int(4 * (256 + 768 + 768) * fitting.BACKWARD_FACTOR)


def test_learning_rate_follows_warmup_milestones_floor_and_cosine() -> None:
    base = {"model": "m", "dataset": "d", "batch_size": 1, "lr": 1.0, "max_steps": 10}
    steps = Recipe(**base, schedule={"milestones": [1, 3], "gamma": 0.1, "floor": 0.05, "warmup": 2})
    assert learning_rate(steps, 0, epoch=0, total_steps=10) == 0.5
    assert learning_rate(steps, 2, epoch=0, total_steps=10) == 1.0
    assert learning_rate(steps, 4, epoch=1, total_steps=10) == pytest.approx(0.1)
    assert learning_rate(steps, 9, epoch=3, total_steps=10) == 0.05
    cosine = Recipe(**base, schedule={"cosine": True, "floor": 0.2})
    assert learning_rate(cosine, 5, epoch=0, total_steps=10) == pytest.approx(0.6)
    switch = Recipe(**base, optimizers=[{"name": "adam"}, {"name": "sgd", "from_epoch": 2, "lr": 0.3}])
    assert settings_at(switch, 1)[1].name == "adam"
    assert settings_at(switch, 2) == (1, switch.optimizers[1])
    assert learning_rate(switch, 0, epoch=2, total_steps=10) == 0.3


def test_a_cosine_with_restarts_takes_periods_that_double_and_begins_with_its_optimiser() -> None:
    base = {"model": "tiny_net", "dataset": "tiny", "epochs": 40, "batch_size": 1, "lr": 1.0}
    schedule = {"cosine": True, "restart_after": 2, "floor": 0.2}
    again = Recipe(**base, schedule=schedule)
    rates = [learning_rate(again, 7 * epoch, epoch=epoch, total_steps=280) for epoch in (0, 1, 2, 3, 4, 5, 6, 10, 14)]
    middle = 0.2 + 0.4 * (1 + 0.5**0.5)
    assert rates == pytest.approx([1.0, 0.6, 1.0, middle, 0.6, 1.2 - middle, 1.0, 0.6, 1.0])
    late = Recipe(**base, schedule=schedule, optimizers=[{"lr": 0.3}, {"from_epoch": 5}])
    assert learning_rate(late, 0, epoch=5, total_steps=280) == 1.0
    assert learning_rate(late, 0, epoch=6, total_steps=280) == pytest.approx(0.6)


def test_a_run_with_restarts_may_be_made_longer(recipe, tmp_path) -> None:
    restarts = {"schedule.cosine": True, "schedule.restart_after": 1, "epochs": 9}
    train(recipe, tmp_path / "run", overrides={**restarts, "max_steps": 4})
    assert train(recipe, tmp_path / "run", overrides={**restarts, "max_steps": 8}, resume=True)["steps"] == 8


@pytest.mark.thorough
def test_a_warm_up_is_followed_by_the_main_loss_and_resumes_to_the_same_weights(recipe, tmp_path) -> None:
    loss = [{"name": "warm_up", "until_epoch": 2}, {"name": "outlier_aware", "from_epoch": 2}]
    loss += [{"name": "cosine", "from_epoch": 2, "weight": 0.5}, {"name": "total_variation", "from_epoch": 2}]
    optimizers = [{"lr": 1e-6}, {"from_epoch": 2}]
    common = {"loss": loss, "optimizers": optimizers, "clip": None, "epochs": 3, "schedule.milestones": [], "lr": 1e-3}
    for model in ("syenet", "mobileie"):
        train(recipe, tmp_path / model, overrides={**common, "model": model})
        # Random squares of the warm-up are drawn by step, so a resumed run draws the same.
        for steps in (5, 12):
            train(
                recipe,
                tmp_path / f"{model}_parts",
                overrides={**common, "model": model, "max_steps": steps},
                resume=True,
            )
        whole, parts = state_of(tmp_path / model), state_of(tmp_path / f"{model}_parts")
        assert all(torch.equal(whole[key], parts[key]) for key in whole)
    with pytest.raises(UserError, match="loss warm_up: the network has no warm_up_outputs"):
        train(recipe, tmp_path / "other", overrides=common)


def test_clipping_tightens_each_part_to_the_mean_norm_of_the_epoch() -> None:
    model = torch.nn.ModuleDict({"DNet": torch.nn.Linear(1, 1, bias=False), "SNet": torch.nn.Linear(1, 1, bias=False)})
    clipper = Clipper(model, Clip(norms={"DNet": 5.0, "SNet": 1.0}, tighten=True))
    for gradients in ((2.0, 8.0), (4.0, 8.0)):
        for part, gradient in zip(("DNet", "SNet"), gradients):
            model[part].weight.grad = torch.full((1, 1), gradient)
        clipper()
    assert model["SNet"].weight.grad.item() == pytest.approx(1.0, rel=1e-5)
    assert model["DNet"].weight.grad.item() == pytest.approx(4.0)
    clipper.end_epoch()
    assert clipper.limits == {"DNet": 3.0, "SNet": 1.0}
    with pytest.raises(UserError, match="no part 'Dnet'; did you mean DNet"):
        Clipper(model, Clip(norms={"Dnet": 1.0}))


@pytest.mark.thorough
def test_train_by_command_then_run_with_the_weights(recipe, tmp_path, zoo_bench) -> None:
    plugin = ("--plugin", TINY)
    outcome = zoo_bench(*plugin, "--seed", "5", "train", recipe, "--set", "max_steps=4", "-o", tmp_path / "r", "--json")
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert (document["seed"], document["steps"]) == (5, 4)
    weights = f"tiny_net={document['weights']}"
    flags = ("--dataset", "tiny", "--models", "tiny_net", "--weights", weights, "--out", tmp_path / "out", "--json")
    (record,) = json.loads(zoo_bench(*plugin, "run", *flags).out)["results"]
    assert record["evidence"] == "trained"
    assert record["weights"]["recipe"] == "short"
    expected = document["scores"]["scores"]["psnr[rgb]"]
    assert record["measurements"]["psnr[rgb]"]["value"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model=tiny_nett"], "no model called 'tiny_nett'"),
        (["options.widht=3"], "tiny_net has no option 'widht'; did you mean width?"),
        (["model=vdn_w8"], "vdn_w8 is a denoise_rgb model, tiny needs raw2rgb"),
        (["model=tiny_free"], "has no parameters"),
        (["split=train"], "tiny has no split 'train'"),
        (["crop=40"], "crop: 40 needs 80x80 pixels"),
        (["batch_size=9"], "batch_size: 9"),
        (["batch_size=four"], "--set batch_size=four: Input should be a valid integer"),
        (["validation.metrics=[psnr]"], "no metric called 'psnr'"),
        (["loss=[{name: mse}, {name: msssim}]"], "targets of 32 pixels are too small"),
        (["loss=[{name: elbo}]"], "the network has no all_outputs"),
        (["init=none.pth"], "no file at none.pth"),
        (["clip={norms: {DNet: 1}}"], "the network has no part 'DNet'"),
        (["loss=[{name: mse}, {name: vgg}]", "perceptual=none.pth"], "no file at none.pth"),
        (["nonsense"], "--set nonsense: expected KEY=VALUE"),
        (["model=tiny_broken", "options.how=list"], "zoo-bench: the model returned a list of (2, 3, "),
    ],
)
def test_bad_input_is_one_line(recipe, tmp_path, zoo_bench, settings, message) -> None:
    flags = [part for setting in settings for part in ("--set", setting)]
    outcome = zoo_bench("--plugin", TINY, "train", recipe, *flags, "-o", tmp_path / "run")
    assert outcome.code == 2, outcome.err
    assert message in outcome.err.splitlines()[-1]
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_a_term_left_out_on_purpose_is_recorded(recipe, tmp_path, zoo_bench) -> None:
    settings = ["--set", "loss=[{name: mse}, {name: vgg}]", "--set", "perceptual=off", "--set", "max_steps=1"]
    outcome = zoo_bench("--plugin", TINY, "train", recipe, *settings, "-o", tmp_path / "run", "--json")
    assert "the loss has no term vgg" in outcome.err
    assert json.loads(outcome.out)["dropped_terms"] == ["vgg"]
    assert read_checkpoint(tmp_path / "run" / "weights.safetensors").metadata["dropped_terms"] == "vgg"


@pytest.fixture
def photographs(tmp_path) -> Path:
    """Four noisy and clean pairs of 32x32 pixels."""
    rng = np.random.default_rng(0)
    for name in ("input", "target"):
        (tmp_path / "pairs" / name).mkdir(parents=True)
    for index in range(4):
        clean = np.broadcast_to(rng.integers(40, 200, (1, 1, 3)), (32, 32, 3))
        noisy = (clean + rng.normal(0, 20, clean.shape)).clip(0, 255)
        for name, picture in (("input", noisy), ("target", clean)):
            Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "pairs" / name / f"{index}.png")
    return tmp_path / "pairs"


def test_vdn_trains_by_its_bound_with_a_limit_per_network(photographs, tmp_path) -> None:
    file = tmp_path / "vdn.yaml"
    file.write_text(
        f"""
model: vdn_w8
dataset: pairs
data_root: {photographs}
max_steps: 30
batch_size: 4
crops_per_image: 2
crop: 16
lr: 2e-3
loss: [{{name: elbo, eps2: 1e-4}}]
clip: {{norms: {{DNet: 1e4, SNet: 1e3}}, tighten: true}}
log_every: 1
"""
    )
    document = train(file, tmp_path / "run")
    losses = [line["loss"] for line in read_lines(tmp_path / "run" / "log.jsonl") if line["kind"] == "train"]
    assert losses[-1] < 0.2 * losses[0]
    assert document["scores"]["n"] == 4
    limits = checkpoints.read_state(tmp_path / "run").clipper["limits"]
    assert (limits["DNet"] < 1e4, limits["SNet"] < 1e3) == (True, True)
    # The crop is no multiple of 8: found before the first step.
    with pytest.raises(UserError, match="vdn_w8 cannot be trained on 12x12"):
        train(file, tmp_path / "other", overrides={"crop": 12})


def test_a_coarse_level_is_compared_with_the_resized_target(tiny) -> None:
    class Gray(torch.nn.Module):
        def forward(self, x):
            return torch.full_like(x[:, :3], 0.5)

    card = DATASETS.get("tiny")
    data, spec = card.open(Path(), "test"), InputSpec(layout="bayer_packed", output_scale=1.0)
    scores = Validator(data, spec, card.protocol, Validation(limit=1), torch.device("cpu"))(Gray())
    blocks = data[0].target.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(-1, -2))
    error = (blocks - 0.5).square().mean().item()
    assert scores["psnr[rgb]"] == pytest.approx(-10 * np.log10(error), abs=1e-4)
    recipe = Recipe(model="m", dataset="tiny", max_steps=1, batch_size=1, lr=1.0)
    batch = Batch(torch.rand(1, 4, 32, 32), data[0].target)
    losses = Objective(recipe, spec, None)(Gray(), batch, epoch=0, step=0)
    assert losses["mse"].item() == pytest.approx(error, rel=1e-5)


def test_training_with_the_rounding_of_int8_gives_other_weights_of_the_same_names(recipe, tmp_path) -> None:
    plain, rounded = ({"precision": precision, "max_steps": 4} for precision in ("32", "int8-qat"))
    train(recipe, tmp_path / "plain", overrides=plain)
    train(recipe, tmp_path / "rounded", overrides=rounded)
    one, other = state_of(tmp_path / "plain"), state_of(tmp_path / "rounded")
    assert one.keys() == other.keys()
    assert any(not torch.equal(one[name], other[name]) for name in one)
