"""Runs on the tiny dataset: records, failures, resuming, evidence."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark import evaluate
from benchmark import run as run_as_users_do
from benchmark.conditions import Conditions, Limits
from benchmark.datasets import DATASETS
from benchmark.protocols import ZRR
from benchmark.reporting import Reporter
from benchmark.results.store import Store
from benchmark.scoring.evaluation import mean_scores
from tests.conftest import TINY
from zoo import UserError, create_model
from zoo.weights import save_state

pytestmark = pytest.mark.usefixtures("tiny")
SCORES = {"psnr[rgb]", "ssim[gaussian11,rgb]"}


def run(*arguments, **more):
    """Run in this process, with short timings at one size; what processes add is in test_isolation.py."""
    quick = {"isolate": False, "sizes": ["dataset"], "limits": Limits(seconds=0.4)}
    return run_as_users_do(*arguments, **{**quick, **more})


def only(results):
    (result,) = results
    return result


def psnr_by_hand(index: int) -> float:
    """Nearest-neighbour demosaicing of the tiny dataset's image, without the harness."""
    sample = DATASETS.get("tiny").open(Path(), "test")[index]
    counts = sample.input[0, 0].double().numpy() / 1020
    rgb = np.stack([counts[0::2, 0::2], (counts[0::2, 1::2] + counts[1::2, 0::2]) / 2, counts[1::2, 1::2]])
    output = rgb.repeat(2, axis=1).repeat(2, axis=2).clip(0, 1)
    return 10 * math.log10(1 / np.mean((output - sample.target[0].double().numpy()) ** 2))


def test_scores_are_means_of_per_image_scores(tmp_path) -> None:
    result = only(run("tiny", models="tiny_free", out=tmp_path))
    assert (result.status, result.evidence, result.n) == ("ok", "parameter-free", 4)
    expected = [psnr_by_hand(index) for index in range(4)]
    assert result.measurements["psnr[rgb]"].value == pytest.approx(sum(expected) / 4, abs=1e-5)
    lines = [json.loads(line) for line in (tmp_path / result.per_image).read_text().splitlines()]
    assert [line["id"] for line in lines] == ["0", "1", "2", "3"]
    assert [line["scores"]["psnr[rgb]"] for line in lines] == pytest.approx(expected, abs=1e-5)


def test_measurements_have_units_definitions_and_sizes(tmp_path) -> None:
    measurements = only(run("tiny", models="tiny_net", out=tmp_path)).measurements
    assert measurements["params"].value == 4 * 4 * 9 + 4 + 4 * 12 * 9 + 12
    assert measurements["macs"].value == (4 * 4 * 9 + 4 * 12 * 9) * 32 * 32
    assert measurements["macs"].input_shape == [1, 4, 32, 32]
    assert measurements["flops@12mp"].value == 2 * (4 * 4 * 9 + 4 * 12 * 9) * 64 * 96
    assert measurements["flops@12mp"].input_shape == [1, 4, 64, 96]
    assert measurements["conv_output_bytes"].value == 4 * (4 + 12) * 32 * 32
    latency = measurements["latency_ms"]
    assert latency.q1 <= latency.value <= latency.q3
    assert latency.n >= 1
    assert "in the tool's own process" in latency.definition
    assert latency.threads == torch.get_num_threads()
    assert all(m.definition for m in measurements.values())


def test_untrained_models_run_but_get_no_score(tmp_path) -> None:
    result = only(run("tiny", models="tiny_net", out=tmp_path))
    assert (result.evidence, result.status, result.n) == ("untrained", "ok", 4)
    assert not SCORES & set(result.measurements)
    assert "latency_ms" in result.measurements


