"""Timings and memory: statistics by hand, the taint rule, ratios, and what ``profile --measure`` prints."""

from __future__ import annotations

import json
import math
import re
import statistics
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmark.conditions import Conditions, Limits
from benchmark.costs.prediction import predict
from benchmark.costs.profiling import profile
from benchmark.host.isolation import Outcome
from benchmark.host.machine import Snapshot
from benchmark.measured import Ceilings, Measured, PassMemory, Prepared, ResidentPeak, Timing
from benchmark.placing import check
from benchmark.timing import session as timing_session
from benchmark.timing.child import measure_latency, measure_memory, measure_model, summary_of
from benchmark.timing.exchange import moved_apart, moved_meanwhile
from benchmark.timing.messages import Job, MemoryAt, PairAt, Reply, Request, SizeEvent, TimedAt, WarmUpAt
from benchmark.timing.roofline import ceilings, roofline
from benchmark.timing.sampling import is_steady, other_cores, quartiles, relative, summarize, taint_reasons
from benchmark.timing.session import as_measurements, measure, measure_profiled
from benchmark.timing.text import measured_text
from tests.conftest import CEILINGS, TINY
from zoo.errors import UserError

QUIET = [10.0, 10.1, 9.9, 10.0, 10.1, 9.9, 10.0, 10.0]


def moment(clock: float, *, busy: float | None = 0.0, steal: float | None = 0.0, own: float = 0.0, mhz: float = 2000.0):
    return Snapshot(clock, busy, steal, own, 0.0, mhz)


# Statistics.


def test_quartiles_are_those_of_linear_interpolation() -> None:
    assert quartiles([1.0, 2.0, 3.0, 4.0, 10.0]) == (2.0, 3.0, 4.0)
    assert quartiles([1.0, 2.0, 3.0, 4.0]) == (1.75, 2.5, 3.25)
    assert quartiles([7.0]) == (7.0, 7.0, 7.0)


def test_the_bootstrap_interval_contains_the_median_and_is_seeded() -> None:
    samples = [float(value) for value in torch.randn(40, generator=torch.Generator().manual_seed(1)).exp()]
    summary = summarize(samples)
    assert summary.median == statistics.median(samples)
    assert min(samples) <= summary.ci_low <= summary.median <= summary.ci_high <= max(samples)
    assert summarize(samples) == summary
    assert summarize(samples, seed=1) != summary
    assert summarize([5.0] * 20) == summarize([5.0] * 20, seed=3)
    assert (summarize([5.0]).ci_low, summarize([5.0]).ci_high) == (None, None)


def test_the_intervals_of_timings_are_those_of_95_percent() -> None:
    n = 2000
    samples = np.random.default_rng(0).normal(100, 1, n)
    deviation = math.sqrt(math.pi / 2 / n)  # of the median of normal samples
    summary = summarize(samples.tolist())
    value, low, high = relative(samples.tolist(), [1.0] * n)
    for width in (summary.ci_high - summary.ci_low, high - low):
        # 2 x 1.96 of it (90 %: 3.29, 99 %: 5.15).
        assert width / deviation == pytest.approx(3.92, rel=0.12)
    assert low < value < high


def test_a_wider_spread_has_a_wider_interval() -> None:
    narrow, wide = ([100 + spread * (index % 7) for index in range(30)] for spread in (0.1, 5))
    width = [summary.ci_high - summary.ci_low for summary in (summarize(narrow), summarize(wide))]
    assert width[0] < width[1]


def test_relative_latency_does_not_change_with_the_machine() -> None:
    model, kernel = [20.0, 21.0, 19.0, 22.0, 20.5], [10.0, 10.2, 9.9, 10.4, 10.1]
    ratio, low, high = relative(model, kernel)
    assert ratio == statistics.median(model) / statistics.median(kernel)
    assert low <= ratio <= high
    assert relative([3 * m for m in model], [3 * k for k in kernel]) == pytest.approx((ratio, low, high))
    assert relative([2 * m for m in model], kernel) == pytest.approx((2 * ratio, 2 * low, 2 * high))
    assert relative(kernel, kernel) == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="expected pairs"):
        relative(model, kernel[:-1])


