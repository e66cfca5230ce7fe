"""Two sets of records: who belongs to whom, which verdict on which evidence, from where they are read."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmark import run
from benchmark.cli.printing import echo_lines
from benchmark.conditions import Limits
from benchmark.regression.baseline import Kept, read_baseline, write_baseline
from benchmark.regression.comparing import compare, deviation
from benchmark.regression.gate import Report, check
from benchmark.regression.matching import pair_up, rows_to_compare
from benchmark.regression.rendering import (
    comparison_markdown,
    comparison_text,
    github_annotations,
    report_markdown,
    report_text,
    write_junit,
)
from benchmark.regression.sources import ResultSet, open_set
from benchmark.regression.thresholds import Counts, Thresholds
from benchmark.regression.timing import ratio_of_intervals, ratio_of_samples, verdict_of
from benchmark.results.fingerprint import take_fingerprint
from benchmark.results.records import digest_of
from benchmark.results.store import read_results
from tests.conftest import TINY
from tests.sample_records import under
from zoo import UserError, plugins
from zoo.card import default_input


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the records of two tiny models, one with scores."""
    plugins.load_file(TINY)
    out = tmp_path_factory.mktemp("out")
    quick = {"isolate": False, "sizes": ["dataset"], "limits": Limits(seconds=0.3)}
    run("tiny", models="tiny_free,tiny_net", out=out, **quick)
    return out


def in_memory(results, scores=None, samples=None, name="set", scenes=None) -> ResultSet:
    return ResultSet(
        name, list(results), lambda r: (scores or {}).get(r.model, {}), lambda r: samples or {},
        scenes_of=lambda r: scenes or {},
    )  # fmt: skip


def changed(result, id: str, **fields):
    """Return a record in which one measurement is another."""
    one = result.measurements[id].model_copy(update=fields)
    return result.model_copy(update={"measurements": {**result.measurements, id: one}})


def verdicts(before, after, **beside) -> dict[str, str]:
    found = compare(before, after, **beside).findings
    return {finding.measurement: finding.verdict for finding in found}


def one_of(folder, model: str):
    (result,) = [r for r in read_results(folder / "results.jsonl") if r.model == model]
    return result


def test_a_set_is_the_same_as_itself(folder) -> None:
    comparison = compare(open_set(str(folder)), open_set(str(folder / "results.jsonl")))
    assert list(comparison.counts) == ["same"]
    assert {"psnr[rgb]", "macs", "params", "output_fingerprint", "output_shape", "input_shape@12mp", "record"} <= {
        finding.measurement for finding in comparison.findings
    }


def test_counts_are_exact_and_have_a_direction(folder) -> None:
    result = one_of(folder, "tiny_net")
    value = result.measurements["macs"].value
    for other, verdict in ((value - 1, "better"), (value + 1, "worse"), (value, "same")):
        found = verdicts(in_memory([result]), in_memory([changed(result, "macs", value=other)]))
        assert found.pop("macs") == verdict
        assert set(found.values()) == {"same"}
    within = Thresholds(counts=Counts(tolerance=0.01))
    assert verdicts(in_memory([result]), in_memory([changed(result, "macs", value=value + 1)]), limits=within)[
        "macs"
    ] == ("same")


@pytest.mark.parametrize(
    ("id", "fields", "words"),
    [
        ("psnr[rgb]", {"version": 2, "value": 11.0}, "version 1 of the definition before, 2 after"),
        ("psnr[rgb]", {"definition": "something else", "value": 11.0}, "defined before as"),
        ("macs", {"input_shape": [1, 4, 48, 48], "value": 1}, "input 1x4x32x32 before, 1x4x48x48 after"),
        ("macs", {"unit": "FLOP"}, "in 'FLOP' after"),
    ],
)
def test_other_definitions_and_sizes_are_not_comparable(folder, id: str, fields, words: str) -> None:
    result = one_of(folder, "tiny_free")
    findings = compare(in_memory([result]), in_memory([changed(result, id, **fields)])).findings
    (finding,) = [one for one in findings if one.measurement == id]
    assert finding.verdict == "not comparable"
    assert words in finding.evidence


