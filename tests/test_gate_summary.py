"""What the gate and ``compare`` say of each model: one line, the worst first; details and patterns on demand."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.fitting import width_of
from benchmark.regression.baseline import Kept, write_baseline
from benchmark.regression.comparing import compare
from benchmark.regression.gate import Report, check
from benchmark.regression.rendering import comparison_text, report_text
from benchmark.regression.sources import ResultSet, open_baseline
from benchmark.regression.summary import summaries
from benchmark.regression.thresholds import Thresholds
from benchmark.types import Measurement, Result
from tests.page_records import write_records
from tests.sample_records import make_record, measurement
from zoo import UserError

COUNTS = ("params", "weight_bytes", *(f"{id}{at}" for at in ("", "@1mpix", "@12mp") for id in ("macs", "flops")))
HINT = "every measurement, also FLOPs and other sizes: --details\n"
Change = Callable[[str, Measurement], Measurement | None]


def record(model: str, *, change: Change = lambda id, one: one, **fields) -> Result:
    """Return a record with counts and times at all sizes and two scores; ``change`` replaces or removes some."""
    timed = {"kind": "timing", "higher": False, "n": 60, "q1": 9.0, "q3": 11.0, "ci_low": 9.9, "ci_high": 10.1}
    found = {id: measurement(1_000_000_000, kind="count", higher=False) for id in COUNTS}
    found |= {
        f"{id}{at}": measurement(10.0, **timed) for at in ("", "@12mp") for id in ("latency_ms", "relative_latency")
    }
    found |= {"psnr[rgb]": measurement(25.0, unit="dB"), "ssim[gaussian11,rgb]": measurement(0.8)}
    changed = {id: new for id, one in found.items() if (new := change(id, one)) is not None}
    return make_record(model, evidence="parameter-free", n=12, num_scenes=12, measurements=changed, **fields)


def times(factor: float, *ids: str) -> Change:
    def change(id: str, one: Measurement) -> Measurement:
        return (
            one.model_copy(update={"value": type(one.value)(one.value * factor)})
            if id in ids and one.value is not None
            else one
        )

    return change


def as_set(*records: Result, name: str = "set") -> ResultSet:
    return ResultSet(name, list(records), lambda result: {}, lambda result: {})


def untimed(id: str, one: Measurement) -> Measurement | None:
    return None if id.endswith("@12mp") and one.kind == "timing" else one


GOOD = [record(name) for name in ("alike", "cheaper", "gone", "worse")]
BAD = [
    record("alike", change=untimed),
    record("cheaper", change=times(0.5, *COUNTS)),
    record("worse", change=times(0.98, "psnr[rgb]")),
    record("fresh"),
]


def report(**thresholds) -> Report:
    return check(as_set(*GOOD, name="good"), as_set(*BAD), Thresholds.model_validate(thresholds))


def lines_of(found: Report, **how) -> list[str]:
    return report_text(found, "zoo-bench check --update", **how).splitlines()


def test_each_model_has_one_line_and_the_worst_comes_first() -> None:
    lines = lines_of(report(), room=100)
    assert [" ".join(line.split()) for line in lines[:6]] == [
        "on zrr-standin test:",
        "FAILED gone missing",
        "FAILED worse worse: psnr[rgb] -0.5 dB",
        "FAILED cheaper better: params -50.00%, macs -50.00%",
        "ok fresh new",
        "ok alike 12 same",
    ]
    assert [line for line in lines_of(report()) if line.startswith("FAILED")] == [
        "FAILED  gone on zrr-standin test     missing",
        "FAILED  worse on zrr-standin test    worse: psnr[rgb] -0.5 dB",
        "FAILED  cheaper on zrr-standin test  better: params -50.00%, macs -50.00%",
    ]


def test_a_count_stands_alone_if_only_some_sizes_changed() -> None:
    after = record("cheaper", change=times(2, "flops@12mp", "macs@12mp"))
    (found,) = summaries(check(as_set(GOOD[1]), as_set(after)).decisions)
    assert [change.text.partition(" ")[0] for change in found.changes] == ["macs@12mp"]
    mixed = record("cheaper", change=lambda id, one: times(2, "macs")(id, times(0.5, "flops@12mp")(id, one)))
    (found,) = summaries(check(as_set(GOOD[1]), as_set(mixed)).decisions)
    assert [(change.verdict, change.text.split()[0]) for change in found.changes] == [
        ("worse", "macs"),
        ("better", "flops@12mp"),
    ]


def test_a_model_that_is_missing_everywhere_is_said_once() -> None:
    before = [record("gone", dataset=name) for name in ("sidd", "zrr")] + [
        record("half", dataset=name) for name in "ab"
    ]
    after = [record("half", dataset="a")]
    found = [line for line in lines_of(check(as_set(*before), as_set(*after))) if line.startswith("FAILED")]
    assert [" ".join(line.split()) for line in found] == [
        "FAILED gone on sidd test, zrr test missing",
        "FAILED half on b test missing",
    ]


def test_sizes_that_one_side_never_timed_are_not_compared() -> None:
    for before, after, when in ((GOOD[0], BAD[0], "after"), (BAD[0], GOOD[0], "before")):
        found = check(as_set(before), as_set(after))
        assert found.passes
        assert not found.warnings
        assert found.comparison.counts == {"same": 12, "not comparable": 1}
        assert f"1 timing not compared: never timed at 12mp {when}" in lines_of(found)
    # One time that is lost at a size that was timed is still missing.
    lost = record("alike", change=lambda id, one: None if id == "relative_latency" else one)
    assert [one.measurement for one in check(as_set(GOOD[0]), as_set(lost)).warnings] == ["relative_latency"]


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("psnr[rgb]", {"gone", "cheaper"}),
        ("psnr*", {"gone", "cheaper"}),
        ("cheaper", {"gone", "worse"}),
        ("cheaper/*", {"gone", "worse"}),
        ("[gw]*", {"cheaper"}),
        ("*", set()),
    ],
)
def test_patterns_of_measurements_and_models_are_ignored(pattern: str, left: set[str]) -> None:
    found = report(ignore=[pattern])
    assert {one.model for one in found.failures} == left
    assert any(line.endswith(" ignored") for line in lines_of(found))


def test_a_pattern_that_ignores_nothing_is_an_error() -> None:
    for pattern, words in (
        ("psnr[rbg]", r"matches no MODEL/MEASUREMENT, measurement or model; did you mean psnr\[rgb\]"),
        ("cheeper", "did you mean cheaper"),
        ("latency_ms", "'latency_ms' decides nothing; name relative_latency, which does"),
    ):
        with pytest.raises(UserError, match=words):
            report(ignore=[pattern])


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    """Return a baseline and results that break it."""
    write_baseline(tmp_path / "base.jsonl", [Kept(one, {}, {}) for one in GOOD])
    return tmp_path / "base.jsonl", write_records(tmp_path / "out" / "results.jsonl", BAD)


def test_check_is_brief_and_tells_details_on_demand(zoo_bench, files, tmp_path, monkeypatch) -> None:
    baseline, results = files
    flags = ("check", "--baseline", baseline, "--results", results)
    brief = zoo_bench(*flags, "--junit", tmp_path / "junit.xml")
    assert brief.code == 1
    assert "flops" not in brief.out
    assert HINT in brief.out
    for details in (zoo_bench(*flags, "--details"), zoo_bench("-v", *flags)):
        assert details.code == 1
        assert "flops@12mp    better  1,000,000,000 -> 500,000,000 (-50.00%)" in details.out
        assert details.out.endswith(brief.out.replace(HINT, ""))
    assert len(ET.parse(tmp_path / "junit.xml").getroot().findall(".//failure")) == 1 + 1 + len(COUNTS)
    document = json.loads(zoo_bench(*flags, "--json").out)
    assert (document["failures"], len(document["models"])) == (2 + len(COUNTS), 5)
    assert document["models"][0] == {
        "model": "gone", "places": ["zrr-standin test"], "verdict": "missing", "num_same": 0, "action": "fail",
        "changes": [{"verdict": "missing", "text": ""}],
    }  # fmt: skip
    assert len(document["findings"]) > 40
    for room in (60, 80):
        monkeypatch.setenv("COLUMNS", str(room))
        for more in ((), ("--details",)):
            lines = (
                zoo_bench(*flags, *more).out.split("If this is meant")[0].replace(str(baseline), "base").splitlines()
            )
            assert max(map(width_of, lines)) <= room


def test_check_ignores_on_the_command_line(zoo_bench, files, tmp_path) -> None:
    baseline, results = files
    flags = ("check", "--baseline", baseline, "--results", results)
    passed = zoo_bench(*flags, "--ignore", "gone", "--ignore", "cheaper", "--ignore", "psnr[rgb]")
    assert passed.code == 0
    assert f"{2 + len(COUNTS)} changes ignored" in passed.out
    assert [line.split()[0] for line in passed.out.splitlines()[:2]] == ["ignored", "ignored"]
    # It adds to those of a file.
    (tmp_path / "thresholds.yaml").write_text("ignore: [gone, 'cheaper/*']")
    assert zoo_bench(*flags, "--config", tmp_path / "thresholds.yaml", "--ignore", "psnr*").code == 0
    wrong = zoo_bench(*flags, "--ignore", "psrn")
    assert (wrong.code, wrong.out, len(wrong.err.splitlines())) == (2, "", 1)
    assert "ignore: 'psrn' matches no" in wrong.err
    before = baseline.read_bytes()
    refused = zoo_bench(*flags, "--update", "--ignore", "gone")
    assert (refused.code, "leave --ignore out" in refused.err) == (2, True)
    assert baseline.read_bytes() == before
    assert len(open_baseline(baseline).results) == 4


def test_compare_ends_with_a_line_per_model(zoo_bench, files) -> None:
    whole, short = zoo_bench("compare", *files).out, zoo_bench("compare", *files, "--summary").out
    assert "flops@12mp" in whole
    assert "flops@12mp" not in short
    head, body = short.split("\n\n", 1)
    assert whole.startswith(head)
    assert whole.endswith(body)
    assert [" ".join(line.split()) for line in body.splitlines()[:5]] == [
        "missing gone on zrr-standin test missing",
        "▼ worse worse on zrr-standin test worse: psnr[rgb] -0.5 dB",
        "▲ better cheaper on zrr-standin test better: params -50.00%, macs -50.00%",
        "new fresh on zrr-standin test new",
        "same alike on zrr-standin test 12 same",
    ]
    markdown = zoo_bench("compare", *files, "--summary", "--markdown").out
    assert "| ▼ worse | worse on zrr-standin test | worse: psnr[rgb] -0.5 dB |" in markdown


def test_models_of_almost_one_name_keep_apart_where_room_is_short() -> None:
    names = [f"hyperunet_64_32_2048[rate=0.00{number},decay=0.1] (a label)" for number in range(3)]
    records = [record(name) for name in names]
    for room in (60, 80):
        text = comparison_text(compare(as_set(*records), as_set(*records)), summary_only=True, room=room)
        assert max(map(width_of, text.splitlines())) <= room
        assert len({line for line in text.splitlines() if line.startswith("same")}) == 3