def test_a_slow_spell_that_hits_both_cancels() -> None:
    kernel = [10.0] * 10 + [20.0] * 10
    assert relative([2 * value for value in kernel], kernel) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("passes", "steady"),
    [([9, 5, 4], False), ([9, 5, 4, 3], False), ([9, 5, 5, 5, 5], True), ([5, 5, 5, 4.8], True), ([], False)],
)
def test_a_warm_up_is_over_when_passes_stop_getting_faster(passes: list[float], steady: bool) -> None:
    assert is_steady(passes) is steady


# Disturbance.


def test_a_quiet_machine_does_not_taint() -> None:
    assert taint_reasons(moment(0), moment(10, busy=20.5, own=20), QUIET, threads=2, cores=2) == []


@pytest.mark.parametrize(
    ("change", "calibration", "threads", "reason"),
    [
        ({"steal": 0.5}, QUIET, 2, r"the hypervisor took 2\.5 % of the machine's time \(limit 2 %\)"),
        ({"busy": 23.0}, QUIET, 2, r"other processes kept 0\.30 cores busy \(limit 0\.20\)"),
        ({"busy": 27.0}, QUIET, 1, r"other processes kept 0\.70 cores busy \(limit 0\.60\)"),
        ({}, [10, 12.5, 7.5, 10, 12.5, 7.5, 10, 10], 2, r"quartiles are \d+ % of its median apart \(limit 10 %\)"),
        ({}, [10, 10, 10, 10, 10.7, 10.7, 10.7, 10.7], 2, r"drifted by \+7 % \(limit 5 %\)"),
        ({"mhz": 1700.0}, QUIET, 2, "the clock fell from 2000 to 1700 MHz"),
        ({}, QUIET, 3, "3 threads on 2 usable cores"),
    ],
)
def test_a_disturbed_machine_taints_with_a_reason(
    change: dict, calibration: list[float], threads: int, reason: str
) -> None:
    after = moment(10, **{"busy": 20.0, "own": 20.0, **change})
    (found,) = taint_reasons(moment(0), after, calibration, threads=threads, cores=2)
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found)


def test_what_the_system_does_not_tell_does_not_taint() -> None:
    before, after = (Snapshot(clock, None, None, clock, None, None) for clock in (0.0, 10.0))
    assert taint_reasons(before, after, QUIET, threads=2, cores=2) == []
    assert other_cores(before, after) is None
    # Ticks of 10 ms say nothing about a moment.
    assert taint_reasons(moment(0), moment(0.1, busy=1.0, steal=1.0), QUIET, threads=2, cores=2) == []