def with_scores(result, values, scenes=None):
    """Return a set with these scores; ``scenes``: that of each image, by default one of its own."""
    scores = {str(i): {"psnr[rgb]": value} for i, value in enumerate(values)}
    other = changed(result, "psnr[rgb]", value=float(np.mean(values)))
    shown = {str(i): scene for i, scene in enumerate(map(str, range(len(values))) if scenes is None else scenes)}
    return in_memory([other.model_copy(update={"n": len(values)})], {result.model: scores}, scenes=shown)


def psnr_of(before, after):
    (finding,) = [one for one in compare(before, after).findings if one.measurement == "psnr[rgb]"]
    return finding


@pytest.mark.parametrize(("scenes", "words"), [
    ("aaaabbbbcccc", "12 images, 3 scenes: too few for an interval, so the tolerance of 0.0025 alone decides"),
    ("", "12 images, scenes unknown: measure again for an interval, so the tolerance of 0.0025 alone decides"),
])  # fmt: skip
def test_with_few_or_unknown_scenes_the_tolerance_alone_decides(folder, scenes: str, words: str) -> None:
    result = one_of(folder, "tiny_free")
    hard = np.arange(19.5, 31.5)  # the mean is 25
    before = with_scores(result, hard, scenes)
    wave = np.where(np.arange(12) % 2, 1.0, -1.0)
    for change, verdict in (
        (0 * hard, "same"),
        (0.001 + 0 * hard, "same"),
        (wave - 0.1, "worse"),
        (wave + 0.1, "better"),
    ):
        found = psnr_of(before, with_scores(result, hard + change, scenes))
        assert found.verdict == verdict
        assert (found.change.low, found.change.num_scenes) == (None, len(set(scenes)) or None)
        assert (words in found.evidence) == (verdict != "same")
    report = check(before, with_scores(result, hard - 3.0, scenes))
    assert [one.measurement for one in report.failures] == ["psnr[rgb]"]


def test_images_of_one_scene_count_as_one(folder) -> None:
    """Six images each of eight scenes: what looks sure over 48 images is not over the scenes."""
    result, rng = one_of(folder, "tiny_free"), np.random.default_rng(1)
    hard, shift = rng.normal(25, 4, 48), np.repeat([0.9, -0.7, 0.8, -0.6, 1.0, -0.5, 0.7, 0.1], 6)
    own = psnr_of(with_scores(result, hard), with_scores(result, hard + shift))
    assert (own.verdict, own.change.num_scenes) == ("better", 48)
    scenes = np.repeat(list("abcdefgh"), 6)
    found = psnr_of(with_scores(result, hard, scenes), with_scores(result, hard + shift, scenes))
    assert (found.verdict, found.change.n, found.change.num_scenes) == ("same", 48, 8)
    assert "over 48 images, 8 scenes: not significant" in found.evidence
    # What is known on one side holds for the same images of a record of an earlier version.
    assert psnr_of(with_scores(result, hard, ""), with_scores(result, hard + shift, scenes)) == found


def test_scores_grouped_by_another_rule_are_not_comparable(folder) -> None:
    result = one_of(folder, "tiny_free")
    hard = np.arange(12.0)
    before = with_scores(result, hard, "aabbccddeeff")
    found = psnr_of(before, with_scores(result, hard + 1, "aaabbbcccddd"))
    assert found.verdict == "not comparable"
    assert "4 scenes after, 6 before: grouped by another rule" in found.evidence
    assert psnr_of(before, with_scores(result, hard, "aaabbbcccddd")).verdict == "same"


def test_a_baseline_keeps_the_scenes(folder, tmp_path) -> None:
    result = one_of(folder, "tiny_free")
    values, scenes = [20.0, 21.0, 22.0, 23.0], {"0": "a", "1": "a", "2": "b", "3": "b"}
    scores = {str(i): {id: value for id in result.spec.metrics} for i, value in enumerate(values)}
    means = {id: one.model_copy(update={"value": 21.5}) if one.kind == "score" else one
             for id, one in result.measurements.items()}  # fmt: skip
    record = result.model_copy(update={"num_scenes": 2, "measurements": means})
    write_baseline(tmp_path / "new.jsonl", [Kept(record, scores, {}, scenes)])
    (kept,) = read_baseline(tmp_path / "new.jsonl")
    assert kept.scenes == scenes
    write_baseline(tmp_path / "old.jsonl", [Kept(record, scores, {})])
    assert read_baseline(tmp_path / "old.jsonl")[0].scenes == {}
    text = (tmp_path / "new.jsonl").read_text()
    (tmp_path / "new.jsonl").write_text(text.replace('"3": "b"', '"3": "c"'))
    with pytest.raises(UserError, match="its scenes are not those that the record counts"):
        read_baseline(tmp_path / "new.jsonl")


