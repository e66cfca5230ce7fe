"""Sweeps: points, budget, records, figures; interrupted ones go on, executors and workers change nothing."""

from __future__ import annotations

import csv
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from benchmark.host import calls as calls_of_children
from benchmark.host.child import describe_failure
from benchmark.host.executors import LocalExecutor
from benchmark.host.isolation import Outcome, run_isolated
from benchmark.leaderboard import figures
from benchmark.leaderboard.sweeps import thresholds
from benchmark.opening import dataset_card
from benchmark.reporting import Reporter
from benchmark.results.jsonl import lock_of, read_lines
from benchmark.results.store import Store, read_results
from benchmark.scoring.evaluation import evaluate
from benchmark.sweeping import budget as budgeting
from benchmark.sweeping.budget import Costs, Estimate, count_members, wall_seconds
from benchmark.sweeping.points import decisive, expand, open_splits, point_key
from benchmark.sweeping.searching import choose, missing_rates
from benchmark.sweeping.session import budget, sweep
from benchmark.sweeping.settings import Search, load_sweep
from benchmark.training.checkpoints import read_state
from benchmark.types import Result
from tests.conftest import TINY
from zoo.errors import UserError
from zoo.weights import read_checkpoint

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "configs" / "sweeps"
BASE = """
recipe:
  dataset: tiny
  max_steps: 12
  batch_size: 2
  crop: 16
  lr: 1e-2
  device: cpu
  checkpoint_every: 4
  validation: {every: 1000}
families:
  - {name: wide, model: tiny_net, option: width, values: [4, 2]}
  - {name: narrow, model: tiny_net, option: width, values: [1]}
seeds: [3, 0]
evaluation: {metrics: ["psnr[rgb]"], train_images: 3}
plot: {title: Widths, error: mse, vanished: 1e-3}
"""
BROKEN = "  - {name: broken, model: tiny_broken, option: how, values: [nan]}\nseeds"


@pytest.fixture
def settings(tiny, tmp_path) -> Path:
    path = tmp_path / "widths.yaml"
    path.write_text(BASE)
    return path


@pytest.fixture
def here(monkeypatch) -> list[str]:
    """Let children run in this process, which takes no start; return the list of what they were asked for."""
    calls = []

    def run(function, arguments, *, threads, on_event, **more) -> Outcome:
        module, _, name = function.partition(":")
        arguments = json.loads(json.dumps(arguments))
        calls.append(arguments["request"].get("name") or arguments["call"].partition(":")[2])
        events = []

        def emit(event) -> None:
            events.append(event)
            on_event(event)

        torch.set_num_threads(threads)
        try:
            value = getattr(importlib.import_module(module), name)(**arguments, emit=emit)
        except Exception as error:
            failure = describe_failure(error)
            return Outcome(failure["status"], error=failure["message"], exception=failure["type"], events=events)
        return Outcome("ok", json.loads(json.dumps(value)), events=events, seconds=1.0)

    monkeypatch.setattr(calls_of_children, "run_isolated", run)
    return calls


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Draw nothing: half a second each time."""
    monkeypatch.setattr(figures, "draw_figures", lambda folder, summary: [])


def numbers(folder: Path) -> dict[str, dict]:
    """The scores and the weights' digest of each record by key: what no engine may change."""
    found = {}
    for key, result in Store(folder).latest().items():
        scores = {id: m.value for id, m in result.measurements.items() if m.kind == "score"}
        found[key] = {"scores": scores, "state": weights_of(folder, result)}
    return found


def weights_of(folder: Path, result: Result) -> dict[str, list]:
    """Return the tensors of the weights that a record names."""
    files = {read_checkpoint(file).digest: file for file in (folder / "points").glob("*/weights.safetensors")}
    state = read_checkpoint(files[result.weights["sha256"]]).state
    return {name: value.tolist() for name, value in state.items()}


def test_points_come_in_the_order_of_the_file(settings) -> None:
    points = expand(load_sweep(settings))
    assert [point.name for point in points] == [
        "wide_4_seed3",
        "wide_4_seed0",
        "wide_2_seed3",
        "wide_2_seed0",
        "narrow_1_seed3",
        "narrow_1_seed0",
    ]
    recipe = points[2].recipe
    assert (recipe.model, recipe.options, recipe.seed, recipe.threads) == ("tiny_net", {"width": 2}, 3, 1)
    assert recipe.max_steps == 12


