"""The paper's tables: its numbers as data, ours beside them, and nothing published in a measured column."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmark.costs.profiling import meta_model
from benchmark.counting.conventions import CONVENTIONS, ptflops_2021
from benchmark.counting.trace import trace
from benchmark.leaderboard import row_costs
from benchmark.leaderboard.pages import stale_tables, write_tables
from benchmark.leaderboard.paper_tables import paper_pages
from benchmark.leaderboard.published import COSTS, Printed, read_publication, read_published
from benchmark.leaderboard.row_costs import RowCosts, compute_costs
from benchmark.results.store import read_folders
from benchmark.types import Measurement, Result
from tests.sample_records import make_record
from zoo import UserError, get_card, list_models

LEADERBOARDS = Path(__file__).parent.parent / "leaderboards"
PAPER = read_publication(LEADERBOARDS / "published" / "2105.08470.yaml")
ROWS = {row.model: (table, row) for table in PAPER.tables for row in table.rows}
DIVISORS = {"params": 1e6, "flops": 1e12, "conv_memory": 2.0**30}
# Where the printed digits are not reproduced; each has a footnote.
DIFFERENCES = {
    "params": {"spade", "dped", "hyperunet_64_32_2048", "hyperunet_32_16_2048", "hyperunet_8_32_4000", "hypervdn_32"},
    "flops": {"unet", "hypervdn_21"},
    "conv_memory": set(),
}


@pytest.fixture(scope="module")
def costs() -> dict[str, RowCosts]:
    return {model: compute_costs(table, row) for model, (table, row) in ROWS.items()}


@pytest.fixture
def known_costs(costs: dict[str, RowCosts], monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the costs of the paper's networks once for all tests that render the whole tables."""
    monkeypatch.setattr("benchmark.leaderboard.row_costs.compute_costs", lambda table, row: costs[row.model])


def test_every_row_is_a_registered_model() -> None:
    assert len(ROWS) == 15
    assert set(ROWS) <= set(list_models())


@pytest.mark.parametrize("cost", COSTS)
def test_costs_print_the_papers_digits_or_are_known_to_differ(costs: dict[str, RowCosts], cost: str) -> None:
    differing = set()
    for model, (table, row) in ROWS.items():
        printed: Printed | None = getattr(row, cost)
        value = getattr(costs[model], cost) / DIVISORS[cost]
        if printed and not printed.agrees(value, may_be_cut=table.costs[cost].may_be_cut):
            differing.add(model)
            assert cost in row.notes, f"{model}, {cost}: no footnote says why"
    assert differing == DIFFERENCES[cost]


@pytest.mark.parametrize(
    ("model", "low", "high"),
    [("pynet", 42.9, 43.0), ("pynet_ca", 44.8, 45.0), ("awnet_4ch", 9.353, 9.447), ("unet", 3.845, 3.855)],
)
def test_tera_flops_at_packed_1536x2048(costs: dict[str, RowCosts], model: str, low: float, high: float) -> None:
    assert ROWS[model][0].size == (1536, 2048)
    assert low <= 2 * costs[model].common.macs / 1e12 <= high
    assert costs[model].flops == 2 * costs[model].common.macs


@pytest.mark.parametrize(
    ("model", "size", "gib"),
    [
        ("pynet", (1440, 1984), "29.7"),
        ("pynet_ca", (1488, 1984), "32.8"),
        ("awnet_4ch", (1488, 1984), "27.8"),
        ("vdn", (1024, 1024), "2.3"),
    ],
)
def test_convolution_memory_is_that_of_forward_at_the_named_size(costs, model: str, size, gib: str) -> None:
    assert ROWS[model][1].conv_memory_size == size
    assert Printed(gib).agrees(costs[model].conv_memory / 2**30)