def test_scores_are_judged_image_by_image(folder) -> None:
    result, rng = one_of(folder, "tiny_free"), np.random.default_rng(0)
    hard = rng.normal(25, 4, 30)
    before = with_scores(result, hard)
    for shift, spread, verdict in ((-0.3, 0.2, "worse"), (0.3, 0.2, "better"), (0, 0.2, "same"), (0.001, 0, "same")):
        noise = rng.normal(0, 1, 30)
        after = with_scores(result, hard + shift + spread * (noise - noise.mean()))
        comparison = compare(before, after)
        (finding,) = [one for one in comparison.findings if one.measurement == "psnr[rgb]"]
        assert finding.verdict == verdict, finding.evidence
        assert finding.change.low <= finding.change.value <= finding.change.high
        assert "30 images" in finding.evidence


def test_scores_without_images_are_compared_by_their_means(folder) -> None:
    result = one_of(folder, "tiny_free")
    value = result.measurements["psnr[rgb]"].value
    for factor, verdict in ((1 - 1e-3, "worse"), (1 + 1e-3, "better"), (1 + 1e-6, "same")):
        after = in_memory([changed(result, "psnr[rgb]", value=value * factor)])
        findings = compare(in_memory([result]), after).findings
        (finding,) = [one for one in findings if one.measurement == "psnr[rgb]"]
        assert (finding.verdict, "means only" in finding.evidence) == (verdict, True)


def test_scores_of_other_images_or_protocols_are_not_comparable(folder) -> None:
    result = one_of(folder, "tiny_free")
    others = (
        {"spec": result.spec.model_copy(update={"dataset_digest": "other"})},
        {"protocol": result.protocol.model_copy(update={"version": 2})},
        {"n": 3},
    )
    for fields in others:
        found = verdicts(in_memory([result]), in_memory([result.model_copy(update=fields)]))
        assert found["psnr[rgb]"] == "not comparable"
        assert found["macs"] == "same"


def test_times_are_compared_on_the_same_machine_only(folder) -> None:
    result = one_of(folder, "tiny_free")
    slower = changed(result, "relative_latency", value=2.0)
    elsewhere = slower.model_copy(update={"environment": result.environment.model_copy(update={"machine": "another"})})
    threads = slower.model_copy(update={"spec": under(result.spec, threads=64)})
    for other in (elsewhere, threads):
        found = verdicts(in_memory([result]), in_memory([other]))
        assert {found[id] for id in ("relative_latency", "latency_ms", "peak_rss_bytes")} == {"not comparable"}
        assert found["macs"] == "same"


def test_times_are_ratios_of_relative_latencies(folder) -> None:
    result, rng = one_of(folder, "tiny_free"), np.random.default_rng(0)
    kernel = list(rng.normal(9, 0.1, 40))

    def timed(factor: float):
        samples = {"latency_ms": [factor * k for k in kernel], "calibration_ms": kernel}
        return in_memory([changed(result, "relative_latency", value=factor)], samples={"": samples})

    for factor, verdict in ((2.0, "worse"), (0.5, "better"), (1.01, "same")):
        findings = {one.measurement: one for one in compare(timed(1.0), timed(factor)).findings}
        found = findings["relative_latency"]
        assert (found.verdict, found.change.value) == (verdict, pytest.approx(factor))
        assert findings["latency_ms"].verdict == verdict
        assert findings["latency_ms"].judged_by == "relative_latency"