def test_the_shipped_sweeps_are_the_papers() -> None:
    toy, paper = (expand(load_sweep(SHIPPED / f"{name}.yaml")) for name in ("double_descent_toy", "double_descent"))
    assert (len(toy), {point.seed for point in toy}) == (12, {0})
    assert len(paper) == 3 * (13 + 10)
    for point in paper:
        recipe = point.recipe
        assert (recipe.batch_size, recipe.epochs, recipe.optimizers[0].name) == (8, 30, "adam")
        assert [(term.name, term.weight) for term in recipe.loss] == [("mse", 1.0), ("msssim", 1.0)]
    assert {point.options.get("embedding_width") for point in paper} == {8, None}
    assert {point.options["width"] for point in paper if point.family.name == "hyper"} == {8}


def test_overparametrising_is_nearly_free_in_flops_and_widening_is_not() -> None:
    points = {point.member: point for point in expand(load_sweep(SHIPPED / "double_descent_toy.yaml"))}
    ends = [("hyper", "2"), ("hyper", "1024"), ("plain", "4"), ("plain", "48")]
    costs = count_members([points[member] for member in ends], SimpleNamespace(card=dataset_card("zrr")))
    ratio = {
        (small[0], id): costs[large].value(id) / costs[small].value(id)
        for small, large in (ends[:2], ends[2:])
        for id in ("params", "flops")
    }
    assert ratio["hyper", "params"] > 200
    assert ratio["hyper", "flops"] < 1.1
    assert ratio["plain", "flops"] > 0.7 * ratio["plain", "params"]


def test_costs_are_those_of_one_image_whatever_the_planes_of_a_network(settings) -> None:
    families = "families:\n  - {name: packed, model: plainunet_8}\n  - {name: mosaic, model: rmfa_tiny}\nseeds: [0]\n"
    settings.write_text(f"{BASE.partition('families:')[0]}{families}evaluation:{BASE.partition('evaluation:')[2]}")
    card = dataset_card("zrr")
    costs = count_members(expand(load_sweep(settings)), SimpleNamespace(card=card))
    shapes = {name: found.measurements["macs"].input_shape for (name, _), found in costs.items()}
    assert shapes == {"packed": [1, 4, 224, 224], "mosaic": [1, 3, 448, 448]}


def test_the_key_holds_what_decides_the_numbers_and_nothing_else(settings, monkeypatch) -> None:
    def key(**overrides) -> str:
        plan = load_sweep(settings, {name.replace("__", "."): value for name, value in overrides.items()})
        points = expand(plan)
        return point_key(plan, points[0], open_splits(plan, points, Reporter()))

    first = key()
    for same in ({"recipe__checkpoint_every": 7}, {"recipe__workers": 0}, {"plot__vanished": 0.5}, {"seeds": [3]}):
        assert key(**same) == first
    for other in ({"recipe__lr": 0.02}, {"seeds": [4]}, {"threads": 2}, {"evaluation__train_images": 2}):
        assert key(**other) != first
    monkeypatch.setattr("benchmark.sweeping.points.SCORING", "one-pass")
    assert key() != first


def test_a_recipe_key_that_was_added_later_is_part_of_the_key_only_if_it_is_given(settings) -> None:
    found = []
    for given in ({}, {"recipe.schedule.cosine": True, "recipe.schedule.restart_after": 2}):
        plan = load_sweep(settings, given)
        points = expand(plan)
        recipe = decisive(plan, points[0], open_splits(plan, points, Reporter()))["recipe"]
        found.append(recipe.get("schedule.restart_after"))
        assert "schedule.floor" in recipe
        assert ("schedule.restart_after" in recipe) == bool(given)
    assert found == [None, 2]