# params [M], FLOPs [T], memory [GiB] as listed in the networks' specification.
@pytest.mark.parametrize(
    ("model", "params", "flops", "memory"),
    [
        ("hyperunet_64_32_2048", 274.9, 0.695, 3.37),
        ("hyperunet_32_32_2048", 95.5, 0.264, 2.16),
        ("hyperunet_32_16_2048", 91.2, 0.189, 1.75),
        ("hyperunet_8_32_4000", 107.4, 0.118, 1.25),
        ("vdn", 7.817, 9.50, 2.27),
        ("hypervdn_21", 54.97, 1.46, 1.00),
        ("hypervdn_32", 121.0, 2.92, 1.38),
    ],
)
def test_layouts_cost_what_their_specification_says(costs, model: str, params, flops, memory) -> None:
    own = costs[model]
    assert own.params / 1e6 == pytest.approx(params, rel=1e-3)
    # The list leaves out the biases and activations of the hyper-networks, under 0.01 T.
    assert own.flops / 1e12 == pytest.approx(flops, abs=0.0105)
    assert own.conv_memory / 2**30 == pytest.approx(memory, abs=0.006)


def test_ptflops_2021_stands_beside_the_true_macs(costs: dict[str, RowCosts]) -> None:
    assert f"{costs['vdn'].flops / 1e12:.4f}" == "9.5046"
    assert costs["vdn"].method_macs == 8_557_185_466_368
    assert costs["vdn"].common.macs == 7_100_386_246_656


def test_ptflops_2021_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2, stride=2, bias=False))
    result = trace(model.to("meta"), torch.empty(1, 3, 6, 5, device="meta"))
    pixels = 6 * 5
    assert result.macs == pixels * (8 * 3 * 9 + 8 * 4 * 4)
    assert result.output_pixel_macs == pixels * (8 * 3 * 9 + 4 * 8 * 4 * 4)
    assert ptflops_2021(result) == result.output_pixel_macs + 2 * 8 * pixels
    assert CONVENTIONS["flops"].count(result) == 2 * CONVENTIONS["macs"].count(result) == 2 * result.macs


# What the specifications say that ptflops 0.6.4 printed at packed 1536x2048, doubled.
@pytest.mark.parametrize(
    ("model", "tera"), [("pynet", 42.95), ("pynet_ca", 44.94), ("awnet_4ch", 9.43), ("unet", 3.856)]
)
def test_ptflops_2021_is_near_the_real_counter(model: str, tera: float) -> None:
    network = meta_model(get_card(model), {})
    method = getattr(network, "all_outputs", None)
    result = trace(network, torch.empty(1, 4, 1536, 2048, device="meta"), forward=method)
    assert 2 * ptflops_2021(result) / 1e12 == pytest.approx(tera, rel=1e-3)


def test_printed_digits_decide() -> None:
    assert Printed("55.0").decimals == 1
    assert Printed("55.0").agrees(54.96)
    assert not Printed("55.0").agrees(55.06)
    assert not Printed("47").agrees(47.55)
    assert Printed("47").agrees(47.55, may_be_cut=True)
    assert not Printed("47").agrees(48.0, may_be_cut=True)


SMALL = """
source: "A paper"
arxiv: "0000.00000"
remark: ""
tables:
  - id: small
    title: "A table"
    dataset: zrr
    reference: unet_w8
    size: 64x64
    flops_convention: flops
    flops_method: forward
    costs:
      params: {title: Parameters, unit: M, meaning: "number"}
      flops: {title: FLOPs, unit: T, meaning: "2 per MAC"}
      conv_memory: {title: Convolution memory, unit: GiB, meaning: "sum"}
    timing: {id: latency_ms@fullscale, title: CPU time, unit: s, per_megapixel: false, meaning: "one image"}
    quality:
      - {id: psnr, title: PSNR, unit: dB, split: test, metric: "psnr[rgb]"}
    rows:
      - {name: First, model: unet_w8, params: "9.9", flops: null, conv_memory: null, cpu_time: "60",
         quality: {psnr: "21.19"}}
      - {name: Second, model: plainunet_8, params: null, flops: null, conv_memory: null, cpu_time: "5", quality: {}}
"""


def write(folder: Path, text: str = SMALL) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "paper.yaml").write_text(text, encoding="utf-8")
    return folder