def test_a_time_of_cores_that_lay_elsewhere_only_warns(folder) -> None:
    result, kernel = one_of(folder, "tiny_free"), list(np.random.default_rng(0).normal(9, 0.1, 40))

    def timed(factor: float, exchange: float | None):
        samples = {"latency_ms": [factor * k for k in kernel], "calibration_ms": kernel}
        samples |= {} if exchange is None else {"exchange_ms": [exchange] * 40}
        return in_memory([changed(result, "relative_latency", value=factor, tainted=())], samples={"": samples})

    for before, after, passes in ((0.2, 0.21, False), (0.2, 1.5, True), (None, 1.5, False)):
        report = check(timed(1.0, before), timed(1.4, after))
        assert report.passes is passes
        (found,) = [one for one in report.comparison.findings if one.measurement == "relative_latency"]
        assert found.verdict == "worse"
        assert found.warnings == (
            ("the machine's cores lay elsewhere: they exchanged data in 0.2 ms before, 1.5 ms after",) if passes else ()
        )


def test_the_interval_of_a_ratio_is_that_of_95_percent(monkeypatch) -> None:
    monkeypatch.setattr("benchmark.regression.timing.BETWEEN_RUNS", 0.0)
    n = 2000
    before, after = (np.exp(np.random.default_rng(seed).normal(0, 0.1, n)).tolist() for seed in (0, 1))
    found = ratio_of_samples((before, [1.0] * n), (after, [1.0] * n))
    deviation = 0.1 * math.sqrt(2 * math.pi / 2 / n)  # of the difference of two medians of normal logarithms
    # 2 x 1.96 of it (90 %: 3.29, 99 %: 5.15).
    assert math.log(found.high / found.low) / deviation == pytest.approx(3.92, rel=0.12)


def test_the_interval_of_a_ratio_shrinks_with_samples_but_not_below_what_runs_differ_by() -> None:
    rng = np.random.default_rng(0)

    def width(n: int) -> float:
        sides = [(np.exp(rng.normal(0, 0.1, n)), np.ones(n)) for _ in range(2)]
        found = ratio_of_samples(*sides)
        return found.high - found.low

    assert width(10) > width(1000) > 2 * 1.96 * 2**0.5 * 0.0149
    assert ratio_of_samples(([1.0] * 4, [1.0] * 4), ([1.0] * 40, [1.0] * 40)) is None
    known = ratio_of_intervals((1, 0.9, 1.1), (2, 1.8, 2.2))
    assert known.value == pytest.approx(2)
    assert verdict_of(known, 0.1) == "worse"
    assert verdict_of(known, 0.1, higher_is_better=True) == "better"
    assert verdict_of(known, 2.0) == "same"


def test_failures_are_told_once(folder) -> None:
    result = one_of(folder, "tiny_free")
    failed = result.model_copy(update={"status": "error", "error": "it broke", "measurements": {}, "fingerprint": None})
    assert verdicts(in_memory([result]), in_memory([failed]))["record"] == "failed now"
    assert verdicts(in_memory([failed]), in_memory([result]))["record"] == "fixed now"
    assert verdicts(in_memory([failed]), in_memory([failed]))["record"] == "same"
    assert "missing" not in verdicts(in_memory([result]), in_memory([failed])).values()


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_record_edited_by_hand_is_not_compared(folder, tmp_path, side: str) -> None:
    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    edited = json.dumps({**json.loads(lines[0]), "seconds": 1.25})
    other = tmp_path / "results.jsonl"
    other.write_text("\n".join([edited, *lines[1:]]) + "\n", encoding="utf-8")
    sets = [open_set(str(folder)), open_set(str(other))]
    comparison = compare(*(sets if side == "after" else reversed(sets)))
    (found,) = [finding for finding in comparison.findings if finding.verdict != "same"]
    assert (found.measurement, found.verdict) == ("record", "not comparable")
    assert f"{other}, record 1 ({side})" in found.evidence
    assert not check(*(sets if side == "after" else reversed(sets))).passes


def test_measurements_and_records_that_come_and_go(folder) -> None:
    free, net = one_of(folder, "tiny_free"), one_of(folder, "tiny_net")
    fewer = free.model_copy(update={"measurements": {k: v for k, v in free.measurements.items() if k != "macs"}})
    assert verdicts(in_memory([free]), in_memory([fewer]))["macs"] == "missing"
    assert verdicts(in_memory([fewer]), in_memory([free]))["macs"] == "new"
    both, one = in_memory([free, net]), in_memory([free])
    assert [f.model for f in compare(both, one).findings if f.verdict == "missing"] == ["tiny_net"]
    assert [f.model for f in compare(one, both).findings if f.verdict == "new"] == ["tiny_net"]