def test_every_point_becomes_a_record(settings, here, tmp_path) -> None:
    out = tmp_path / "out"
    document = sweep(settings, out, workers=1)
    assert document["failed"] == []
    results = read_results(out / "results.jsonl")
    assert len(results) == 6
    by_name = {f"{r.options['family']}_{r.options['width']}_seed{r.options['seed']}": r for r in results}
    result = by_name["wide_2_seed0"]
    assert (result.model, result.dataset, result.evidence, result.status) == ("tiny_net", "tiny", "trained", "ok")
    assert (result.n, result.spec.seed, result.weights["recipe"]) == (4, 0, "widths")
    assert result.measurements["params"].value == 4 * 2 * 9 + 2 + 2 * 12 * 9 + 12
    assert result.measurements["flops"].value == 2 * 32 * 32 * 9 * (4 * 2 + 2 * 12)
    # The scores are those of the weights, by another way; the error follows from them image by image.
    (folder,) = (out / "points").glob("wide_2_seed0_*")
    scores = evaluate(
        "tiny_net", "tiny", weights=folder / "weights.safetensors", options={"width": 2}, metrics=["psnr[rgb]"]
    )
    errors = [10 ** (-image["scores"]["psnr[rgb]"] / 10) for image in scores]
    assert result.measurements["mse[rgb]"].value == pytest.approx(sum(errors) / 4, rel=1e-6)
    assert result.measurements["mse[rgb]@train"].value == pytest.approx(sum(errors[:3]) / 3, rel=1e-6)
    assert "first 3 images of tiny test" in result.measurements["mse[rgb]@train"].definition
    assert len(read_lines(out / result.per_image)) == 4


def test_a_network_with_two_forms_is_trained_in_one_and_measured_in_the_other(
    settings, here, undrawn, tmp_path
) -> None:
    families = "families:\n  - {name: mobileie, model: mobileie}\nseeds: [0]\n"
    settings.write_text(f"{BASE.partition('families:')[0]}{families}evaluation:{BASE.partition('evaluation:')[2]}")
    sweep(settings, tmp_path / "out", workers=1)
    (record,) = Store(tmp_path / "out").latest().values()
    assert record.status == "ok", record.error
    assert (record.spec.options, record.measurements["params"].value) == ({}, 4_132)
    assert record.weights["form"] == "training"
    assert any(note.startswith("costs and times are those of the deploy form") for note in record.notes)
    plan = load_sweep(settings)
    points = expand(plan)
    (costs,) = count_members(points, open_splits(plan, points, Reporter())).values()
    assert costs.trained_params == 51_259


def test_figures_stand_beside_the_data_that_they_show(settings, here, tmp_path) -> None:
    document = sweep(settings, tmp_path / "out", workers=1)
    assert len(document["files"]) == 6
    for name in ("error_over_params", "flops_over_params"):
        with Image.open(tmp_path / "out" / f"{name}.png") as image:
            assert min(image.size) > 600
            assert len(image.convert("RGB").getcolors(1 << 24)) > 20
        text = (tmp_path / "out" / f"{name}.svg").read_text()
        assert all(word in text for word in ("Widths", "tiny, a stand-in", "wide", "narrow", "parameters"))
    text = (tmp_path / "out" / "error_over_params.svg").read_text()
    assert "training error under 0.001" in text
    assert "wide not reached; narrow not reached" in text
    assert "mean of 2 seeds" in text
    rows = list(csv.DictReader((tmp_path / "out" / "points.csv").read_text().splitlines()))
    data = json.loads((tmp_path / "out" / "points.json").read_text())
    assert len(rows) == len(data["points"]) == 6
    pair = [float(row["test_error"]) for row in rows if (row["family"], row["value"]) == ("wide", "2")]
    member = next(m for m in data["members"] if (m["family"], m["value"]) == ("wide", 2))
    assert member["test_error"] == pytest.approx(sum(pair) / 2)
    assert member["test_error_std"] == pytest.approx(abs(pair[0] - pair[1]) / 2**0.5)
    assert data["input_shape"] == [1, 4, 32, 32]


@pytest.mark.parametrize(
    ("bars", "frame"),
    [
        ([(25, 26, 27), (23, 24, 25)], None),
        ([(25, 26, 27), (23, 24, 25), (-2, 22, 45)], (20, 28)),
        ([(25, 26, 27)], None),
        ([(10, 20, 30), (10, 20, 30)], None),
        ([], None),
    ],
)
def test_a_network_of_unlike_trainings_leaves_the_others_apart(bars, frame) -> None:
    assert figures.frame_of(bars) == frame


def test_the_threshold_is_the_smallest_member_whose_training_error_vanishes() -> None:
    def member(family: str, params: int, error: float) -> dict:
        return {"family": family, "option": "w", "value": params, "params": params, "train_error": error}

    members = [member("a", 30, 0.001), member("a", 10, 0.5), member("a", 20, 0.009), member("b", 5, 0.2)]
    found = thresholds(members, 0.01)
    assert (found["a"]["params"], found["b"]) == (20, None)