def record(model: str, *, psnr: float | None = None, seconds: float | None = None, **more) -> Result:
    measurements = {}
    if psnr is not None:
        measurements["psnr[rgb]"] = Measurement(value=psnr, unit="dB", definition="", kind="score")
    if seconds is not None:
        timing = {"kind": "timing", "input_shape": [1, 4, 2048, 2048], "threads": more.get("threads", 2)}
        timed = Measurement(value=1000 * seconds, unit="ms", definition="", **timing)
        measurements["latency_ms@fullscale"] = timed
    machine, threads, build = more.pop("machine", "m1"), more.pop("threads", 2), more.pop("torch", "2.x")
    usual = {
        "key": f"{model} {machine} {build} {more}",
        "dataset": "zrr",
        "n": 1204,
        "evidence": "trained",
        "data": {},
        "measurements": measurements,
    }
    spec = {"limit": more.pop("limit", None), "split": more.get("split", "test"), "threads": threads, "evaluate": True}
    return make_record(model, spec=spec, environment={"machine": machine, "torch": build}, **{**usual, **more})


def section(page: str, title: str) -> list[list[str]]:
    """Return the cells of one table's rows."""
    lines = page.split(f"## {title}\n\n")[1].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("|:")]


def test_a_real_score_stands_beside_the_papers(tmp_path) -> None:
    page = paper_pages(write(tmp_path), [record("unet_w8", psnr=20.5)])["small.md"]
    headers, first, second = section(page, "Quality")
    assert headers == ["row", "model", "PSNR [dB] ↑: paper", "zoo-bench", "zoo-bench: evidence"]
    assert first[2:] == ["21.19", "20.50", "trained (test, 1204 images)"]
    assert second[2:] == ["-", "-", "-"]


def test_the_interval_over_scenes_stands_beside_a_real_score(tmp_path) -> None:
    measured = record("unet_w8", psnr=20.5)
    score = measured.measurements["psnr[rgb]"].model_copy(update={"ci_low": 20.126, "ci_high": 21.0, "num_scenes": 51})
    update = {"num_scenes": 51, "measurements": {**measured.measurements, "psnr[rgb]": score}}
    page = paper_pages(write(tmp_path), [measured.model_copy(update=update)])["small.md"]
    assert section(page, "Quality")[1][3:] == ["20.50 [20.13, 21.00]", "trained (test, 1204 images, 51 scenes)"]


@pytest.mark.parametrize(
    "more",
    [
        {"evidence": "published"},
        {"evidence": "untrained"},
        {"dataset": "zrr-standin"},
        {"data": {"standin": True}},
        {"status": "error"},
        {"limit": 10},
        {"split": "train"},
        {"options": {"width": 16}},
    ],
)
def test_what_is_no_measurement_on_the_real_data_stays_out(tmp_path, more: dict) -> None:
    page = paper_pages(write(tmp_path), [record("unet_w8", psnr=20.5, **more)])["small.md"]
    assert "20.50" not in page
    assert section(page, "Quality")[1][2:] == ["21.19", "-", "-"]


@pytest.mark.usefixtures("known_costs")
def test_the_papers_numbers_are_never_in_a_measured_column() -> None:
    for name, page in paper_pages(LEADERBOARDS / "published", []).items():
        headers, *rows = section(page, "Quality")
        for index, header in enumerate(headers):
            if header.startswith("zoo-bench"):
                assert {row[index] for row in rows} == {"-"}, name
        headers, *rows = section(page, "CPU time")
        assert {cell for row in rows for cell, h in zip(row, headers) if h.startswith("zoo-bench")} == {"-"}
        assert "not measured yet" in page


def test_the_best_evidence_counts_and_then_the_newest(tmp_path) -> None:
    results = [
        record("unet_w8", psnr=20.1, evidence="trained", created="2026-01-03"),
        record("unet_w8", psnr=20.3, evidence="official-weights", created="2026-01-02"),
        record("unet_w8", psnr=20.2, evidence="official-weights", created="2026-01-01"),
    ]
    page = paper_pages(write(tmp_path), results)["small.md"]
    assert section(page, "Quality")[1][3:] == ["20.30", "official-weights (test, 1204 images)"]


def test_labelled_weights_have_rows_of_their_own_beside_the_papers(tmp_path) -> None:
    named = [({"label": "b"}, 20.1), ({"label": "a"}, 20.2), ({}, 20.3)]
    results = [record("unet_w8", psnr=psnr, weights={"sha256": f"{psnr}", **more}) for more, psnr in named]
    page = paper_pages(write(tmp_path), results)["small.md"]
    shown = [(row[0], row[1].partition(" †")[0], row[3]) for row in section(page, "Quality")[1:4]]
    assert shown == [
        ("First", "`unet_w8`", "20.30"),
        ("First", "`unet_w8 (a)`", "20.20"),
        ("First", "`unet_w8 (b)`", "20.10"),
    ]


