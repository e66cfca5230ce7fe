"""The gate: what breaks a build, what only warns, how it is told; and that noise alone breaks nothing."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from benchmark import run
from benchmark.conditions import Limits
from benchmark.config import read_settings
from benchmark.metrics import METRICS
from benchmark.regression.baseline import read_baseline, write_baseline
from benchmark.regression.gate import check
from benchmark.regression.sources import ResultSet, open_baseline, open_set
from benchmark.regression.thresholds import Thresholds, Timings
from benchmark.types import SCHEMA
from tests.conftest import TINY
from zoo import UserError, plugins, register_model
from zoo.card import MODELS

ROOT = Path(__file__).parent.parent
ACTION = ROOT / ".github" / "actions" / "zoo-bench-check" / "action.yml"


class Gained(nn.Module):
    """A floor without parameters: scored, and spoilt by ``gain``."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x):
        return nn.functional.interpolate(x[:, :3] * self.gain, scale_factor=2)


@pytest.fixture
def models(monkeypatch):
    """Register two models whose insides can be changed; return what to change."""
    plugins.load_file(TINY)
    monkeypatch.setattr(MODELS, "_items", dict(MODELS._items))
    state = {"layers": 3, "gain": 1.0}

    @register_model(task="raw2rgb")
    def gated_net() -> nn.Module:
        inner = [nn.Conv2d(4, 4, 3, padding=1) for _ in range(state["layers"] - 1)]
        return nn.Sequential(*inner, nn.Conv2d(4, 12, 3, padding=1), nn.PixelShuffle(2))

    @register_model(task="raw2rgb")
    def gated_floor() -> nn.Module:
        return Gained(state["gain"])

    return state


def measured(out: Path, names: str = "gated_net,gated_floor") -> ResultSet:
    run("tiny", models=names, out=out, isolate=False, sizes=["none"])
    return open_set(str(out))


def failures(report) -> dict[tuple[str, str], str]:
    return {(one.model, one.measurement): one.verdict for one in report.failures}


def test_the_same_code_passes(models, tmp_path) -> None:
    report = check(measured(tmp_path / "a"), measured(tmp_path / "b"))
    assert report.passes
    assert not report.warnings
    assert list(report.comparison.counts) == ["same"]


def test_a_lost_layer_fails_though_it_makes_the_counts_better(models, tmp_path) -> None:
    before = measured(tmp_path / "a")
    models["layers"] = 2
    report = check(before, measured(tmp_path / "b"))
    found = failures(report)
    assert {name for name, _ in found} == {"gated_net"}
    assert {found["gated_net", id] for id in ("params", "macs", "flops@12mp", "weight_bytes")} == {"better"}
    assert found["gated_net", "output_fingerprint"] == "not comparable"
    (evidence,) = [one.evidence for one in report.failures if one.measurement == "params"]
    assert evidence.startswith(f"{2 * 148 + 444:,} -> {148 + 444:,}")
    # Who only cares about costs that rise may say so.
    tolerant = Thresholds.model_validate({"counts": {"breaks_on": "worse"}, "fingerprints": {"action": "ignore"}})
    assert check(before, open_set(str(tmp_path / "b")), tolerant).passes


def test_a_drop_of_the_scores_fails_and_a_rise_does_not(models, tmp_path) -> None:
    models["gain"] = 0.5
    dark = measured(tmp_path / "dark", "gated_floor")
    models["gain"] = 0.9
    bright = measured(tmp_path / "bright", "gated_floor")
    by_verdict = Thresholds.model_validate({"fingerprints": {"action": "warn"}})
    worse, better = (check(*sets, by_verdict) for sets in ((dark, bright), (bright, dark)))
    one, other = (failures(report).get(("gated_floor", "psnr[rgb]")) for report in (worse, better))
    assert sorted([str(one), str(other)]) == ["None", "worse"]
    assert [finding.measurement for finding in worse.warnings] == ["output_fingerprint"]


def test_a_metric_that_means_something_else_fails_as_not_comparable(models, tmp_path, monkeypatch) -> None:
    before = measured(tmp_path / "a", "gated_floor")
    card = METRICS.get("psnr[rgb]")
    halved = dataclasses.replace(card, version=card.version + 1, function=lambda a, b: card.function(a, b) / 2)
    monkeypatch.setitem(METRICS._items, card.id, halved)
    run("tiny", models="gated_floor", out=tmp_path / "b", isolate=False, sizes=["none"], exact=True)
    report = check(before, open_set(str(tmp_path / "b")))
    assert failures(report)["gated_floor", "psnr[rgb]"] == "not comparable"
    (finding,) = [one for one in report.failures if one.measurement == "psnr[rgb]"]
    assert "version 1 of the definition before, 2 after" in finding.evidence