@pytest.mark.thorough
def test_without_models_untrained_ones_only_cost(tmp_path) -> None:
    results = {result.model: result for result in run("tiny", out=tmp_path, limit=1)}
    assert {"bilinear", "tiny_free", "tiny_net", "hyperunet_64_32_2048"} <= set(results)
    assert "identity" not in results
    assert results["tiny_free"].n == 1
    large = results["hyperunet_64_32_2048"]
    assert (large.n, large.status, large.evidence) == (0, "ok", "untrained")
    assert {"params", "macs", "macs@12mp", "conv_output_bytes@12mp"} <= set(large.measurements)
    assert "latency_ms" not in large.measurements
    assert large.per_image is None


def test_weights_make_a_scored_row(tmp_path) -> None:
    torch.manual_seed(4)
    model = create_model("tiny_net", width=6)
    save_state(tmp_path / "w.safetensors", model.state_dict(), {"model": "tiny_net", "options": '{"width": 6}'})
    weights = {"tiny_net": str(tmp_path / "w.safetensors")}
    result = only(run("tiny", models=["tiny_net"], weights=weights, out=tmp_path / "out"))
    assert (result.evidence, result.options) == ("weights-file", {"width": 6})
    assert set(result.measurements) >= SCORES
    by_hand = evaluate(model, "tiny")
    mean = sum(image["scores"]["psnr[rgb]"] for image in by_hand) / 4
    assert result.measurements["psnr[rgb]"].value == pytest.approx(mean, abs=1e-9)
    with pytest.raises(UserError, match="was written with width=6; leave the option out"):
        run("tiny", models="tiny_net", weights=weights, options={"width": "4"}, out=tmp_path / "out")


def test_weights_that_do_not_fit_stop_the_run_before_it_begins(tmp_path) -> None:
    save_state(tmp_path / "w.safetensors", create_model("tiny_net", width=6).state_dict(), {})
    with pytest.raises(UserError, match=r"tiny_net: .* does not fit: .*of another shape \(0\.weight is"):
        run("tiny", weights={"tiny_net": str(tmp_path / "w.safetensors")}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("how", "status", "message"),
    [
        ("nan", "error", "the model returned NaN or infinite values"),
        ("shape", "error", r"the model returned shape \(1, 3, 64, 63\); expected \(1, 3, 64, 64\)"),
        ("memory", "oom", "MemoryError: as if"),
        ("build", "error", "tiny_broken cannot be built: RuntimeError: cannot be made"),
        ("list", "error", r"^the model returned a list of \(1, 3, 32, 32\), \(1, 3, 64, 64\); .* all_outputs"),
    ],
)
def test_a_failing_model_is_a_record_and_the_others_go_on(tmp_path, how: str, status: str, message: str) -> None:
    results = run("tiny", models="tiny_broken,tiny_free", options={"tiny_broken.how": how}, out=tmp_path)
    broken, free = results
    assert broken.status == status
    assert free.status == "ok"
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(broken.error)
    # The costs that were counted before the failure are kept.
    assert how == "build" or broken.measurements["params"].value == 60
    assert not SCORES & set(broken.measurements)
    assert [record.status for record in Store(tmp_path).results()] == [status, "ok"]


def test_records_are_not_measured_twice_unless_asked(tmp_path) -> None:
    first = only(run("tiny", models="tiny_free", out=tmp_path))
    assert only(run("tiny", models="tiny_free", out=tmp_path)) == first
    assert len(Store(tmp_path).results()) == 1
    again = only(run("tiny", models="tiny_free", out=tmp_path, rerun="always"))
    assert again.key == first.key
    assert len(Store(tmp_path).results()) == 2
    assert len((tmp_path / again.per_image).read_text().splitlines()) == 4


@pytest.mark.parametrize(("rerun", "records"), [("never", 1), ("failed", 2)])
def test_failed_records_are_tried_again_when_asked(tmp_path, rerun: str, records: int) -> None:
    for _ in range(2):
        run("tiny", models="tiny_broken", out=tmp_path, rerun=rerun)
    assert len(Store(tmp_path).results()) == records