def test_cores_that_lie_elsewhere_taint(tmp_path, monkeypatch) -> None:
    near, apart = [0.2] * 20, [1.5] * 20
    assert moved_meanwhile(near) is None
    assert moved_meanwhile(apart) is None
    assert "0.2 to 1.5 ms" in moved_meanwhile(near[:10] + apart[:10])
    assert moved_meanwhile([0.2, 1.5]) is None
    # The best that was seen is kept in the cache folder.
    monkeypatch.setenv("ZOO_BENCH_CACHE", str(tmp_path / "cache"))
    assert moved_apart(apart, 2) is None
    assert moved_apart(near, 2) is None
    assert moved_apart(apart, 2) == "the machine's cores lay apart: they exchanged data in 1.5 ms, 0.2 ms at best"
    assert moved_apart(near, 2) is None
    assert moved_apart([], 2) is None
    # Other numbers of threads exchange otherwise.
    assert moved_apart(apart, 4) is None
    for file in (tmp_path / "cache" / "ceilings").glob("*exchange*"):
        file.write_text("{")
    assert moved_apart(apart, 2) is None
    assert moved_apart(near, 2) is None
    assert moved_apart(apart, 2)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_exchange_is_timed_with_several_threads(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        pairs: list[PairAt] = []
        timing = measure_latency(torch.nn.Identity(), torch.zeros(1, 4, 8, 8), budget_seconds=0.2, emit=pairs.append)
    finally:
        torch.set_num_threads(before)
    pairs = [event for event in pairs if isinstance(event, PairAt)]
    assert len(timing.exchange_ms) == (timing.latency_ms.n if threads > 1 else 0)
    assert [pair.exchange_ms for pair in pairs] == (timing.exchange_ms or [None] * len(pairs))


# Ceilings.


def test_the_roofline_is_the_slower_of_arithmetic_and_traffic() -> None:
    line = roofline(flops=2 * 10**9, moved_bytes=10**8, latency_ms=40.0, allowed=CEILINGS)
    assert (line.compute_ms, line.bandwidth_ms, line.allowed_ms) == (20.0, 10.0, 20.0)
    assert (line.bound, line.share_of_ceiling) == ("compute", 0.5)
    assert roofline(10**9, 2 * 10**8, 40.0, CEILINGS).bound == "bandwidth"


def test_bf16_has_ceilings_of_its_own_where_the_processor_has_it() -> None:
    fast = Ceilings(gemm_gflops=100.0, copy_gbs=10.0, gemm_bf16_gflops=400.0)
    assert (fast.of("fp32"), fast.of("bf16").gemm_gflops, fast.of("int8")) == (fast, 400.0, None)
    assert CEILINGS.of("bf16") is None
    predicted = SimpleNamespace(moved_bytes=10)
    moved = [timing_session._moved(predicted, Conditions(precision=precision)) for precision in ("fp32", "bf16")]
    assert moved == [10, 5]


def test_moved_bytes_are_what_operations_read_and_write(tiny) -> None:
    pixels = 32 * 32
    predicted = predict("tiny_net", (32, 32), {})
    convs = 4 * (pixels * (4 + 4) + 4 * 4 * 9 + 4) + 4 * (pixels * (4 + 12) + 4 * 12 * 9 + 12)
    others = 4 * pixels * (4 + 4) + 4 * pixels * (12 + 12)
    assert predicted.moved_bytes == convs + others
    assert predicted.flops == 2 * pixels * (4 * 4 * 9 + 4 * 12 * 9)
    assert predicted.output_pixels == 64 * 64


def test_the_workspace_is_what_onednn_holds_beside_the_tensors() -> None:
    from torch import nn

    from benchmark.counting.trace import trace

    planes = torch.empty(1, 64, 32, 32, device="meta")
    plain = trace(nn.Conv2d(64, 64, 3, padding=1, device="meta"), planes)
    size = planes.numel() * 4
    assert plain.peak_activation_bytes == 2 * size
    assert plain.peak_workspace_bytes == 3 * size
    up = trace(nn.ConvTranspose2d(64, 64, 2, stride=2, device="meta"), planes)
    assert up.peak_workspace_bytes == size + 3 * 4 * size


@pytest.mark.thorough
def test_ceilings_are_those_of_this_machine() -> None:
    found = ceilings(1)
    assert found is not None
    assert 1 < found.gemm_gflops < 10_000
    assert 0.1 < found.copy_gbs < 10_000
    # From the cache, to the last digit.
    assert ceilings(1) == found


def test_ceilings_are_measured_once(monkeypatch) -> None:
    calls = []

    def measured(function, arguments, *, threads, **more):
        calls.append(threads)
        return Outcome("ok", CEILINGS.model_dump(mode="json"))

    monkeypatch.setattr("benchmark.host.calls.run_isolated", measured)
    assert ceilings(77) == ceilings(77) == CEILINGS
    assert calls == [77]


# Measuring.


def test_samples_come_in_pairs_and_are_kept(tiny) -> None:
    events = []
    job = Job(model="tiny_net", options={"width": 2})
    timing = measure_latency(job.network(), job.planes([1, 4, 32, 32]), budget_seconds=0.5, emit=events.append)
    pairs = [event for event in events if isinstance(event, PairAt)]
    assert timing.latency_ms.samples == [pair.latency_ms for pair in pairs]
    assert timing.calibration_ms.samples == [pair.calibration_ms for pair in pairs]
    assert timing.latency_ms.warm_up == [event.warm_up_ms for event in events if isinstance(event, WarmUpAt)]
    assert timing.latency_ms.n == len(pairs) >= 1


def test_a_first_pass_longer_than_the_budget_is_the_only_sample(tiny) -> None:
    job = Job(model="tiny_net")
    network, planes = job.network(), job.planes([1, 4, 32, 32])
    latency = measure_latency(network, planes, budget_seconds=1e-9, emit=lambda event: None).latency_ms
    assert (latency.n, latency.cold, latency.complete) == (1, True, False)


def test_a_pass_that_was_too_long_is_not_repeated(tiny) -> None:
    passes = []
    network = Job(model="tiny_net").network()
    network.register_forward_hook(lambda *args: passes.append(1))
    planes = Job(model="tiny_net").planes([1, 4, 32, 32])
    timed = measure_latency(network, planes, budget_seconds=1.0, first_pass_ms=1500.0, emit=lambda event: None)
    latency = timed.latency_ms
    assert (latency.samples, latency.cold, passes) == ([1500.0], True, [])


def test_a_slow_pass_is_timed_once_after_a_warm_up_where_that_is_allowed(tiny) -> None:
    network, planes = Job(model="tiny_net").network(), Job(model="tiny_net").planes([1, 4, 32, 32])
    arguments = {"budget_seconds": 1e-9, "first_pass_ms": 1500.0, "emit": lambda event: None}
    latency = measure_latency(network, planes, cold_after=60.0, **arguments).latency_ms
    assert (latency.n, len(latency.warm_up), latency.cold, latency.complete) == (1, 1, False, False)
    assert latency.median < 1500.0
    assert measure_latency(network, planes, cold_after=1.0, **arguments).latency_ms.cold


def test_every_size_gets_memory_before_time(tiny) -> None:
    events = []
    sizes = {"": [1, 4, 32, 32], "@large": [1, 4, 64, 64]}
    budgets = {"": 0.05, "@large": 0.05}
    request = Request(job=Job(model="tiny_net"), sizes=sizes, budgets=budgets, own_process=False)
    found = measure_model(request, events.append)
    order = [(event.size, type(event)) for event in events if isinstance(event, (MemoryAt, TimedAt))]
    assert order == [("", MemoryAt), ("@large", MemoryAt), ("", TimedAt), ("@large", TimedAt)]
    assert found.timing["@large"].latency_ms.n >= 1
    assert found.timing[""].latency_ms.heap_kept is False


def test_peak_memory_is_what_a_pass_adds(tiny) -> None:
    job = Job(model="tiny_net")
    memory = measure_memory(job.network(), job.planes([1, 4, 1024, 1024]))
    assert memory.peak_rss.input_bytes == 16 << 20
    assert memory.peak_rss.resting_bytes > 16 << 20
    if memory.peak_rss.method.startswith("VmHWM"):
        # At least the last convolution's input and output, without the network's input.
        assert memory.peak_rss_bytes > (16 << 20) + (48 << 20)


@pytest.mark.parametrize(("precision", "channels_last"), [("bf16", False), ("fp32", True)])
def test_precision_and_layout_reach_network_and_planes(tiny, precision: str, channels_last: bool) -> None:
    job = Job(model="tiny_net", conditions=Conditions(precision=precision, channels_last=channels_last))
    planes = job.planes([1, 4, 8, 6])
    with torch.inference_mode():
        output = job.network()(planes)
    assert output.dtype == planes.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    assert planes.is_contiguous(memory_format=torch.channels_last) is channels_last


@pytest.mark.thorough
def test_profile_measure_prints_its_keys(zoo_bench) -> None:
    done = zoo_bench(
        *("--plugin", TINY, "profile", "tiny_net", "--size", "64x64", "--measure"),
        *("--threads", 1, "--time-limit", 1, "--memory-limit", "4GiB", "--json"),
    )
    assert done.code == 0, done.err
    document = json.loads(done.out)
    latency = document["latency_ms"]
    assert {"median", "q1", "q3", "n", "threads", "ci_low", "ci_high", "samples", "complete"} <= set(latency)
    assert latency["q1"] <= latency["median"] <= latency["q3"]
    assert (latency["threads"], latency["n"]) == (1, len(latency["samples"]))
    assert document["relative_latency"] == latency["median"] / document["calibration_ms"]["median"]
    assert document["relative_latency_ci"][0] <= document["relative_latency"] <= document["relative_latency_ci"][1]
    assert document["ms_per_mpix"] == pytest.approx(latency["median"] / (128 * 128 / 1e6))
    assert document["tainted"] is bool(document["taint_reasons"])
    assert document["roofline"]["gemm_gflops"] == 100.0
    assert isinstance(document["peak_rss_bytes"], int)
    assert document["measurement"]["status"] in ("ok", "timeout")
    assert document["macs"] > 0
    measured = read_back(document)
    records = as_measurements(measured, document["input_shape"])
    assert set(records) == {
        "latency_ms",
        "relative_latency",
        "ms_per_mpix",
        "ceiling_share",
        "gemm_share",
        "peak_rss_bytes",
    }
    assert records["ceiling_share"].higher_is_better
    assert records["latency_ms"].ci_low <= records["latency_ms"].value <= records["latency_ms"].ci_high
    assert "relative latency" in measured_text(measured)


def read_back(document: dict) -> Measured:
    """Return the measured part of what ``profile --measure --json`` printed."""
    under = {name: document["measurement"].pop(name) for name in Conditions.model_fields}
    parts = {
        name: {field: document[field] for field in kind.model_fields}
        for name, kind in {"timing": Timing, "memory": PassMemory, "prepared": Prepared}.items()
    }
    own = {name: document[name] for name in ("ms_per_mpix", "roofline", "measurement")}
    own["measurement"] = {**own["measurement"], "under": under}
    return Measured.model_validate({**parts, **own})


def ends(monkeypatch, *outcomes: Outcome) -> list[list[str]]:
    """Let children end as ``outcomes`` say; return the list of the sizes that they are asked for."""
    remaining, asked = list(outcomes), []

    def child(function, arguments, *, on_event, **how):
        asked.append(list(arguments["request"]["sizes"]))
        outcome = remaining.pop(0)
        for event in outcome.events:
            on_event({type(event).__name__: event.model_dump(mode="json")})
        return outcome

    monkeypatch.setattr("benchmark.host.calls.run_isolated", child)
    return asked


def fabricated(monkeypatch, *outcomes: Outcome) -> Measured:
    """Measure tiny_net with children that end as ``outcomes`` say."""
    ends(monkeypatch, *outcomes)
    return measure_profiled(profile("tiny_net"), conditions=Conditions(threads=2))


def test_samples_sent_before_a_hard_end_are_kept(tiny, monkeypatch) -> None:
    read = ResidentPeak(resting_bytes=1, input_bytes=2, method="m")
    memory = PassMemory(cuda_peak_bytes=None, peak_rss_bytes=7, peak_rss=read, pass_ms=5.0)
    events = [MemoryAt(size="", memory=memory), WarmUpAt(size="", warm_up_ms=5.0)]
    events += [PairAt(size="", latency_ms=4.0 + i, calibration_ms=2.0) for i in range(3)]
    timed = Outcome("timeout", error="stopped after the time limit of 3 s", events=events)
    measured = fabricated(monkeypatch, timed)
    assert measured.timing.latency_ms.samples == [4.0, 5.0, 6.0]
    assert (measured.timing.latency_ms.complete, measured.timing.relative_latency) == (False, 2.5)
    assert measured.measurement.status == "timeout"
    assert measured.measurement.error == timed.error
    assert measured.memory.peak_rss_bytes == 7
    assert as_measurements(measured, [1])["latency_ms"].remark == f"timeout: {timed.error}"


def test_a_size_that_ends_the_child_is_marked_and_the_others_are_measured(tiny, monkeypatch) -> None:
    sizes = {"": predict("tiny_net", (32, 32), {}), "@12mp": predict("tiny_net", (64, 64), {})}
    timed = TimedAt(size="", timing=summary_of([2.0] * 20, [1.0] * 20, [2.0]))
    reply = Reply(prepared={}, memory={}, timing={}).model_dump(mode="json")
    asked = ends(
        monkeypatch,
        Outcome("oom", error="killed by the system", events=[SizeEvent(size=""), SizeEvent(size="@12mp")]),
        Outcome("ok", reply, events=[SizeEvent(size=""), timed]),
    )
    measured = measure("tiny_net", sizes)
    assert asked == [["", "@12mp"], [""]]
    assert measured[""].measurement.status == "ok"
    assert measured[""].timing.relative_latency == 2.0
    assert measured["@12mp"].measurement.status == "oom"
    empty = as_measurements(measured["@12mp"], [1])["latency_ms"]
    assert (empty.value, empty.remark) == (None, "oom: killed by the system")


def test_a_pass_that_the_ceilings_make_too_long_is_not_run(tiny) -> None:
    sizes = {"": predict("tiny_net", (1536, 2048), {})}
    state = measure("tiny_net", sizes, longest_pass=0.01)[""].measurement
    assert state.status == "skipped"
    assert "one pass over 1x4x1536x2048 takes at least" in state.error


def test_a_crash_leaves_the_counted_costs_and_the_reason(tiny, monkeypatch) -> None:
    crash = Outcome("error", error="killed by SIGSEGV")
    measured = fabricated(monkeypatch, crash)
    assert (measured.timing, measured.memory, measured.roofline) == (None, None, None)
    assert measured.measurement.status == "error"
    document = profile("tiny_net") | measured.model_dump(mode="json")
    assert document["macs"] > 0
    assert (document["latency_ms"], document["peak_rss_bytes"], document["roofline"]) == (None, None, None)
    (empty,) = as_measurements(measured, document["input_shape"]).values()
    assert (empty.value, empty.remark) == (None, "error: killed by SIGSEGV")
    assert "killed by SIGSEGV" in measured_text(measured)


def test_a_users_mistake_that_the_child_finds_is_one_here(tiny, monkeypatch) -> None:
    mistake = Outcome("error", error="weights do not fit", exception="UserError")
    with pytest.raises(UserError, match="weights do not fit"):
        fabricated(monkeypatch, mistake)


def test_what_does_not_fit_is_not_run_and_says_how_much_it_needs(tiny) -> None:
    found = measure_profiled(profile("tiny_net", size=(3072, 4096)), limits=Limits(memory_bytes=1 << 28))
    measured = found.measurement
    assert (measured.status, found.timing) == ("skipped", None)
    assert measured.error.startswith("not run: input 1x4x3072x4096 needs ")
    assert measured.error.endswith("GiB (predicted), 0.25 GiB are allowed by --memory-limit")
    assert measured.predicted_bytes > 3072 * 4096 * 12 * 4
    # What a pass takes is predicted; the time needs more, and the line says how much of it is what.
    need, process, one = map(float, re.findall(r"([\d.]+) GiB", measured.error)[:3])
    assert one == pytest.approx(measured.predicted_bytes / 2**30, abs=0.01)
    assert need == pytest.approx(process + 1.4 * one, abs=0.02)


def test_less_memory_is_predicted_where_less_is_held(tiny) -> None:
    predicted = predict("tiny_net", (64, 64), {})
    assert predicted.need(Conditions(precision="bf16")) == predicted.need(Conditions()) // 2
    assert predicted.need(Conditions(channels_last=True)) < predicted.need(Conditions())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--memory-limit", "lots"], "--memory-limit lots: expected a size, for example 4GiB"),
        (["--memory-limit", "0"], "--memory-limit 0: expected a size"),
        (["--time-limit", "0"], "--time-limit"),
        (["--precision", "fp8"], "'fp8' is not one of"),
        (["--threads", "0"], "--threads"),
    ],
)
def test_bad_conditions_are_one_line(zoo_bench, flags: list[str], message: str) -> None:
    done = zoo_bench("profile", "plainunet_8", "--measure", *flags)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_a_mistake() -> None:
    with pytest.raises(UserError, match="torch sees no CUDA device here"):
        check(Conditions(device="cuda"))


def test_torch_in_a_child_keeps_to_the_memory_limit(tiny) -> None:
    request = Request(job=Job(model="tiny_net"), sizes={"": [1, 4, 4096, 8192]})
    outcome = measure_model.isolated(request, limits=Limits(memory_bytes=1 << 30, seconds=60))
    assert outcome.status == "oom"


def test_summaries_say_when_they_are_not_complete() -> None:
    assert not summary_of([1.0] * 19, [1.0] * 19, [1.0]).latency_ms.complete
    assert summary_of([1.0] * 20, [1.0] * 20, [1.0]).latency_ms.complete