def test_finished_points_are_not_run_again(settings, here, undrawn, tmp_path) -> None:
    first = sweep(settings, tmp_path / "out", overrides={"seeds": [0]}, workers=1)
    assert len(here) == 1 + 3
    again = sweep(settings, tmp_path / "out", overrides={"seeds": [0]}, workers=1)
    assert len(here) == 4
    assert again == first
    # Another seed: its points only; another recipe in the same folder: all, and the figures show the new ones.
    sweep(settings, tmp_path / "out", workers=1)
    assert [name for name in here[4:] if "seed0" in name] == []
    other = sweep(settings, tmp_path / "out", overrides={"seeds": [0], "recipe.lr": 1e-6}, workers=1)
    assert other["points"][0]["test_error"] != first["points"][0]["test_error"]
    assert len(Store(tmp_path / "out").results()) == 3 + 3 + 3


def test_a_point_that_fails_is_recorded_and_the_others_go_on(settings, here, tmp_path, zoo_bench) -> None:
    settings.write_text(BASE.replace("seeds", BROKEN))
    flags = ("sweep", settings, "-o", tmp_path / "out", "--set", "seeds=[0]", "--workers", 1)
    outcome = zoo_bench(*flags)
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1] == "zoo-bench: 1 point(s) failed: broken_nan_seed0"
    results = {r.options["family"]: r for r in read_results(tmp_path / "out" / "results.jsonl")}
    assert results["broken"].status == "error"
    assert "the loss is nan at step 0" in results["broken"].error
    assert results["broken"].evidence == "untrained"
    assert {r.status for name, r in results.items() if name != "broken"} == {"ok"}
    assert (tmp_path / "out" / "error_over_params.png").exists()
    # The same command tries the failed one alone.
    before = len(here)
    assert zoo_bench(*flags, "--json").code == 1
    assert [name for name in here[before:] if name.startswith("widths/")] == ["widths/broken_nan_seed0"]


def test_a_network_that_cannot_be_counted_is_a_point_that_fails(settings, here, undrawn, tmp_path) -> None:
    settings.write_text(BASE.replace("seeds", BROKEN.replace("[nan]", "[build, memory]")))
    document = sweep(settings, tmp_path / "out", overrides={"seeds": [0]}, workers=1)
    assert document["failed"] == ["broken_build_seed0", "broken_memory_seed0"]
    results = {str(r.options.get("how")): r for r in read_results(tmp_path / "out" / "results.jsonl")}
    assert "cannot be made" in results["build"].error
    assert (results["memory"].status, results["memory"].measurements["params"].value) == ("oom", 4 * 12 + 12)


def test_the_budget_is_printed_and_nothing_is_trained(settings, here, undrawn, tmp_path, zoo_bench) -> None:
    out = tmp_path / "out"
    outcome = zoo_bench("sweep", settings, "-o", out, "--dry-run", "--workers", 2)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0].startswith("6 of 6 points are left to train; costs of one image of 1x4x32x32")
    assert [line.split()[0] for line in lines[2:8]] == [p.name for p in expand(load_sweep(settings))]
    assert "with 2 worker(s)" in lines[-1]
    assert here == ["time_steps"]
    assert not out.exists()
    document = json.loads(zoo_bench("sweep", settings, "-o", out, "--dry-run", "--json").out)
    row = document["estimates"][2]
    assert (row["point"], row["params"], row["macs"]) == ("wide_2_seed3", 302, 32 * 32 * 9 * 32)
    assert row["seconds"] > 0
    assert row["memory_bytes"] > 1 << 20
    assert document["core_seconds"] == pytest.approx(sum(one["seconds"] for one in document["estimates"]))
    # What is done needs no budget.
    sweep(settings, out, overrides={"seeds": [0]}, workers=1)
    assert budget(settings, out)["points_left"] == 3


def test_times_lie_on_a_line_and_workers_share_them() -> None:
    assert budgeting._on_line([(10, 1.0), (30, 3.0)], 20) == pytest.approx(2.0)
    assert budgeting._on_line([(10, 1.0)], 20) == 1.0
    estimates = [Estimate(None, Costs({}, None), seconds, None) for seconds in (2.0, 3.0, 2.0, 1.0)]
    assert [wall_seconds(estimates, workers) for workers in (1, 2, 4, 9)] == [8.0, 4.0, 3.0, 3.0]