@pytest.mark.parametrize(
    "change",
    [
        {"limit": 2},
        {"seed": 1},
        {"metrics": ["psnr[rgb]"]},
        {"metrics": ["mae[rgb]"]},
        {"conditions": Conditions(threads=2)},
        {"conditions": Conditions(precision="bf16")},
        {"conditions": Conditions(channels_last=True)},
        {"sizes": ["dataset", "1mpix"]},
        {"exact": True},
        {"skip_bad": True},
    ],
)
def test_what_decides_a_number_decides_the_key(tmp_path, change: dict) -> None:
    torch.set_num_threads(1)
    plain = only(run("tiny", models="tiny_free", out=tmp_path, limit=1))
    changed = only(run("tiny", models="tiny_free", out=tmp_path, **{"limit": 1, **change}))
    assert changed.key != plain.key
    assert set(change.get("metrics", SCORES)) <= set(changed.measurements)


def test_a_run_continues_behind_the_images_it_has(tmp_path, monkeypatch) -> None:
    from benchmark.scoring import evaluation

    seen: list[str] = []
    original = evaluation.run_sample

    def stop_at_the_third(model, sample, spec):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(sample.id)
        return original(model, sample, spec)

    monkeypatch.setattr(evaluation, "run_sample", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run("tiny", models="tiny_free", out=tmp_path)
    assert Store(tmp_path).results() == []

    def note(model, sample, spec):
        seen.append(sample.id)
        return original(model, sample, spec)

    monkeypatch.setattr(evaluation, "run_sample", note)
    result = only(run("tiny", models="tiny_free", out=tmp_path))
    assert seen == ["0", "1", "2", "3"]
    assert result.n == 4
    assert result.measurements["psnr[rgb]"].value == pytest.approx(sum(map(psnr_by_hand, range(4))) / 4, abs=1e-5)
    assert (tmp_path / result.pictures).exists()


def _command(out: Path, *more: str) -> list[str]:
    run_it = ["run", "--dataset", "tiny", "--models", "tiny_free", "--out", str(out), *more]
    run_it += ["--sizes", "none", "--time-limit", "20"]
    return [sys.executable, "-m", "benchmark.cli", "--plugin", str(TINY), *run_it]


def _wait_for_scores(process: subprocess.Popen, out: Path, count: int) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        lines = [line for file in (out / "scores").glob("*.jsonl") for line in file.read_text().splitlines()]
        if len(lines) >= count:
            return
        time.sleep(0.02)
    raise AssertionError("the run did not get that far")


@pytest.mark.thorough
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_loses_at_most_the_image_in_flight(tmp_path, how: signal.Signals) -> None:
    slow = {**os.environ, "TINY_DELAY": "1.5"}
    process = subprocess.Popen(
        _command(tmp_path),
        env=slow,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background of a script they, and their children, ignore interruptions.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    _wait_for_scores(process, tmp_path, 2)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130, err
        assert "interrupted: 0 record(s) and the scores so far are in" in err
    journal = next((tmp_path / "scores").glob("*.jsonl"))
    before = journal.read_text().splitlines()
    assert 2 <= len(before) <= 3
    done = subprocess.run(_command(tmp_path, "--json"), capture_output=True, text=True, timeout=120, check=True)
    (record,) = json.loads(done.stdout)["results"]
    assert (record["n"], record["status"]) == (4, "ok")
    assert Path(record["per_image"]).read_text().splitlines()[: len(before)] == before


@pytest.mark.thorough
def test_two_runs_at_once_measure_each_record_once(tmp_path) -> None:
    slow = {**os.environ, "TINY_DELAY": "0.1"}
    pair = [subprocess.Popen(_command(tmp_path), env=slow, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(timeout=120) for process in pair] == [0, 0]
    assert len(Store(tmp_path).results()) == 1
    assert len(next((tmp_path / "scores").glob("*.jsonl")).read_text().splitlines()) == 4


def test_a_contact_sheet_shows_four_pictures_per_image(tmp_path) -> None:
    result = only(run("tiny", models="tiny_free", out=tmp_path))
    with Image.open(tmp_path / result.pictures) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 4 * 250
        colours = sheet.convert("RGB").resize((8, 8)).getcolors()
    assert colours is not None
    assert len(colours) > 8


def test_a_run_keeps_separate_pictures_of_the_images_on_the_sheet(tmp_path) -> None:
    result = only(run("tiny", models="tiny_free", out=tmp_path))
    folder = tmp_path / result.gallery
    images = json.loads((folder / "pictures.json").read_text())["images"]
    assert [image["id"] for image in images] == ["0", "1", "2", "3"]
    assert all((folder / file).is_file() for image in images for file in image["files"].values())
    scores = Store(tmp_path).journal(result.key).read()
    assert {image["id"]: image["scores"] for image in images} == scores


def test_the_stand_in_is_announced_and_named(tmp_path) -> None:
    lines: list[str] = []

    class Notes(Reporter):
        def note(self, message: str) -> None:
            lines.append(message)

    run("tiny", models="tiny_free", out=tmp_path, reporter=Notes())
    assert any("no --data-root given; using the embedded stand-in tiny" in line for line in lines)


def test_infinite_scores_are_counted_not_averaged_away() -> None:
    scores = {"0": {"psnr[rgb]": math.inf}, "1": {"psnr[rgb]": 20.0}}
    mean = mean_scores(scores, ["psnr[rgb]"], ZRR)["psnr[rgb]"]
    assert (mean.value, mean.n_inf, mean.finite_mean) == (math.inf, 1, 20.0)
    assert mean.model_dump(mode="json")["value"] == "inf"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "tinny"}, "no dataset called 'tinny'; did you mean tiny"),
        ({"models": "tiny_nett"}, "no model called 'tiny_nett'; did you mean tiny_net"),
        ({"models": "tinny*"}, r"no raw2rgb model matches 'tinny\*'"),
        ({"models": "identity"}, "identity is a denoise_rgb model, tiny needs raw2rgb"),
        ({"metrics": ["psnr[rbg]"]}, r"no metric called 'psnr\[rbg\]'; did you mean psnr\[rgb\]"),
        ({"split": "train"}, "tiny has no split 'train'; expected one of test"),
        ({"limit": 0}, "--limit 0: expected at least 1"),
        ({"options": {"width": "3"}}, r"several models run; write MODEL\.width=3"),
        ({"models": "tiny_net", "options": {"depth": "3"}}, "tiny_net has no option 'depth'"),
        ({"models": "tiny_net", "weights": {"tiny_free": "x"}}, "'tiny_free' is not part of this run"),
        ({"data_root": "/nowhere"}, "no folder at /nowhere"),
        ({"rerun": "sometimes"}, "expected one of never, failed, always"),
        ({"sizes": ["12mpx"]}, "--sizes: no size '12mpx'; did you mean 12mp"),
        ({"conditions": Conditions(precision="fp8")}, "--precision fp8: expected one of fp32, bf16"),
        ({"limits": Limits(memory_bytes=0)}, "--memory-limit 0: expected a number of bytes above 0"),
    ],
)
def test_bad_input_is_named_before_anything_is_measured(tmp_path, arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(**{"dataset": "tiny", "out": tmp_path / "out", **arguments})
    assert not (tmp_path / "out" / "results.jsonl").exists()


def test_evaluate_refuses_untrained_names_and_takes_modules() -> None:
    with pytest.raises(UserError, match="tiny_net is untrained: its scores would mean nothing"):
        evaluate("tiny_net", "tiny")
    assert [image["id"] for image in evaluate("tiny_free", "tiny", limit=3)] == ["0", "1", "2"]


# Full disks, and journals that are not as they were written


class Notes(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


def test_pictures_that_cannot_be_written_end_the_run_and_keep_the_scores(tmp_path) -> None:
    (tmp_path / "images").touch()
    sheet = rf"{tmp_path}/images/tiny/tiny_free_[0-9a-f]{{8}}.png"
    with pytest.raises(UserError, match=rf"{sheet}: cannot be written \(Not a dir"):
        run("tiny", models="tiny_free", out=tmp_path, sizes=["none"])
    assert Store(tmp_path).results() == []
    (journal,) = (tmp_path / "scores").glob("*.jsonl")
    before = journal.read_bytes()
    (tmp_path / "images").unlink()
    assert only(run("tiny", models="tiny_free", out=tmp_path, sizes=["none"])).status == "ok"
    assert journal.read_bytes() == before


def test_a_second_record_leaves_the_pictures_of_the_first(tmp_path) -> None:
    how = {"models": "tiny_free", "out": tmp_path, "sizes": ["none"], "metrics": ["psnr[rgb,aligned]"]}
    first = only(run("tiny", **how))
    before = {name: (tmp_path / name).read_bytes() for name in (first.pictures, first.shift_plot)}
    second = only(run("tiny", **how, conditions=Conditions(channels_last=True)))
    assert {second.pictures, second.shift_plot, second.gallery}.isdisjoint({*before, first.gallery})
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"psnr[rgb]": ', '"psnr[rgb]": 9', "line 2: not as it was written"),
        ('{"id": ', '{"id" ', "line 2: damaged"),
        (', "digest": "', ', "digest": "0', "line 2: not as it was written"),
    ],
)
def test_a_line_that_is_not_as_it_was_written_is_measured_again(tmp_path, old: str, new: str, said: str) -> None:
    first = only(run("tiny", models="tiny_free", out=tmp_path, sizes=["none"]))
    path = tmp_path / first.per_image
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[1].replace(old, new), *lines[2:]]))
    (tmp_path / "results.jsonl").unlink()
    notes = Notes()
    again = only(run("tiny", models="tiny_free", out=tmp_path, sizes=["none"], reporter=notes))
    assert again.status == "ok"
    assert {id: again.measurements[id].value for id in SCORES} == {id: first.measurements[id].value for id in SCORES}
    (note,) = [line for line in notes.lines if str(path) in line]
    assert said in note
    assert "measured again" in note
    assert sorted(path.read_text().splitlines()) == sorted("".join(lines).splitlines())