def test_times_are_compared_within_one_machine(tmp_path) -> None:
    results = [record("unet_w8", seconds=1200.0), record("plainunet_8", seconds=8.0)]
    page = paper_pages(write(tmp_path), results)["small.md"]
    headers, first, second = section(page, "CPU time")
    assert headers[2:] == ["paper [s]", "paper: First / row", "zoo-bench [s]", "zoo-bench: First / row"]
    assert first[2:] == ["60", "1.00", "1200", "1.00"]
    assert second[2:] == ["5", "12.0", "8.00", "150"]
    assert "zoo-bench: CPU m1, 2 cores, 2 threads, torch 2.x, fp32; median time of one image at 4x2048x2048." in page

    results[1] = record("plainunet_8", seconds=8.0, machine="m2", threads=4)
    page = paper_pages(write(tmp_path), results)["small.md"]
    _, first, second = section(page, "CPU time")
    assert first[4:] == ["1200", "1.00", "-", "-"]
    assert second[4:] == ["-", "-", "8.00", "-"]
    assert "zoo-bench B: CPU m2, 2 cores, 4 threads" in page

    # Nor those of two versions of torch.
    results[1] = record("plainunet_8", seconds=8.0, torch="2.y")
    page = paper_pages(write(tmp_path), results)["small.md"]
    _, first, second = section(page, "CPU time")
    assert (first[4:], second[4:]) == (["1200", "1.00", "-", "-"], ["-", "-", "8.00", "-"])


def test_disturbed_and_cut_times_have_a_sign_and_a_note(tmp_path) -> None:
    result = record("unet_w8", seconds=1200.0)
    doubt = {"tainted": ("others were busy for 3 s",), "remark": "2 samples"}
    time = result.measurements["latency_ms@fullscale"].model_copy(update=doubt)
    doubtful = result.model_copy(update={"measurements": result.measurements | {"latency_ms@fullscale": time}})
    page = paper_pages(write(tmp_path), [doubtful, record("plainunet_8", seconds=8.0)])["small.md"]
    _, first, second = section(page, "CPU time")
    assert (first[4], second[4]) == ("1200†1‡2", "8.00")
    assert "- †1: on a disturbed machine: others were busy for 3 s\n- ‡2: 2 samples\n" in page


def test_times_per_megapixel_use_the_measured_size(tmp_path) -> None:
    text = SMALL.replace("per_megapixel: false", "per_megapixel: true")
    page = paper_pages(write(tmp_path, text), [record("unet_w8", seconds=6.0)])["small.md"]
    assert section(page, "CPU time")[1][4] == "1.50"


def test_what_became_of_the_flops(tmp_path) -> None:
    results = [record("unet_w8", seconds=1200.0), record("plainunet_8", seconds=8.0)]
    assert "CPU time against FLOPs" not in paper_pages(write(tmp_path), results)["small.md"]
    timed = []
    for result, flops, share in zip(results, (6_000 * 10**9, 80 * 10**9), (0.05, 0.1)):
        latency = result.measurements["latency_ms@fullscale"]
        counted = latency.model_copy(update={"value": flops, "kind": "count"})
        more = {"flops@fullscale": counted, "gemm_share@fullscale": latency.model_copy(update={"value": share})}
        timed.append(result.model_copy(update={"measurements": result.measurements | more}))
    text = SMALL.replace(
        'flops: null, conv_memory: null, cpu_time: "60"', 'flops: "30", conv_memory: null, cpu_time: "60"'
    )
    headers, first, second = section(paper_pages(write(tmp_path, text), timed)["small.md"], "CPU time against FLOPs")
    assert headers[2:] == [
        "FLOPs [T]", "GFLOP/s", "of sgemm [%]", "First / row: FLOPs", "First / row: time", "paper: First / row: FLOPs",
        "paper: First / row: time",
    ]  # fmt: skip
    assert first[2:] == ["6.00", "5.00", "5", "1.00", "1.00", "1.00", "1.00"]
    assert second[2:] == ["0.0800", "10.0", "10", "75.0", "150", "-", "12.0"]
    # FLOPs of another size than the one that was timed are not set against its time.
    other = timed[1].measurements["flops@fullscale"].model_copy(update={"input_shape": [1, 4, 64, 64]})
    measurements = timed[1].measurements | {"flops@fullscale": other}
    timed[1] = timed[1].model_copy(update={"measurements": measurements})
    second = section(paper_pages(write(tmp_path, text), timed)["small.md"], "CPU time against FLOPs")[2]
    assert second[2:7] == ["-", "-", "-", "-", "-"]