def test_new_code_is_the_same_model_and_the_newest_record_counts(folder) -> None:
    result = one_of(folder, "tiny_free")
    other = result.spec.model_copy(update={"code": "rewritten", "weights_digest": "f" * 64})
    rewritten = result.model_copy(update={"spec": other, "key": other.key()})
    (pair,) = pair_up([result], [rewritten])
    assert (pair.before.result, pair.after.result) == (result, rewritten)
    assert [row.result for row in rows_to_compare([result, rewritten])] == [rewritten]
    # With several numbers of threads, like belongs to like.
    more = result.model_copy(update={"spec": under(result.spec, threads=64)})
    pairs = pair_up([result, more], [more, result])
    assert all(pair.before.result.spec.conditions == pair.after.result.spec.conditions for pair in pairs)
    assert len(pairs) == 2
    # With one each, the numbers may differ: their counts do not.
    (pair,) = pair_up([result], [more])
    assert pair.after.result == more


class Net(nn.Module):
    def __init__(self, scale: float = 1.0, noisy: bool = False) -> None:
        super().__init__()
        self.scale, self.noisy = scale, noisy

    def forward(self, x):
        y = nn.functional.pixel_shuffle(x.repeat(1, 3, 1, 1), 2) * self.scale
        return y + torch.rand_like(y) if self.noisy else y


def test_a_fingerprint_tells_networks_apart_but_not_their_rounding() -> None:
    spec = default_input("raw2rgb")
    first = take_fingerprint(Net(), spec)
    assert first == take_fingerprint(Net(), spec)
    assert first.output_shape == [1, 3, 64, 64]
    rounded = take_fingerprint(Net(1 + 1e-6), spec)
    assert first.sha256 != rounded.sha256
    assert deviation(first, rounded) < 1e-4
    assert deviation(first, take_fingerprint(Net(1.01), spec)) > 1e-3
    # Draws inside a network come from a seed, and the caller's own draws go on undisturbed.
    state = torch.get_rng_state()
    assert take_fingerprint(Net(noisy=True), spec) == take_fingerprint(Net(noisy=True), spec)
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(ValueError, match="NaN"):
        take_fingerprint(Net(float("nan")), spec)


def git(folder: Path, *arguments: str) -> None:
    own = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *own, *arguments], cwd=folder, check=True, capture_output=True)


def test_revisions_are_read_with_what_lies_beside_the_records(folder, tmp_path, monkeypatch) -> None:
    results = tmp_path / "leaderboards" / "results"
    results.parent.mkdir(parents=True)
    subprocess.run(["cp", "-r", str(folder), str(results)], check=True)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "records")
    (results / "results.jsonl").unlink()
    monkeypatch.chdir(tmp_path)
    for name in ("HEAD", "HEAD:leaderboards/results", "HEAD:leaderboards/results/results.jsonl"):
        found = open_set(name)
        assert [result.model for result in found.results] == ["tiny_free", "tiny_net"]
        assert len(found.scores_of(found.results[0])) == 4
        assert found.samples_of(found.results[0])[""]["latency_ms"]
    with pytest.raises(UserError, match="revision HEAD has no nowhere"):
        open_set("HEAD:nowhere")
    with pytest.raises(UserError, match="'v9' is no git revision"):
        open_set("v9:leaderboards/results")
    with pytest.raises(UserError, match="nor a git revision"):
        open_set("v9")


def test_folders_and_files_without_records_are_named(tmp_path) -> None:
    with pytest.raises(UserError, match=r"no \*\.jsonl in this folder"):
        open_set(str(tmp_path))
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UserError, match=r"empty\.jsonl: no records"):
        open_set(str(tmp_path / "empty.jsonl"))