@pytest.mark.thorough
def test_two_workers_in_processes_of_their_own_give_what_one_here_gives(
    settings, here, undrawn, tmp_path, monkeypatch
) -> None:
    overrides = {"families": [{"name": "wide", "model": "tiny_net", "option": "width", "values": [2, 4]}], "seeds": [0]}
    sweep(settings, tmp_path / "one", overrides=overrides, workers=1)
    monkeypatch.setattr(calls_of_children, "run_isolated", run_isolated)
    sweep(settings, tmp_path / "two", overrides=overrides, workers=2)
    one, two = numbers(tmp_path / "one"), numbers(tmp_path / "two")
    assert len(one) == 2
    assert one == two


def command(settings: Path, out: Path, *flags: str) -> list[str]:
    base = [sys.executable, "-m", "benchmark.cli", "--plugin", str(TINY), "sweep", str(settings), "-o", str(out)]
    return [*base, "--set", "seeds=[0]", *flags]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.thorough
def test_kill_9_of_the_whole_sweep_and_the_same_command_goes_on(settings, here, undrawn, tmp_path) -> None:
    long = {
        "families": [{"name": "wide", "model": "tiny_net", "option": "width", "values": [2]}],
        "recipe.max_steps": 300,
        "recipe.checkpoint_every": 10,
        "seeds": [0],
    }
    flags = [f"{key}={json.dumps(value)}" for key, value in long.items()]
    flags = [part for flag in flags for part in ("--set", flag)]
    with subprocess.Popen(
        command(settings, tmp_path / "out", *flags), env=environment(), stderr=subprocess.DEVNULL
    ) as child:
        deadline = time.monotonic() + 90
        while not (states := list((tmp_path / "out").glob("points/*/state.pt"))) and time.monotonic() < deadline:
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    # The point's process ends with the sweep's: its step stays where it is.
    time.sleep(0.3)
    step = read_state(states[0].parent).step
    assert 0 < step < 300
    assert not (tmp_path / "out" / "results.jsonl").exists()
    time.sleep(0.2)
    assert read_state(states[0].parent).step == step

    sweep(settings, tmp_path / "out", overrides=long, workers=1)
    log = read_lines(states[0].parent / "log.jsonl")
    assert [line["kind"] for line in log].count("start") == 1
    sweep(settings, tmp_path / "whole", overrides=long, workers=1)
    assert numbers(tmp_path / "out") == numbers(tmp_path / "whole")


def test_a_point_killed_before_its_first_checkpoint_begins_again(settings, here, undrawn, tmp_path) -> None:
    one = {"families": [{"name": "wide", "model": "tiny_net", "option": "width", "values": [2]}], "seeds": [0]}
    first = sweep(settings, tmp_path / "out", overrides=one, workers=1)
    # What such a kill leaves: a log that has begun, neither checkpoint nor record.
    (tmp_path / "out" / "results.jsonl").unlink()
    (state,) = (tmp_path / "out").glob("points/*/state.pt")
    state.unlink()
    again = sweep(settings, tmp_path / "out", overrides=one, workers=1)
    assert again["points"][0]["failure"] is None
    assert again["points"][0]["test_error"] == first["points"][0]["test_error"]


@pytest.mark.slow
def test_ray_gives_what_processes_give(settings, tmp_path) -> None:
    pytest.importorskip("ray")
    for name, flags in (("local", ["--workers", "1"]), ("ray", ["--engine", "ray", "--workers", "2"])):
        done = subprocess.run(
            command(settings, tmp_path / name, *flags), env=environment(), capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
    local, ray = numbers(tmp_path / "local"), numbers(tmp_path / "ray")
    assert len(local) == 3
    assert local == ray


def test_without_ray_the_engine_is_refused_in_one_line(settings, tmp_path, zoo_bench, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    outcome = zoo_bench("sweep", settings, "-o", tmp_path / "out", "--engine", "ray")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].endswith("pip install 'zoo-bench[ray]', or use --engine local.")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_cluster_that_does_not_answer_is_one_line(settings, tmp_path, zoo_bench, monkeypatch, address: str) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace())
    outcome = zoo_bench("sweep", settings, "-o", tmp_path / "out", "--engine", "ray", "--address", address)
    assert outcome.code == 2
    assert f"--address {address}: no Ray cluster answers (" in outcome.err.splitlines()[-1]