def test_a_difference_without_a_reason_says_so(tmp_path) -> None:
    page = paper_pages(write(tmp_path), [])["small.md"]
    assert section(page, "Parameters")[1][2:] == ["9.9", "0.271", "-9.629[^1]"]
    assert "[^1]: No reason is known.\n" in page


def test_reconstructions_and_starred_rows_are_marked() -> None:
    page = (LEADERBOARDS / "table1.md").read_text(encoding="utf-8")
    rows = {row[0]: row for row in section(page, "Parameters")}
    assert rows["SPADE \\*"][1] == "`spade` †"
    assert rows["Ours (32, 16, 2048)"][1] == "`hyperunet_32_16_2048` †"
    assert rows["PyNet"][1] == "`pynet`"


def test_agreement_of_what_was_fitted_has_another_sign_than_a_tick(tmp_path) -> None:
    page = (LEADERBOARDS / "table1.md").read_text(encoding="utf-8")
    for title in ("Parameters", "FLOPs", "Convolution memory"):
        for row in section(page, title):
            assert not ("†" in row[1] and "✓" in row[4]), row
        assert "- ≈: fitted; the same digits as printed" in page.split(f"## {title}")[1].split("##")[0]
    signs = {title: {row[1]: row[4][-1] for row in section(page, title)} for title in ("FLOPs", "Convolution memory")}
    assert (signs["FLOPs"]["`pynet`"], signs["FLOPs"]["`plainunet_64` †"]) == ("✓", "≈")
    # Its size was chosen by the printed memory.
    assert signs["Convolution memory"]["`pynet`"] == "≈"
    # A sign that is not used needs no legend.
    text = SMALL.replace('params: "9.9"', 'params: "0.3"')
    assert "≈" in section(paper_pages(write(tmp_path, text), [])["small.md"], "Parameters")[1][4]
    assert "✓:" not in paper_pages(write(tmp_path, text), [])["small.md"]


@pytest.mark.usefixtures("known_costs")
def test_committed_tables_are_fresh() -> None:
    results = read_folders([LEADERBOARDS / "results"])
    assert stale_tables(results, LEADERBOARDS) == []


def test_same_input_same_bytes_and_stale_tables_are_found(tmp_path) -> None:
    write(tmp_path / "published")
    known = [record("unet_w8", psnr=20.5)]
    table = tmp_path / "small.md"
    assert table in stale_tables(known, tmp_path)
    assert table in write_tables(known, tmp_path)
    before = table.read_bytes()
    write_tables(known, tmp_path)
    assert table.read_bytes() == before
    assert stale_tables(known, tmp_path) == []
    table.write_text("edited", encoding="utf-8")
    assert stale_tables(known, tmp_path) == [table]
    assert not list(tmp_path.glob("*.part"))