def test_a_record_that_disappears_fails(models, tmp_path) -> None:
    both, one = measured(tmp_path / "a"), measured(tmp_path / "b", "gated_net")
    assert failures(check(both, one)) == {("gated_floor", "record"): "missing"}
    assert check(one, both).passes


def test_a_model_that_fails_now_fails_whatever_the_thresholds(models, tmp_path) -> None:
    before = measured(tmp_path / "a", "gated_net")
    failed = before.results[0].model_copy(update={"status": "oom", "error": "too large", "measurements": {}})
    after = dataclasses.replace(before, results=[failed])
    report = check(before, after, Thresholds.model_validate({"records": {"missing": "ignore"}}))
    assert failures(report)["gated_net", "record"] == "failed now"
    assert check(after, before).passes


def simulation():
    spec = importlib.util.spec_from_file_location("gate_simulation", ROOT / "speed" / "gate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def timed(factor: float, **measurement) -> ResultSet:
    gate = simulation()
    rng = gate.np.random.default_rng(0)
    found = gate.as_set(gate.draw(gate.LEVELS["ordinary"], rng, slower=factor))
    (result,) = found.results
    changed = {id: one.model_copy(update=measurement) for id, one in result.measurements.items()}
    return dataclasses.replace(found, results=[result.model_copy(update={"measurements": changed})])


def test_a_time_that_doubles_fails_on_the_same_machine_and_undisturbed() -> None:
    once, twice = timed(1.0), timed(2.0)
    report = check(once, twice)
    assert failures(report) == {("simulated", "relative_latency"): "worse"}
    assert "2.00x" in report.failures[0].evidence
    assert check(twice, once).passes
    warned = check(once, twice, Thresholds(timings=Timings(action="warn")))
    assert (warned.passes, len(warned.warnings)) == (True, 1)
    disturbed = check(once, timed(2.0, tainted=("others were busy",)))
    assert (disturbed.passes, len(disturbed.warnings)) == (True, 1)
    (result,) = twice.results
    other = result.model_copy(update={"environment": result.environment.model_copy(update={"machine": "there"})})
    elsewhere = check(once, dataclasses.replace(twice, results=[other]))
    assert (elsewhere.passes, elsewhere.warnings) == (True, [])
    assert elsewhere.comparison.count("not comparable") == 1


@pytest.mark.parametrize("level", ["ordinary", "shared"])
def test_noise_alone_raises_no_alarm_and_a_slower_network_is_found(level: str) -> None:
    gate = simulation()
    assert gate.alarms(gate.LEVELS[level], 200, seed=11) <= 2
    assert gate.alarms(gate.LEVELS[level], 200, slower=1.3, seed=12) >= 190


def test_thresholds_are_strict_and_the_defaults_are_all_there(tmp_path) -> None:
    file = tmp_path / "thresholds.yaml"
    for text, message in (
        ("countz: {action: warn}", "unknown key 'countz'; did you mean counts?"),
        ("timings: {tolerence: 0.2}", r"unknown key 'timings\.tolerence'; did you mean tolerance?"),
        ("timings: {action: maybe}", r"timings\.action: Input should be 'fail', 'warn' or 'ignore'"),
        ("scores: {tolerance: -1}", r"scores\.tolerance: Input should be greater than or equal to 0"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=message.replace("?", r"\?")):
            read_settings(file, Thresholds)
    file.write_text("timings: {action: warn}\nignore: ['*/peak_*']")
    assert read_settings(file, Thresholds).timings == Timings(action="warn", tolerance=0.10)


def test_what_is_ignored_must_be_there(models, tmp_path) -> None:
    before = measured(tmp_path / "a", "gated_net")
    models["layers"] = 2
    after = measured(tmp_path / "b", "gated_net")
    assert check(before, after, Thresholds(ignore=["gated_net/*"])).passes
    with pytest.raises(UserError, match="ignore: 'gated_net/mcas' matches no MODEL/MEASUREMENT"):
        check(before, after, Thresholds(ignore=["gated_net/mcas"]))


def test_a_baseline_holds_what_is_needed_and_is_the_same_every_time(models, tmp_path, zoo_bench) -> None:
    out, baseline = tmp_path / "out", tmp_path / "deep" / "base.jsonl"
    limits = Limits(seconds=0.3)
    run("tiny", models="tiny_free,tiny_net", out=out, isolate=False, sizes=["dataset"], limits=limits)
    outcome = zoo_bench("check", "--baseline", baseline, "--results", out, "--update")
    assert (outcome.code, outcome.out.strip()) == (0, f"wrote {baseline}: 2 records")
    first = baseline.read_bytes()
    kept = {entry.result.model: entry for entry in read_baseline(baseline)}
    assert len(kept["tiny_free"].scores) == 4
    exchange = {"exchange_ms"} if torch.get_num_threads() > 1 else set()
    assert set(kept["tiny_net"].samples[""]) == {"latency_ms", "calibration_ms", *exchange}
    assert zoo_bench("check", "--baseline", baseline, "--results", out).code == 0
    assert zoo_bench("check", "--baseline", baseline, "--results", out, "--update").code == 0
    assert baseline.read_bytes() == first


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: lines[:-1], "1 of 2 records are there; was it cut off or edited?"),
        (lambda lines: [lines[0], lines[1][:-40], lines[2]], "line 2: not JSON"),
        (lambda lines: [lines[0].replace('line": 1', 'line": 9'), *lines[1:]], "baseline of format 9"),
        (
            lambda lines: [lines[0], lines[1].replace(f'schema": {SCHEMA}', 'schema": 0'), lines[2]],
            "line 2: schema 0 is too old",
        ),
        (lambda lines: [lines[0], lines[1], "{}"], "line 3: expected a record with scores and samples"),
        (lambda lines: [lines[0], lines[1].replace('"n": 4', '"n": "x"'), lines[2]], "line 2: field n"),
        (lambda lines: ["{}"], "not a baseline"),
        (lambda lines: [], "not a baseline"),
    ],
)
def test_a_damaged_baseline_is_named(models, tmp_path, zoo_bench, damage, message: str) -> None:
    out, baseline = tmp_path / "out", tmp_path / "base.jsonl"
    measured(out)
    zoo_bench("check", "--baseline", baseline, "--results", out, "--update")
    baseline.write_text("\n".join(damage(baseline.read_text().splitlines())) + "\n")
    outcome = zoo_bench("check", "--baseline", baseline, "--results", out)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_missing_files_are_named_and_others_are_not_overwritten(models, tmp_path, zoo_bench) -> None:
    out = tmp_path / "out"
    measured(out)
    outcome = zoo_bench("check", "--baseline", tmp_path / "none.jsonl", "--results", out)
    assert (outcome.code, "no such file; run with --update" in outcome.err) == (2, True)
    outcome = zoo_bench("check", "--baseline", tmp_path / "none.jsonl", "--results", tmp_path / "nowhere")
    assert (outcome.code, "nowhere: no such file or folder" in outcome.err) == (2, True)
    (tmp_path / "thesis.txt").write_text("years of work")
    outcome = zoo_bench("check", "--baseline", tmp_path / "thesis.txt", "--results", out, "--update")
    assert (outcome.code, "exists and is not a baseline" in outcome.err) == (2, True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_check_says_what_broke_and_how_to_accept_it(models, tmp_path, zoo_bench) -> None:
    baseline, worse = tmp_path / "base.jsonl", tmp_path / "worse"
    measured(tmp_path / "good")
    zoo_bench("check", "--baseline", baseline, "--results", tmp_path / "good", "--update")
    models["layers"] = 4
    measured(worse)
    junit, markdown = tmp_path / "reports" / "junit.xml", tmp_path / "report.md"
    arguments = ["check", "--baseline", baseline, "--results", worse]
    outcome = zoo_bench(*arguments, "--junit", junit, "--markdown", markdown, "--github")
    assert outcome.code == 1
    assert "FAILED  gated_net on tiny test" in outcome.out
    assert "740 -> 888 (+20.00%)" in outcome.out
    accept = f"zoo-bench check --baseline {baseline} --results {worse} --update"
    assert f"  {accept}" in outcome.out
    assert "::error title=gated_net%3A params worse::gated_net on tiny test: 740 -> 888 (+20.00%25)" in outcome.out
    suites = ET.parse(junit).getroot()
    assert int(suites.get("failures")) == len(suites.findall(".//failure")) > 3
    assert int(suites.get("tests")) == len(suites.findall(".//testcase")) > 40
    assert accept in markdown.read_text()
    document = json.loads(zoo_bench(*arguments, "--json").out)
    assert document["ok"] is False
    assert {one["action"] for one in document["findings"] if one["model"] == "gated_floor"} == {"ignore"}
    # Accepting shows the change, and then all is well.
    assert "a better value fails too" not in zoo_bench(*arguments).out
    outcome = zoo_bench(*arguments, "--update")
    assert outcome.code == 0
    assert "740 -> 888" in outcome.out
    assert zoo_bench(*arguments).code == 0
    back = zoo_bench("check", "--baseline", baseline, "--results", tmp_path / "good")
    assert (back.code, "a better value fails too" in back.out) == (1, True)


def test_a_baseline_that_cannot_be_read_is_replaced_by_update(models, tmp_path, zoo_bench) -> None:
    out, baseline = tmp_path / "out", tmp_path / "base.jsonl"
    measured(out)
    baseline.write_text('{"zoo_bench_baseline": 0}\n')
    outcome = zoo_bench("check", "--baseline", baseline, "--results", out, "--update")
    assert outcome.code == 0
    assert "nothing to compare with" in outcome.out
    assert len(open_baseline(baseline).results) == 2


def test_the_projects_own_suite_and_baseline_fit_together() -> None:
    from benchmark.running.suite import Suite

    suite = read_settings(ROOT / "configs" / "suites" / "ci.yaml", Suite)
    kept = read_baseline(ROOT / "leaderboards" / "baselines" / "ci.jsonl")
    assert sorted(entry.result.model for entry in kept) == sorted(suite.models)
    assert {(entry.result.n, len(entry.scores), entry.result.status) for entry in kept} == {
        (suite.limit, suite.limit, "ok")
    }
    assert all(entry.result.fingerprint and entry.samples[""]["latency_ms"] for entry in kept)
    assert "configs/suites/ci.yaml" in (ROOT / ".ci" / "run").read_text()


def steps() -> dict[str, dict]:
    return {step["name"]: step for step in yaml.safe_load(ACTION.read_text())["runs"]["steps"] if "name" in step}


def run_step(name: str, inputs: dict[str, str], folder: Path) -> subprocess.CompletedProcess:
    """Run a step of the action as a runner does: inputs by its ``env``, the command by bash -eo pipefail."""
    step = steps()[name]
    declared = yaml.safe_load(ACTION.read_text())["inputs"]
    given = {key: inputs.get(key, one.get("default", "")) for key, one in declared.items()}
    env = {key: value.removeprefix("${{ inputs.").removesuffix(" }}") for key, value in step["env"].items()}
    binaries = folder / "bin"
    binaries.mkdir(exist_ok=True)
    # The command as an installation would give it.
    command = binaries / "zoo-bench"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m benchmark.cli "$@"\n')
    command.chmod(0o755)
    runner = {
        "RUNNER_TEMP": str(folder),
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    script = folder / "step.sh"
    script.write_text(step["run"])
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
        env={**os.environ, **runner, **{key: given[name] for key, name in env.items()}},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.thorough
def test_the_action_measures_and_checks(tmp_path) -> None:
    (tmp_path / "suite.yaml").write_text("dataset: tiny\nmodels: [tiny_free]\nsizes: [none]\nlimit: 2\n")
    inputs = {"plugin": str(TINY), "suite": "suite.yaml", "baseline": "base.jsonl"}
    done = run_step("Measure", inputs, tmp_path)
    assert done.returncode == 0, done.stderr
    missing = run_step("Check", inputs, tmp_path)
    assert (missing.returncode, "no such file; run with --update" in missing.stderr) == (2, True)
    baseline = ["check", "--baseline", "base.jsonl", "--results", "zoo-bench", "--update"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "benchmark.cli", *baseline], cwd=tmp_path, env=env, check=True)
    passed = run_step("Check", inputs, tmp_path)
    assert passed.returncode == 0, passed.stderr
    assert "passes" in (tmp_path / "summary.md").read_text()
    assert f"report={tmp_path}" in (tmp_path / "output").read_text()
    (kept,) = read_baseline(tmp_path / "base.jsonl")
    more = {**kept.result.measurements, "lost": kept.result.measurements["params"]}
    record = kept.result.model_copy(update={"measurements": more})
    write_baseline(tmp_path / "base.jsonl", [dataclasses.replace(kept, result=record)])
    failed = run_step("Check", inputs, tmp_path)
    assert failed.returncode == 1
    assert "::error title=tiny_free%3A lost missing" in failed.stdout


def test_the_action_takes_no_input_as_code() -> None:
    document = yaml.safe_load(ACTION.read_text())
    assert {"plugin", "suite", "models", "dataset", "baseline", "version", "thresholds", "comment"} <= set(
        document["inputs"]
    )
    for step in document["runs"]["steps"]:
        assert "${{" not in step.get("run", "")
        assert "run" not in step or step["shell"] == "bash"