def test_a_score_out_of_its_range_is_measured_again(tmp_path) -> None:
    first = only(run("tiny", models="tiny_free", out=tmp_path, sizes=["none"]))
    journal = Store(tmp_path).journal(first.key)
    journal.append("0", {"psnr[rgb]": 20.0, "ssim[gaussian11,rgb]": 17.0})
    (tmp_path / "results.jsonl").unlink()
    notes = Notes()
    again = only(run("tiny", models="tiny_free", out=tmp_path, sizes=["none"], reporter=notes))
    assert again.measurements["psnr[rgb]"].value == first.measurements["psnr[rgb]"].value
    assert any("image 0: ssim[gaussian11,rgb] is 17, out of its range" in line for line in notes.lines)


def test_scores_stay_until_a_record_that_is_measured_anew_is_there(tmp_path, monkeypatch) -> None:
    first = only(run("tiny", models="tiny_free", out=tmp_path, sizes=["none"]))
    path = tmp_path / first.per_image
    before = path.read_bytes()
    (tmp_path / "images").rename(tmp_path / "kept")
    (tmp_path / "images").touch()
    with pytest.raises(UserError, match="cannot be written"):
        run("tiny", models="tiny_free", out=tmp_path, sizes=["none"], rerun="always")
    assert path.read_bytes() == before
    (tmp_path / "images").unlink()
    again = only(run("tiny", models="tiny_free", out=tmp_path, sizes=["none"], rerun="always"))
    assert (again.per_image, again.status) == (first.per_image, "ok")
    assert [file.name for file in (tmp_path / "scores").glob("*.jsonl")] == [path.name]