def test_two_sweeps_in_one_folder_are_refused(settings, tmp_path, zoo_bench) -> None:
    (tmp_path / "out").mkdir()
    with lock_of(tmp_path / "out" / "sweep"):
        outcome = zoo_bench("sweep", settings, "-o", tmp_path / "out")
    assert outcome.code == 2
    assert "another sweep is running" in outcome.err


def test_a_named_recipe_and_overrides_of_it(settings, tmp_path) -> None:
    (tmp_path / "short.yaml").write_text("{model: unet, dataset: tiny, max_steps: 5, batch_size: 2, lr: 1e-2}")
    families = BASE[BASE.index("families") :]
    settings.write_text(f"recipe: short.yaml\noverrides: {{loss: [{{name: mse}}], schedule.warmup: 2}}\n{families}")
    plan = load_sweep(settings, {"recipe.schedule.warmup": 4})
    assert plan.recipe_name == "short"
    recipe = expand(plan)[0].recipe
    assert (recipe.model, recipe.max_steps, recipe.schedule.warmup) == ("tiny_net", 5, 4)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds:", "seed:", "widths.yaml: unknown key 'seed'; did you mean seeds?"),
        ("option: width, values: [4, 2]", "optoin: width, values: [4]", "unknown key 'families.optoin'; did you mean"),
        ("max_steps: 12", "max_stps: 12", "widths.yaml: recipe: unknown key 'max_stps'; did you mean max_steps?"),
        ("lr: 1e-2", "lr: fast", "widths.yaml: recipe: lr: Input should be a valid number"),
        ("values: [1]", "values: []", "widths.yaml: families.1: narrow: option and values belong together"),
        ("values: [4, 2]", "values: [4, 4]", "a value occurs twice"),
        ("option: width, values: [4, 2]", "option: widht, values: [4]", "no option 'widht'; did you mean width?"),
        ("values: [1]", "values: [one]", "tiny_net: option width='one' does not fit; expected width: int"),
        ("model: tiny_net, option: width, values: [1]", "model: vdn_w8, option: width, values: [1]", "vdn_w8"),
        ("name: narrow", "name: wide", "two have the same name"),
        ("seeds: [3, 0]", "seeds: [3, 3]", "expected different seeds"),
        ("error: mse", "error: msssim", "plot.error msssim needs msssim[perchannel] among evaluation.metrics"),
        ('["psnr[rgb]"]', '["psnr[rgb]", "psnrr"]', "no metric called 'psnrr'"),
        ("  dataset: tiny", "  dataset: tinny", "tinny"),
        ("seeds:", "overrides: {seed: 1}\nseeds:", "seed: families, seeds or threads of the sweep decide it"),
        ("crop: 16", "crop: 400", "crop: 400 needs 800x800 pixels"),
        ("vanished: 1e-3", "vanished: 0", "plot.vanished: Input should be greater than 0"),
    ],
)
def test_bad_input_is_one_line(settings, here, tmp_path, zoo_bench, old: str, new: str, message: str) -> None:
    assert old in BASE
    settings.write_text(BASE.replace(old, new, 1))
    outcome = zoo_bench("sweep", settings, "-o", tmp_path / "out")
    assert (outcome.code, outcome.out) == (2, ""), outcome.err
    assert message in outcome.err.splitlines()[-1]
    assert not (tmp_path / "out" / "results.jsonl").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--set", "recipe.max_stps=4"], "unknown key 'max_stps'; did you mean max_steps?"),
        (["--set", "recipe.lr=fast"], "--set: recipe key lr=fast: Input should be a valid number"),
        (["--set", "recipe.seed=4"], "--set recipe.seed: families, seeds"),
        (["--set", "threads=none"], "--set threads=none"),
        (["--set", "plot.eror=mse"], "unknown key 'eror'; did you mean error?"),
        (["--set", "nonsense"], "--set nonsense: expected KEY=VALUE"),
        (["--address", "auto"], "--address auto: only --engine ray has an address"),
        (["--engine", "dask"], "'dask' is not one of"),
        (["--workers", "0"], "0 is not in the range"),
    ],
)
def test_bad_flags_are_one_line(settings, here, tmp_path, zoo_bench, flags: list[str], message: str) -> None:
    outcome = zoo_bench("sweep", settings, "-o", tmp_path / "out", *flags)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err.splitlines()[-1]


