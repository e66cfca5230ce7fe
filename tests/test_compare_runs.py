"""Sets with several trainings of a network: scores are judged once, on all runs, beside the spread between them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.leaderboard.runs import spread_of, widened
from benchmark.regression.baseline import write_baseline
from benchmark.regression.comparing import compare
from benchmark.regression.gate import check
from benchmark.regression.rendering import comparison_text
from benchmark.regression.sources import ResultSet, open_baseline, open_set
from benchmark.results.paired import paired_difference
from benchmark.results.store import Store
from benchmark.types import Fingerprint
from tests.sample_records import measurement
from tests.test_runs import BASE, sweep_record, trained

OTHER = {"recipe": "mine", "recipe_digest": "bbbb"}


def net(folder: Path, shifts, *, model="net", weights=None, first=0, values=BASE, **more) -> ResultSet:
    """Store one training for each shift of the scores, and return the set."""
    for seed, shift in enumerate(shifts, start=first):
        trained(model, seed, values + shift, folder, weights=weights, **more)
    return open_set(str(folder))


def finding(comparison, id="psnr[rgb]"):
    (found,) = [one for one in comparison.findings if one.measurement == id]
    return found


def test_scores_of_several_seeds_are_judged_once_with_the_spread_between_runs(tmp_path) -> None:
    """A shift that is clear over scenes is not, if the seeds differ by more than it."""
    before = net(tmp_path / "a", (-1.0, 0.0, 1.0))
    little = compare(before, net(tmp_path / "b", (-0.5, 0.5, 1.5), weights=OTHER))
    found = finding(little)
    assert (found.model, found.verdict) == ("net", "same")
    assert (found.before, found.after) == (pytest.approx(BASE.mean()), pytest.approx(BASE.mean() + 0.5))
    assert found.change.runs == (3, 3)
    assert found.change.run_std == pytest.approx(1.0)
    assert found.change.low < 0 < found.change.high
    assert "3 runs before and 3 after, sd 1 dB between runs" in found.evidence
    assert "not significant beside the spread between runs" in found.evidence
    assert little.count("missing") == little.count("new") == 0
    much = finding(compare(before, net(tmp_path / "c", (5.0, 6.0, 7.0), weights=OTHER)))
    assert much.verdict == "better"
    assert "recipe fair (aaaa) -> mine (bbbb)" in much.context
    assert not [text for text in much.context if "weights" in text or "seed" in text]
    # Counts and times are judged once.
    for id in ("params", "latency_ms", "record"):
        assert finding(little, id)


@pytest.mark.parametrize("runs", [(3, 3), (2, 2), (3, 1)])
def test_seeds_alone_are_rarely_called_a_change(runs) -> None:
    """Equal recipes whose seeds move the score by more than scenes do: 5 % of the verdicts may be wrong."""
    rng, scenes = np.random.default_rng(0), list(map(str, range(24)))
    wrong = alone = 0
    for _ in range(400):
        hard = rng.normal(25, 4, 24)
        sides = [[hard + rng.normal(0, 0.5) + rng.normal(0, 0.5, 24) for _ in range(number)] for number in runs]
        difference = paired_difference(*(np.mean(side, axis=0) for side in sides), scenes)
        spread = spread_of([[float(run.mean()) for run in side] for side in sides])
        alone += difference.is_significant
        wrong += widened(difference, spread, *runs).is_significant
    assert wrong / 400 < 0.08
    assert alone / 400 > 0.4


def test_one_run_takes_the_spread_of_the_other_side(tmp_path) -> None:
    before = net(tmp_path / "a", (-1.0, 0.0, 1.0))
    found = compare(before, net(tmp_path / "b", (0.5,), weights=OTHER))
    score = finding(found)
    assert (score.verdict, score.change.runs) == ("same", (3, 1))
    assert "3 runs before and 1 after, sd 1 dB between runs (of those before, taken for both)" in score.evidence
    assert finding(found, "record").verdict == "missing"
    assert "3 runs before, 1 after" in finding(found, "record").evidence
    back = compare(net(tmp_path / "b", ()), before)
    assert "1 run before and 3 after, sd 1 dB between runs (of those after, taken for both)" in finding(back).evidence
    assert finding(back, "record").verdict == "same"


def test_what_is_not_trained_has_no_spread(tmp_path) -> None:
    before = net(tmp_path / "a", (0.0, 0.2, 0.4))
    after = net(tmp_path / "b", (0.5,), evidence="official-weights")
    assert finding(compare(before, after)).change.runs == (3, 0)


def test_one_training_each_says_what_it_does_not_show(tmp_path) -> None:
    before, after = net(tmp_path / "a", (0.0,)), net(tmp_path / "b", (0.5,), first=1)
    found = finding(compare(before, after))
    assert (found.verdict, found.change.runs) == ("better", None)
    assert "one training each: another seed alone may change this" in found.context
    assert "one training each" in comparison_text(compare(before, after), changes_only=True)
    exact = compare(before, before)
    assert list(exact.counts) == ["same"]
    assert finding(exact).evidence.endswith("each of 30 images exactly")


def test_the_same_weights_are_compared_without_a_spread(tmp_path) -> None:
    """A fault of the code that shifts every run alike is seen, however much the seeds differ."""
    shifts = (-1.0, 0.0, 1.0)
    before = net(tmp_path / "a", shifts)
    again = compare(before, net(tmp_path / "b", shifts))
    assert list(again.counts) == ["same"]
    assert "each of 30 images exactly" in finding(again).evidence
    rng = np.random.default_rng(1)
    after = net(tmp_path / "c", shifts, values=BASE - 0.1 + rng.normal(0, 0.05, 30))
    found = finding(compare(before, after))
    assert found.verdict == "worse"
    assert "3 runs, of the same weights before and after" in found.evidence
    assert not check(before, after).passes


def test_the_gate_takes_a_baseline_of_several_runs(tmp_path) -> None:
    before = net(tmp_path / "a", (-0.1, 0.0, 0.1))
    baseline = tmp_path / "baseline.jsonl"
    assert write_baseline(baseline, map(before.kept, before.results)) == 3
    for name, shifts, passes in (
        ("again", (-0.1, 0.0, 0.1), True),
        ("other seeds", (0.1, 0.0, -0.15), True),
        ("worse", (-1.1, -1.0, -0.9), False),
        ("better", (1.1, 1.0, 0.9), True),
    ):
        report = check(open_baseline(baseline), net(tmp_path / name, shifts, weights={"name": name}))
        assert report.passes == passes, name
        assert [one.measurement for one in report.failures] == ([] if passes else ["psnr[rgb]"])


def test_a_run_that_is_gone_or_failed_is_no_silent_loss(tmp_path) -> None:
    before = net(tmp_path / "a", (-0.1, 0.0, 0.1))
    fewer = check(before, net(tmp_path / "b", (-0.1, 0.0)))
    assert {(one.measurement, one.verdict) for one in fewer.failures} == {("record", "missing")}
    assert check(net(tmp_path / "b", ()), before).passes
    after = net(tmp_path / "c", (-0.1, 0.0, 0.1))
    last = after.results[-1]
    failed = last.model_copy(update={"status": "oom", "error": "too large", "measurements": {}})
    broken = replace(after, results=[*after.results[:-1], failed])
    report = check(before, broken)
    assert {(one.measurement, one.verdict) for one in report.failures} == {("record", "failed now")}
    assert [one.verdict for one in check(broken, before).comparison.findings if one.changed] == ["fixed now"]


def test_an_edited_run_is_named(tmp_path) -> None:
    before = net(tmp_path / "a", (-0.1, 0.0, 0.1))
    file = tmp_path / "b" / "results.jsonl"
    net(tmp_path / "b", (-0.1, 0.0, 0.1))
    file.write_text(file.read_text().replace('"seconds": 1.0', '"seconds": 2.0', 1))
    report = check(before, open_set(str(tmp_path / "b")))
    assert [(one.measurement, one.verdict) for one in report.failures] == [("record", "not comparable")]
    assert "record 1 (after)" in report.failures[0].evidence


@pytest.mark.parametrize(("shift", "verdict"), [(-0.05, "same"), (-3.0, "worse")])
def test_with_few_scenes_runs_alone_tell_a_change_from_chance(tmp_path, shift, verdict) -> None:
    values = BASE[:4]
    before = net(tmp_path / "a", (-0.1, 0.0, 0.1), values=values)
    found = finding(compare(before, net(tmp_path / "b", (-0.1, 0.0, 0.1), values=values + shift, weights=OTHER)))
    assert (found.verdict, found.change.low) == (verdict, None)
    assert ("within what runs differ by" in found.evidence) == (verdict == "same")
    assert ("too few for an interval" in found.evidence) == (verdict == "worse")


def test_without_scores_per_image_the_runs_still_count(tmp_path) -> None:
    sets = [
        net(tmp_path / name, (0.0, 0.2, 0.4), values=BASE + shift, weights={"recipe_digest": name})
        for name, shift in (("a", 0.0), ("b", -0.1))
    ]
    bare = [replace(one, scores_of=lambda result: {}, scenes_of=lambda result: {}) for one in sets]
    found = finding(compare(*bare))
    assert found.verdict == "same"
    assert "means only" in found.evidence
    assert "within what runs differ by" in found.evidence


def test_of_a_recipe_that_changed_under_one_name_the_newest_counts(tmp_path) -> None:
    """What an older recipe left in the folder is not compared in place of the newest runs."""
    before = net(tmp_path / "a", (0.0, 0.1, 0.2))
    net(tmp_path / "b", (0.0, 0.1, 0.2))
    after = net(tmp_path / "b", (-2.0, -1.9), weights={"recipe_digest": "cccc"}, created="2026-02-01")
    found = compare(before, after)
    assert finding(found).verdict == "worse"
    assert finding(found).change.runs == (3, 2)
    assert finding(found, "record").verdict == "missing"


def test_two_recipes_in_both_sets_are_paired_by_recipe(tmp_path) -> None:
    sets = []
    for name, shift in (("a", 0.0), ("b", 0.05)):
        net(tmp_path / name, (shift, shift + 0.1), weights={"name": f"{name}.safetensors"})
        sets.append(net(tmp_path / name, (5 + shift, 5.1 + shift), weights={**OTHER, "name": f"{name}2"}))
    found = compare(*sets)
    assert [one.verdict for one in found.findings if one.measurement == "psnr[rgb]"] == ["same", "same"]
    assert not found.count("new")


def test_the_seeds_of_a_sweep_are_one_network(tmp_path) -> None:
    for folder, seeds in (("a", range(3)), ("b", range(3, 6))):
        for seed in seeds:
            sweep_record(tmp_path / folder, "arena", "one", seed, 0.01 * (1 + seed % 3 / 10))
    sets = [open_set(str(tmp_path / name)) for name in ("a", "b")]
    found = finding(compare(*sets))
    assert (found.model, found.change.runs, found.verdict) == ("one[family=one]", (3, 3), "same")
    # What was trained by a sweep and by hand is the same network.
    by_hand = [one.model_copy(update={"training": {}, "options": {}}) for one in sets[1].results[:2]]
    other = finding(compare(sets[0], replace(sets[1], results=by_hand)))
    assert (other.model, other.verdict, other.change.runs) == ("one", "same", (3, 2))


def test_a_failed_point_of_a_sweep_is_told_beside_the_runs(tmp_path) -> None:
    for folder in ("a", "b"):
        for seed in range(3):
            sweep_record(tmp_path / folder, "arena", "one", seed, 0.01 * (1 + seed % 3 / 10))
    before = open_set(str(tmp_path / "a"))
    store = Store(tmp_path / "b")
    (last,) = [one for one in store.results() if one.spec.seed == 2]
    spec = last.spec.model_copy(update={"weights_digest": None})
    counts = {id: one for id, one in last.measurements.items() if one.kind == "count"}
    lost = {"status": "error", "error": "diverged", "evidence": "untrained", "weights": None, "spec": spec}
    store.append(last.model_copy(update={**lost, "per_image": None, "measurements": counts, "created": "2026-03-01"}))
    report = check(before, open_set(str(tmp_path / "b")))
    assert [(one.model, one.verdict) for one in report.failures] == [("one[family=one,seed=2]", "failed now")]
    assert finding(report.comparison).change.runs == (3, 2)


def test_other_weights_of_several_runs_only_warn_by_their_fingerprint(tmp_path) -> None:
    def with_prints(found: ResultSet, value: float) -> ResultSet:
        values = {"mean": value, "rms": 1.0, "std": 1.0}
        shape = {"input_shape": [1, 4, 8, 8], "output_shape": [1, 3, 16, 16]}
        prints = [
            Fingerprint(version=1, values={**values, "mean": value + seed}, sha256=f"{value}{seed}", **shape)
            for seed in range(len(found.results))
        ]
        results = [one.model_copy(update={"fingerprint": own}) for one, own in zip(found.results, prints)]
        by_key = {one.key: one for one in found.results}
        return replace(
            found, results=results, scores_of=lambda one: found.scores_of(by_key[one.key]),
            scenes_of=lambda one: found.scenes_of(by_key[one.key]),
        )  # fmt: skip

    before = net(tmp_path / "a", (-0.1, 0.0, 0.1))
    retrained = net(tmp_path / "b", (-0.1, 0.0, 0.1), weights=OTHER)
    report = check(with_prints(before, 0.0), with_prints(retrained, 1.0))
    assert report.passes
    assert [one.measurement for one in report.warnings] == ["output_fingerprint"]
    assert "trained anew" in report.warnings[0].reported
    # The same weights that compute something else are a fault of the code.
    same = check(with_prints(before, 0.0), with_prints(before, 1.0))
    assert [one.measurement for one in same.failures] == ["output_fingerprint"]
    one_each = [with_prints(net(tmp_path / name, (0.0,), weights={"name": name}), i) for i, name in enumerate("cd")]
    assert [one.measurement for one in check(*one_each).failures] == ["output_fingerprint"]


def test_a_disturbed_time_of_one_run_is_passed_over(tmp_path) -> None:
    before = net(tmp_path / "a", (-0.1, 0.0, 0.1))
    first, *others = net(tmp_path / "b", (-0.1, 0.0, 0.1)).results
    slow = measurement(99.0, kind="timing", higher=False, input_shape=[1, 4, 224, 224], tainted=("load",), n=9)
    first = first.model_copy(update={"measurements": {**first.measurements, "latency_ms": slow}})
    after = replace(before, results=[first, *others])
    found = finding(compare(before, after), "latency_ms")
    assert (found.verdict, found.warnings) == ("same", ())