def test_the_leaderboard_command_writes_and_checks_them(zoo_bench, tmp_path) -> None:
    write(tmp_path / "published")
    flags = ("leaderboard", "--results", LEADERBOARDS / "results" / "sidd-bsds500.jsonl", "--out", tmp_path)
    assert f"wrote {tmp_path / 'small.md'}" in zoo_bench(*flags).out
    assert zoo_bench(*flags, "--check").code == 0
    (tmp_path / "small.md").write_text("edited", encoding="utf-8")
    outcome = zoo_bench(*flags, "--check")
    assert outcome.code == 1
    assert "small.md" in outcome.err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("arxiv:", "arxif:", r"paper\.yaml: unknown key 'arxif'; did you mean arxiv"),
        ("params: null", "parms: null", r"paper\.yaml: unknown key 'tables\.rows\.parms'; did you mean params"),
        ("{psnr: ", "{psrn: ", r"tables\.0 \(small\): row 'First': unknown quality column 'psrn'; did you mean psnr"),
        ('params: "9.9"', "params: 9.9", r"tables\.0\.rows\.0\.params: .*quotes.*\"55\.0\"; found 9\.9"),
        ("size: 64x64", "size: 64", r"tables\.0\.size: .*expected HxW"),
        ("flops_convention: flops", "flops_convention: flop", r"tables\.0\.flops_convention: .*'flops'"),
        ("reference: unet_w8", "reference: unet", r"reference: no row has the model 'unet'"),
        ("id: small", "id: ../small", r"an id names a file"),
        ("name: First,", "name: First, starred: maybe,", r"tables\.0\.rows\.0\.starred"),
        ("name: First,", "name: First, colour: red,", r"unknown key 'tables\.rows\.colour'"),
        ("model: plainunet_8", "model: plainunet_9", r"no model called 'plainunet_9'; did you mean plainunet_"),
    ],
)
def test_a_mistake_in_the_data_is_named(tmp_path, old: str, new: str, message: str) -> None:
    assert old in SMALL
    with pytest.raises(UserError, match=message):
        paper_pages(write(tmp_path, SMALL.replace(old, new)), [])


def test_two_tables_of_one_name_are_refused(tmp_path) -> None:
    write(tmp_path)
    (tmp_path / "other.yaml").write_text(SMALL, encoding="utf-8")
    with pytest.raises(UserError, match="two tables are called 'small'"):
        read_published(tmp_path)


def test_counts_come_from_the_cache_and_need_no_torch(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ZOO_BENCH_CACHE", str(tmp_path / "cache"))
    folder = write(tmp_path / "published")
    first = paper_pages(folder, [record("unet_w8", psnr=20.5)])
    program = (
        "import sys; from pathlib import Path\n"
        "from benchmark.leaderboard.paper_tables import paper_pages\n"
        "page = paper_pages(Path(sys.argv[1]), [])['small.md']\n"
        "assert '0.271' in page and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True)

    def fail(*_: object) -> RowCosts:
        raise AssertionError("counted again")

    monkeypatch.setattr("benchmark.leaderboard.row_costs.compute_costs", fail)
    assert paper_pages(folder, [record("unet_w8", psnr=20.5)]) == first
    # Another size, another state of the code, a damaged file: counted again.
    with pytest.raises(AssertionError, match="counted again"):
        paper_pages(write(folder, SMALL.replace("size: 64x64", "size: 64x80")), [])
    write(folder)
    (file,) = (tmp_path / "cache" / "counts").glob("*.json")
    file.write_text("{", encoding="utf-8")
    with pytest.raises(AssertionError, match="counted again"):
        paper_pages(folder, [])
    monkeypatch.undo()
    monkeypatch.setenv("ZOO_BENCH_CACHE", str(tmp_path / "cache"))
    assert paper_pages(folder, [record("unet_w8", psnr=20.5)]) == first


def test_counts_belong_to_the_code_that_counted(tmp_path, monkeypatch) -> None:
    code = tmp_path / "zoo" / "models" / "net.py"
    code.parent.mkdir(parents=True)
    code.write_text("WIDTH = 8", encoding="utf-8")
    monkeypatch.setattr(row_costs, "_ROOT", tmp_path)
    digests = []
    for text in ("WIDTH = 8", "WIDTH = 9", "WIDTH = 8  # a comment"):
        code.write_text(text, encoding="utf-8")
        row_costs._code_digest.cache_clear()
        digests.append(row_costs._code_digest())
    row_costs._code_digest.cache_clear()
    assert digests[0] == digests[2] != digests[1]


def test_counts_of_a_plugin_are_not_kept(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ZOO_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("benchmark.leaderboard.row_costs._ships", lambda model: model != "unet_w8")
    paper_pages(write(tmp_path / "published"), [])
    (file,) = (tmp_path / "cache" / "counts").glob("*.json")
    assert "plainunet_8" in file.read_text(encoding="utf-8")
    assert "unet_w8" not in file.read_text(encoding="utf-8")


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path, monkeypatch) -> None:
    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    monkeypatch.setenv("ZOO_BENCH_CACHE", str(tmp_path / "cache"))
    assert "small.md" in paper_pages(write(tmp_path / "published"), [])