def test_compare_prints_text_markdown_and_json(zoo_bench, folder, tmp_path) -> None:
    other = tmp_path / "other"
    subprocess.run(["cp", "-r", str(folder), str(other)], check=True)
    lines = [json.loads(line) for line in (other / "results.jsonl").read_text().splitlines()]
    lines[1]["measurements"]["params"]["value"] += 7
    lines[1]["digest"] = digest_of(lines[1])
    (other / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    outcome = zoo_bench("compare", folder, other, "--changes")
    assert outcome.code == 0
    assert "tiny_net on tiny test" in outcome.out
    assert "params  worse" in outcome.out
    assert "macs" not in outcome.out
    assert "macs" in zoo_bench("compare", folder, other).out
    markdown = zoo_bench("compare", folder, other, "--markdown", "--changes").out
    assert "| tiny_net on tiny test | `params` | ▼ worse |" in markdown
    document = json.loads(zoo_bench("compare", folder, other, "--json").out)
    assert document["verdicts"]["worse"] == 1
    assert [f["measurement"] for f in document["findings"] if f["verdict"] == "worse"] == ["params"]
    outcome = zoo_bench("compare", folder, tmp_path / "nowhere")
    assert outcome.code == 2
    assert "nowhere: no such file or folder" in outcome.err


HOSTILE = "a\n::error title=forged::b\x1b]0;owned\x07\u202e|<img src=x>[c](javascript:d)"
UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\u202e]")


@pytest.fixture
def hostile(folder) -> Report:
    """A gate's report on records whose texts are hostile, and which fail."""
    result = one_of(folder, "tiny_net")
    before = result.model_copy(update={"model": f"::{HOSTILE}", "measurements": {}})
    after = before.model_copy(update={"status": "error", "error": HOSTILE})
    gone = before.model_copy(update={"options": {"x": HOSTILE}})
    return check(in_memory([before, gone], name=HOSTILE), in_memory([after], name=HOSTILE))


def test_texts_of_records_make_no_line_of_a_report(hostile, capsys) -> None:
    echo_lines(report_text(hostile, HOSTILE))
    echo_lines(comparison_text(hostile.comparison, changes_only=False))
    text = capsys.readouterr().out
    assert "failed now" in text
    assert not [line for line in text.splitlines() if line.lstrip().startswith("::")]
    assert not UNSEEN.search(text)


def test_texts_of_records_are_no_annotations_and_no_xml_of_their_own(hostile, tmp_path) -> None:
    lines = github_annotations(hostile, HOSTILE)
    assert [line.partition(" ")[0] for line in lines] == ["::error", "::error", "::notice"]
    assert not [line for line in lines if UNSEEN.search(line) or "\n" in line or line.count("::") < 2]
    # The title ends where the first "::" stands: a record's own are escaped there.
    assert all("error" in line.partition("title=")[2].partition("::")[0] for line in lines[:2])
    write_junit(hostile, tmp_path / "report.xml")
    text = (tmp_path / "report.xml").read_text(encoding="utf-8")
    assert not UNSEEN.search(text)
    assert len(ET.fromstring(text).findall(".//failure")) == 2


def test_texts_of_records_are_no_markup_in_markdown(hostile) -> None:
    for text in (report_markdown(hostile, HOSTILE), comparison_markdown(hostile.comparison, changes_only=False)):
        assert not UNSEEN.search(text)
        outside_code = re.sub("`[^`]*`", "", text)
        assert "[c](" not in outside_code
        assert "<img" not in outside_code
        assert not [line for line in text.splitlines() if line.startswith("::")]


@pytest.mark.parametrize("text", ["{", "[1]", '{"": {"latency_ms": ["a"], "calibration_ms": [1.0]}}', '{"": {}}'])
def test_damaged_samples_of_timings_are_named(folder, tmp_path, text: str) -> None:
    shutil.copytree(folder, tmp_path / "out")
    for file in (tmp_path / "out" / "timings").glob("*.json"):
        file.write_text(text)
    found = open_set(str(tmp_path / "out"))
    with pytest.raises(UserError, match=r"timings/.*\.json: no samples of timings; was it damaged"):
        compare(found, found)


def test_names_are_escaped_in_markdown(folder) -> None:
    result = one_of(folder, "tiny_net").model_copy(update={"model": "a|b<script>`", "measurements": {}})
    text = comparison_markdown(compare(in_memory([result]), in_memory([])), changes_only=True)
    (row,) = [line for line in text.splitlines() if "missing" in line and line.startswith("| ")]
    assert "<script>" not in row
    assert row.replace("\\|", "").count("|") == 5