def test_a_missing_sweep_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no file at double_descent_tyo.*did you mean double_descent_toy"):
        load_sweep("double_descent_tyo")
    assert load_sweep("double_descent_toy").name == "double_descent_toy"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom benchmark.cli import cli\n"
        "assert 'Train and test a grid' in CliRunner().invoke(cli, ['sweep', '--help']).output\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'matplotlib', 'ray', 'yaml', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True)


# --- networks side by side, and the choice of a learning rate ---------------------------------------------------

ARENA = BASE.replace(
    """families:
  - {name: wide, model: tiny_net, option: width, values: [4, 2]}
  - {name: narrow, model: tiny_net, option: width, values: [1]}
seeds: [3, 0]
""",
    """search: {lr: [3e-2, 1e-2, 1e-5], max_steps: 6, limit: 2}
families:
  - {name: four, model: tiny_net, options: {width: 4}}
  - {name: one, model: tiny_net, options: {width: 1}, seeds: [3]}
seeds: [3, 0]
""",
).replace("validation: {every: 1000}", "validation: {split: held, every: 1000}")


@pytest.fixture
def arena(settings) -> Path:
    settings.write_text(ARENA)
    return settings


def test_each_network_gets_the_rate_that_the_rule_finds(arena, here, undrawn, tmp_path) -> None:
    document = sweep(arena, tmp_path / "out", workers=1)
    assert document["failed"] == []
    searches = read_lines(tmp_path / "out" / "points" / "search.jsonl")
    assert {line["seed"] for line in searches} == {3}
    for family in ("four", "one"):
        tried = {line["lr"]: line["score"] for line in searches if line["family"] == family}
        assert {1e-5, 1e-2} <= tried.keys()
        assert missing_rates(load_sweep(arena).sweep.search, tried) == []
    results = read_results(tmp_path / "out" / "results.jsonl")
    assert sorted((r.options["family"], r.options["seed"]) for r in results) == [("four", 0), ("four", 3), ("one", 3)]
    for result in results:
        own = {line["lr"]: line["score"] for line in searches if line["family"] == result.options["family"]}
        best = max(own, key=own.get)
        assert result.training["lr"] == best
        assert {one["lr"]: one["score"] for one in result.training["search"]} == own
        assert [one["lr"] for one in result.training["search"] if one["chosen"]] == [best]
        assert result.training["lr_rule"] == "best psnr[rgb] on held after 6 steps, of 1e-05, 0.01, 0.03"
        assert result.training["steps"] == 12
        assert result.training["validation"][-1][0] == 12
        assert result.weights["recipe_digest"] == result.training["recipe_digest"]
    assert len({result.training["recipe_digest"] for result in results}) == 1
    # The same command trains nothing.
    before = len(here)
    assert sweep(arena, tmp_path / "out", workers=1)["points"] == document["points"]
    assert len(here) == before


class NewestFirst:
    """An executor of one worker that takes the request that came last."""

    workers = 1

    def __init__(self, workers: int, threads: int) -> None:
        self.threads = threads

    def run(self, call, requests, listen, weights=""):
        ended = set()
        while left := [request for request in requests if request.key not in ended]:
            ended.add(left[-1].key)
            yield left[-1], call.isolated(left[-1], threads=self.threads, on_event=lambda event: None)

    def close(self) -> None:
        pass


@pytest.mark.thorough
def test_a_network_is_trained_when_its_own_search_is_over_and_the_order_changes_nothing(
    arena, here, undrawn, tmp_path, monkeypatch
) -> None:
    sweep(arena, tmp_path / "usual", workers=1)
    monkeypatch.setattr("benchmark.sweeping.session.LocalExecutor", NewestFirst)
    here.clear()
    sweep(arena, tmp_path / "newest", workers=1)
    names = [name.partition("/")[2] for name in here if "/" in name]
    assert names.index("one_seed3") < min(names.index(name) for name in names if name.startswith("search_four"))
    usual, newest = (
        {(r.options["family"], r.options["seed"]): (r.key, r.training["search"]) for r in Store(folder).results()}
        for folder in (tmp_path / "usual", tmp_path / "newest")
    )
    assert usual == newest


def test_requests_that_come_while_others_run_are_run_too(monkeypatch) -> None:
    def isolated(request, **more) -> Outcome:
        time.sleep(0.02)
        return Outcome("ok", value=request)

    requests = [1]
    seen = []
    for request, outcome in LocalExecutor(2, 1).run(SimpleNamespace(isolated=isolated), requests, lambda *event: None):
        assert outcome.value == request
        seen.append(request)
        requests += [request + 1, request + 10] if request < 3 else []
    assert (seen[0], sorted(seen)) == (1, sorted(requests))
    assert list(LocalExecutor(2, 1).run(SimpleNamespace(isolated=isolated), [], lambda *event: None)) == []


def test_the_choice_is_the_best_score_and_of_equal_ones_the_smallest_rate() -> None:
    search = Search(lr=[0.1, 0.01, 1.0], max_steps=1)
    assert choose(search, {0.01: 20.0, 0.1: 21.0, 1.0: 20.5}) == 0.1
    assert choose(search, {0.01: None, 0.1: 21.0, 1.0: 21.0}) == 0.1
    assert choose(search, {0.01: None, 0.1: None, 1.0: None}) == 0.01


def test_a_search_walks_from_the_middle_to_the_better_neighbour_until_both_are_worse() -> None:
    search = Search(lr=[1, 2, 3, 4, 5, 6], max_steps=1)
    truth = {1: 10.0, 2: 12.0, 3: 11.0, 4: 9.0, 5: 8.0, 6: 50.0}
    tried: dict[float, float | None] = {}
    rounds = []
    while missing := missing_rates(search, tried):
        rounds.append(missing)
        tried |= {rate: truth[rate] for rate in missing}
    assert (rounds, choose(search, tried)) == ([[3, 4], [2], [1]], 2)
    # To the end of the grid, and away from rates that fail.
    assert missing_rates(search, {3: 1.0, 4: 2.0, 5: 3.0, 6: 4.0}) == []
    assert missing_rates(search, {3: None, 4: None}) == [1, 2]
    assert missing_rates(Search(lr=[1, 2], max_steps=1), {}) == [1, 2]


def test_families_are_trained_one_after_the_other_and_other_metrics_train_nothing(
    arena, here, undrawn, tmp_path
) -> None:
    sweep(arena, tmp_path / "out", families=["one"], workers=1)
    assert {r.options["family"] for r in read_results(tmp_path / "out" / "results.jsonl")} == {"one"}
    sweep(arena, tmp_path / "out", workers=1)
    states = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "points").rglob("weights.safetensors")}
    more = {"evaluation.metrics": ["psnr[rgb]", "ssim[gaussian11,rgb]"]}
    sweep(arena, tmp_path / "out", overrides=more, workers=1)
    results = Store(tmp_path / "out").results()
    assert sum("ssim[gaussian11,rgb]" in result.measurements for result in results) == 3
    assert {file: file.stat().st_mtime_ns for file in states} == states
    with pytest.raises(UserError, match=r"--family onne: the sweep has no such family; did you mean one\?"):
        sweep(arena, tmp_path / "out", families=["onne"])


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("split: held, ", "split: test, ", "the validation split is test, the test split"),
        ("lr: [3e-2, 1e-2, 1e-5]", "lr: [1e-2, 1e-2]", "expected different rates"),
        ("seeds: [3]}", "seeds: [7]}", "seeds must be among the sweep's"),
        ("seeds: [3]}", "seeds: [0]}", "seeds must include 3"),
        ("{width: 1}", "{width: 1}, option: width", "option and values belong together"),
        ("model: tiny_net, options: {width: 1}", "model: vdn_w8", "vdn_w8 is a denoise_rgb model"),
    ],
)
def test_an_unfair_arena_is_refused(arena, tmp_path, zoo_bench, old, new, what) -> None:
    assert old in ARENA
    arena.write_text(ARENA.replace(old, new))
    outcome = zoo_bench("sweep", arena, "-o", tmp_path / "out")
    assert (outcome.code, outcome.out) == (2, "")
    assert what in outcome.err.splitlines()[-1]


def test_the_rate_of_a_search_cannot_be_set(arena, tmp_path, zoo_bench) -> None:
    outcome = zoo_bench("sweep", arena, "--set", "recipe.lr=0.1", "-o", tmp_path / "out")
    assert (outcome.code, "the sweep's search decides it" in outcome.err) == (2, True)
