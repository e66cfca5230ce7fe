"""``run`` and ``profile --measure`` in tiles: the same numbers, told apart in keys, tables and verdicts."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmark import run as run_as_users_do
from benchmark.conditions import Conditions, Limits
from benchmark.config import read_settings
from benchmark.costs.prediction import predict
from benchmark.fullres.hyper import hyper_layers
from benchmark.fullres.memory import RESERVE_BYTES, Memory, Thresholds, least_need
from benchmark.fullres.network import FullNetwork
from benchmark.fullres.subject import subject_of
from benchmark.host import machine
from benchmark.leaderboard import boards, row_name
from benchmark.placing import check
from benchmark.record import Record
from benchmark.reporting import Progress, Relay, Relayed, Reporter
from benchmark.results.store import Store
from benchmark.running.suite import Suite
from benchmark.selection import entry_of
from benchmark.timing.child import measure_model
from benchmark.timing.messages import Job, MemoryAt, PreparedAt, Request, TimedAt
from benchmark.timing.room import shortage, tiled_needs
from benchmark.timing.session import as_measurements, measure
from benchmark.types import RunSpec
from tests.conftest import TINY
from tests.test_measure import read_back
from zoo import register_model
from zoo.card import MODELS
from zoo.errors import TileError, UserError

QUICK = Limits(seconds=0.3)
MIB = 1 << 20


class Local(nn.Module):
    """Each plane's pixel to four of the output: parameter-free, so that it is scored, and exact in any tiles."""

    def forward(self, x):
        red, green, blue = x[:, 2:3], (x[:, 1:2] + x[:, 3:4]) / 2, x[:, 0:1]
        return nn.functional.pixel_shuffle(torch.cat([red] * 4 + [green] * 4 + [blue] * 4, dim=1), 2)


class Normed(Local):
    """With statistics of the whole image, which tiles do not have."""

    def forward(self, x):
        return super().forward(nn.functional.instance_norm(x) / 8 + 0.5)


@pytest.fixture(autouse=True)
def _models(tiny, monkeypatch) -> None:
    """Two models of this process alone."""
    MODELS.names()
    monkeypatch.setattr(MODELS, "_items", dict(MODELS._items))

    @register_model(task="raw2rgb")
    def local() -> nn.Module:
        """Nearest-neighbour demosaicing."""
        return Local()

    @register_model(task="raw2rgb")
    def normed() -> nn.Module:
        """Nearest-neighbour demosaicing of normed planes."""
        return Normed()


def run(*arguments, tile: str, **more):
    conditions = Conditions(tile=tile, **{name: more.pop(name) for name in ("approximate",) if name in more})
    how = {"conditions": conditions, "limits": QUICK}
    return run_as_users_do(*arguments, isolate=False, **how, **{"sizes": ["none"], **more})


def only(results):
    (result,) = results
    return result


# The same numbers, kept apart.


def test_scores_in_tiles_are_those_of_the_whole_image(tmp_path) -> None:
    whole = only(run("tiny", models="local", tile="off", out=tmp_path))
    tiled = only(run("tiny", models="local", tile="16x8", out=tmp_path))
    assert tiled.status == "ok", tiled.error
    assert tiled.key != whole.key
    for id in ("psnr[rgb]", "ssim[gaussian11,rgb]"):
        assert tiled.measurements[id].value == pytest.approx(whole.measurements[id].value, abs=1e-5)
    (how,) = tiled.tilings
    assert (how.purpose, how.mode, how.input_shape, how.tile) == ("scores", "tiles", [1, 4, 32, 32], [16, 8])
    assert how.num_tiles == 8
    assert whole.tilings == []
    # A reading of the file gives the same record, and what torch would need for a whole image is not said.
    assert Store(tmp_path).latest()[tiled.key] == tiled
    assert not [id for id in tiled.measurements if id.startswith("predicted_rss")]
    assert [id for id in whole.measurements if id.startswith("predicted_rss")]


def test_rows_in_tiles_have_names_of_their_own_and_say_how_they_were_cut(tmp_path) -> None:
    for tile in ("off", "16x8"):
        run("tiny", models="local", tile=tile, out=tmp_path)
    results = Store(tmp_path).results()
    assert {row_name(result) for result in results} == {"local", "local, tiles 16x8"}
    (quality, costs) = boards(results, "tiny")
    assert {row[quality.headers.index("model")] for row in quality.rows} == {"local", "local, tiles 16x8"}
    assert len(costs.rows) == 2
    assert any(note.startswith("local, tiles 16x8: scores at 4x32x32: tiles: 8 tiles") for note in quality.notes)


def test_what_auto_takes_is_named(tmp_path) -> None:
    limited = {"conditions": Conditions(tile="auto"), "limits": Limits(memory_bytes=8 << 30)}
    quick = {"models": "local", "isolate": False, **limited, "sizes": []}
    result = only(run_as_users_do("tiny", out=tmp_path / "strips", **quick))
    (how,) = result.tilings
    assert (how.mode, how.tile) == ("strips", None)
    assert any("strips: " in note for note in boards([result], "tiny")[0].notes)
    assert result.phases["tiles"] > 0
    # Tiles, which an engine gets, have a size that gives them again.
    entry = entry_of("local", None, {})
    subject = replace(subject_of(entry, entry.build()), engine=Local())
    network = FullNetwork(subject, Conditions(tile="auto"), thresholds=Thresholds(small_pixels=0))
    network(torch.rand(how.input_shape))
    result = result.model_copy(update={"tilings": network.tilings("scores")})
    (how,) = result.tilings
    assert how.tile is not None
    (note,) = [note for note in boards([result], "tiny")[0].notes if "scores at" in note]
    assert f"(--tile {how.tile[0]}x{how.tile[1]})" in note


def test_a_limit_is_no_part_of_the_key_but_tiles_are(tmp_path) -> None:
    spec = only(run("tiny", models="local", tile="off", out=tmp_path, limit=1)).spec
    specs = [{"tile": "auto"}, {"tile": "16x16"}, {"tile": "16x16", "approximate": True}, {}]
    assert len({RunSpec(**{**spec.model_dump(), **one}).key() for one in specs}) == 4
    assert "memory_limit" not in RunSpec.model_fields


def test_verdicts_are_between_rows_of_the_same_tiles(tmp_path, zoo_bench) -> None:
    run("tiny", models="local", tile="off", out=tmp_path / "whole")
    for folder in ("one", "two"):
        run("tiny", models="local", tile="16x8", out=tmp_path / folder)
    same = json.loads(zoo_bench("compare", tmp_path / "one", tmp_path / "two", "--json").out)
    assert {finding["verdict"] for finding in same["findings"]} == {"same"}
    other = json.loads(zoo_bench("compare", tmp_path / "whole", tmp_path / "one", "--json").out)
    found = {finding["model"]: finding["verdict"] for finding in other["findings"]}
    assert found == {"local": "missing", "local, tiles 16x8": "new"}


def test_the_page_says_tiles_and_repeats_them(tmp_path) -> None:
    from benchmark.htmlpage.provenance import provenance
    from benchmark.leaderboard import rows_of
    from benchmark.results.store import read_folders

    run("tiny", models="local", tile="16x8", out=tmp_path)
    (one,) = rows_of(read_folders([tmp_path]))
    shown = provenance(one)
    assert "tiles 16x8" in shown["conditions"]
    assert "--tile 16x8" in " ".join(shown["commands"][-1].split())
    assert any(note.startswith("scores at 4x32x32: tiles: 8 tiles") for note in shown["notes"])


@pytest.mark.thorough
def test_a_hyper_network_is_scored_with_the_filters_of_the_whole_image(tmp_path) -> None:
    common = {"models": "hyperunet_8_8_64", "limit": 1, "metrics": ["psnr[rgb]"], "out": tmp_path}
    whole, tiled = (only(run("zrr", tile=tile, **common)) for tile in ("off", "64x96"))
    assert tiled.tilings[0].mode == "filters, then tiles"
    assert tiled.tilings[0].filter_passes == 1
    score = tiled.measurements["psnr[rgb]"].value
    assert score == pytest.approx(whole.measurements["psnr[rgb]"].value, abs=1e-4)


# Tiles that are not exact.


def test_inexact_tiles_are_a_record_and_the_others_go_on(tmp_path) -> None:
    broken, free = run("tiny", models="normed,local", tile="16x16", out=tmp_path)
    assert (broken.status, free.status) == ("error", "ok")
    assert "see the whole image" in broken.error
    assert "--approximate" in broken.error
    assert broken.measurements["macs"].value == 0


def test_approximate_tiles_record_their_seams_and_are_not_ranked(tmp_path) -> None:
    notes: list[str] = []
    reporter = Reporter()
    reporter.note = notes.append  # type: ignore[method-assign]
    whole = only(run("zrr", models="normed", tile="off", limit=2, out=tmp_path))
    rough = only(run("zrr", models="normed", tile="64x64", approximate=True, limit=2, out=tmp_path, reporter=reporter))
    assert (rough.status, rough.tilings[0].mode) == ("ok", "approximate tiles"), rough.error
    seams = rough.tilings[0].seams
    assert seams is not None
    assert seams.largest > seams.rms > 0
    assert len([note for note in notes if "differ from whole-image statistics" in note]) == 1
    score = rough.measurements["psnr[rgb]"]
    assert score.value != whole.measurements["psnr[rgb]"].value
    assert f"up to {seams.largest:.3g}" in score.remark
    # However good its score, it is neither ranked nor the best of a column.
    best = score.model_copy(update={"value": 99.0})
    better = rough.model_copy(update={"measurements": {**rough.measurements, "psnr[rgb]": best}})
    scened = [one.model_copy(update={"num_scenes": 12}) for one in (whole, better)]
    board = boards(scened, "zrr-standin")[0]
    assert [row[:2] for row in board.rows] == [("-", "normed, approximate tiles 64x64"), ("1", "normed")]
    assert {y for y, _ in board.best} <= {1}
    assert any("tiles that are not exact" in note for note in board.notes)


def test_tiles_that_are_exact_are_not_called_approximate(tmp_path) -> None:
    result = only(run("tiny", models="local", tile="16x8", approximate=True, out=tmp_path, limit=1))
    assert result.spec.conditions.approximate
    assert not result.is_approximate
    assert row_name(result) == "local, tiles 16x8"


def test_a_run_that_finds_all_images_done_says_its_tiles_again(tmp_path) -> None:
    first = only(run("tiny", models="local", tile="16x8", out=tmp_path))
    (tmp_path / "results.jsonl").unlink()
    again = only(run("tiny", models="local", tile="16x8", out=tmp_path))
    assert again.tilings == first.tilings


def test_an_interruption_leaves_the_images_before_it_and_no_filters(tmp_path, monkeypatch) -> None:
    from benchmark.fullres import execution

    made: list[FullNetwork] = []
    original, plain = execution.run_tiled, FullNetwork.__init__
    images: list[int] = []

    def keep(self, *arguments, **more) -> None:
        plain(self, *arguments, **more)
        made.append(self)

    def interrupted(*arguments, advance, **more):
        images.append(1)

        def stop() -> None:
            advance()
            if len(images) == 2:
                raise KeyboardInterrupt

        return original(*arguments, advance=stop, **more)

    monkeypatch.setattr(FullNetwork, "__init__", keep)
    monkeypatch.setattr(execution, "run_tiled", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("zrr", models="hyperunet_8_8_64", tile="96x96", limit=3, metrics=["psnr[rgb]"], out=tmp_path)
    (journal,) = (tmp_path / "scores").glob("*.jsonl")
    assert len(journal.read_text().splitlines()) == 1
    assert Store(tmp_path).results() == []
    assert all(layer.fixed_filters is None for layer in hyper_layers(made[0].network))


# Measuring.


def test_tiles_are_chosen_before_and_timed_as_a_whole() -> None:
    events: list[Record] = []
    passes: list[int] = []
    job = Job(model="hyperunet_8_8_64", conditions=Conditions(tile="64x64"))
    request = Request(job=job, sizes={"": [1, 4, 128, 96]}, budgets={"": 0.1}, own_process=False)
    tiling = measure_model(request, events.append).prepared[""].tiling
    order = [type(event) for event in events if isinstance(event, (PreparedAt, MemoryAt, TimedAt))]
    assert order == [PreparedAt, MemoryAt, TimedAt]
    assert (tiling.mode, tiling.filter_passes, tiling.num_tiles) == ("filters, then tiles", 1, 4)
    # A pass is the whole image: every tile, after the filters, which are found operator by operator in strips.
    network, planes = job.network(), job.planes([1, 4, 128, 96])
    network.prepare(planes)
    network.network.register_forward_pre_hook(lambda *_: passes.append(1))
    with torch.inference_mode():
        output = network(planes)
        assert len(passes) == 4
        torch.testing.assert_close(output, network.network(planes), rtol=0, atol=1e-5)


def test_callers_in_inference_mode_may_have_several_workers() -> None:
    torch.set_num_threads(2)
    job = Job(model="plainunet_8", conditions=Conditions(tile="48x48"))
    network, planes = job.network(), job.planes([1, 4, 96, 96])
    with torch.inference_mode():
        output = network(planes)
        assert network.tilings("time")[0].at_once == 2
        torch.testing.assert_close(output, network.network(planes), rtol=0, atol=1e-5)


@pytest.mark.thorough
def test_a_profile_in_tiles_says_so(zoo_bench) -> None:
    call = ("profile", "tiny_net", "--size", "96x96", "--measure", "--tile", "32X48", "--time-limit", 1, "--json")
    done = zoo_bench("--plugin", TINY, *call)
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["measurement"]["status"] in ("ok", "timeout")
    assert document["measurement"]["tile"] == "32x48"
    assert document["measurement"]["conditions"] == "cpu, fp32, tiles 32x48"
    assert document["tiling"]["tile"] == [32, 48]
    assert document["peak_rss_bytes"] >= 0
    # What tiles move stays in the caches: the ceiling is that of arithmetic alone.
    assert document["roofline"]["bound"] == "compute"
    definitions = {m.definition for m in as_measurements(read_back(document), document["input_shape"]).values()}
    assert all("tiles 32x48" in definition for definition in definitions)


def test_the_memory_check_is_about_tiles(monkeypatch) -> None:
    predicted = predict("plainunet_8", (1536, 2048), {})
    monkeypatch.setattr("benchmark.host.machine.available_memory", lambda: 960 * MIB)
    whole, tiled = Conditions(), Conditions(tile="auto")
    assert "needs" in (shortage(predicted, whole, Limits(), None) or "")
    job = Job(model="plainunet_8", conditions=Conditions(tile="auto"))
    needs = tiled_needs(job, {"": predicted})
    assert needs[""] < predicted.need(whole) // 2
    assert shortage(predicted, tiled, Limits(), needs[""]) is None
    conditions, limits = Conditions(tile="512x512"), Limits(200 * MIB)
    state = measure("plainunet_8", {"": predicted}, conditions=conditions, limits=limits)[""].measurement
    assert state.status == "skipped"
    assert "needs at least 0." in state.error
    assert "0.20 GiB are allowed by --memory-limit" in state.error
    assert state.predicted_bytes < predicted.need(whole)


def test_what_is_needed_least_is_known_for_every_way() -> None:
    def need(name: str, side: int, tile, **more) -> int | None:
        entry = entry_of(name, None, {})
        with torch.device("meta"):
            subject = subject_of(entry, entry.card.build(**entry.options))
        return least_need(subject, (1, subject.channels, side, side), tile, **more)

    output = 4 * 3 * 2048 * 2048
    small, large = need("plainunet_8", 1024, (64, 64)), need("plainunet_8", 1024, (256, 256))
    assert output < small < large
    assert need("plainunet_8", 1024, "auto") <= small
    # Small images go through whole, unless memory is short.
    assert need("plainunet_8", 256, "auto") is None
    assert need("plainunet_8", 256, "auto", memory_limit=1 << 30) is not None
    # Statistics of the whole image: in bands by torch, whole by an engine, in tiles only where they may be inexact.
    assert need("dped", 1024, "auto") > output
    assert need("dped", 1024, "auto", by_torch=False) is None
    assert need("dped", 1024, (128, 128)) is None
    assert output < need("dped", 1024, (128, 128), approximate=True) < need("dped", 1024, "auto")


engines = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")


@engines
@pytest.mark.parametrize("name", ["plainunet_8", "hyperunet_8_8_64"])
def test_an_engine_compiles_for_every_crop_before_the_first_pass(name: str) -> None:
    job = Job(model=name, conditions=Conditions(backend="openvino", tile="40x64"))
    network, planes = job.network(), job.planes([1, 4, 96, 128])
    network.prepare(planes)
    compiled = network.compile_seconds
    assert compiled > 0
    with torch.inference_mode():
        output = network(planes)
        torch.testing.assert_close(output, network.network(planes), rtol=0, atol=1e-4)
    assert network.compile_seconds == compiled


@engines
def test_bands_are_not_run_by_torch_in_an_engines_name() -> None:
    entry, planes, thresholds = entry_of("dped", None, {}), torch.rand(1, 4, 512, 512), Thresholds(small_pixels=0)
    subject, by_engine = subject_of(entry, entry.build()), Conditions(backend="openvino", tile="auto")
    bands = FullNetwork(subject, Conditions(tile="auto"), thresholds=thresholds).plan(planes)
    assert bands.mode == "bands"
    assert FullNetwork(subject, by_engine, thresholds=thresholds).plan(planes).mode == "whole"
    # A limit that has room for bands, and not for the whole image.
    memory = Memory(subject=subject, planes=planes)
    limit = machine.resident_bytes() + RESERVE_BYTES + (bands.need_bytes + memory.whole_bytes) // 2
    with pytest.raises(TileError, match="only torch runs bands; use --backend torch"):
        FullNetwork(subject, by_engine, limit).plan(planes)


# Bad input.


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"tile": "0x5"}, "--tile 0x5: expected auto, off or HxW, for example 256x256"),
        ({"tile": "big"}, "--tile big: expected auto, off or HxW"),
        ({"approximate": True}, "--approximate: .* name it with --tile HxW"),
        ({"exact_kernels": True}, "--exact-kernels: only --tile auto joins kernels"),
        ({"exact_kernels": True, "tile": "64x64"}, "--exact-kernels: only --tile auto joins kernels"),
        (
            {"exact_kernels": True, "tile": "auto", "backend": "onnxruntime"},
            "--exact-kernels: --backend onnxruntime has",
        ),
        ({"approximate": True, "tile": "auto"}, "--approximate: .* name it with --tile HxW"),
        ({"tile": "auto", "channels_last": True}, "--channels-last: tiles have the memory format that suits them"),
        ({"tile": "auto", "precision": "bf16"}, "--precision bf16: torch runs tiles only in fp32; choose an engine"),
    ],
)
def test_conditions_that_tiles_cannot_keep_are_refused(conditions: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(Conditions(**conditions))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("run", "--dataset", "zrr", "--tile", "0x5"), "--tile 0x5: expected auto, off or HxW"),
        (("run", "--dataset", "zrr", "--approximate"), "name it with --tile HxW"),
        (("profile", "dped", "--size", "64x64", "--tile", "32x32"), "--tile says how the network runs; add --measure"),
        (("profile", "dped", "--measure", "--size", "64x64", "--tile", "32x32"), "Use --tile off, or --approximate"),
        (("train", "x.yaml", "--tile", "auto"), "No such option '--tile'"),
        (("profile", "vdn_w8", "--approximate"), "--approximate says how the network runs; add --measure"),
    ],
)
def test_bad_calls_are_one_line(zoo_bench, call, message: str) -> None:
    outcome = zoo_bench(*call)
    assert outcome.code == 2
    assert message in outcome.err


def test_approximate_without_tiles_is_refused_by_infer(zoo_bench, tmp_path) -> None:
    call = ("infer", "dped", tmp_path / "x.npy", "-o", tmp_path / "o", "--tile", "off", "--approximate")
    outcome = zoo_bench(*call)
    assert outcome.code == 2
    assert "--tile off cuts no tiles" in outcome.err


@pytest.mark.thorough
def test_a_limit_that_is_too_small_says_the_least(tmp_path) -> None:
    how = {"conditions": Conditions(tile="64x64"), "limits": Limits(memory_bytes=1 << 20)}
    arguments = {"models": "vdn_w8", "isolate": False, "sizes": [], "limit": 1, "out": tmp_path}
    result = only(run_as_users_do("sidd", **how, **arguments))
    assert result.status == "error"
    assert "this network needs at least" in result.error


def test_a_suite_may_say_off_as_yaml_does(tmp_path) -> None:
    (tmp_path / "s.yaml").write_text("dataset: tiny\ntile: off\n")
    assert read_settings(tmp_path / "s.yaml", Suite).tile == "off"
    (tmp_path / "s.yaml").write_text("dataset: tiny\ntile: 16x8\napproximate: true\n")
    assert read_settings(tmp_path / "s.yaml", Suite).tile == (16, 8)


# Progress from another process.


class Bars(Reporter):
    """Writes down what would be shown."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def note(self, message: str) -> None:
        self.seen.append(f"note {message}")

    def progress(self, label: str, total: int):
        from contextlib import contextmanager

        @contextmanager
        def bar():
            self.seen.append(f"begin {label} {total}")
            yield lambda: self.seen.append("step")
            self.seen.append("end")

        return bar()


def test_slow_images_show_their_tiles_and_fast_ones_do_not() -> None:
    bars = Bars()
    relayed = Relayed(bars)
    for after in (0.0, 60.0):
        relay = Relay(relayed.take, after=after)
        with relay.progress("vdn", 3) as advance:
            for _ in range(3):
                advance()
    relay.note("seams")
    assert bars.seen == ["begin vdn 3", "step", "step", "step", "end", "note seams"]
    assert not relayed.take(Conditions())


def test_a_bar_of_a_process_that_was_ended_is_closed() -> None:
    bars = Bars()
    relayed = Relayed(bars)
    relayed.take(Progress(done=2, total=5, label="vdn"))
    relayed.close()
    assert bars.seen == ["begin vdn 5", "step", "step", "end"]


def test_bars_within_bars_share_one_display(monkeypatch) -> None:
    import io

    from rich.console import Console

    from benchmark.cli.console import ConsoleReporter

    reporter = ConsoleReporter()
    reporter.console = Console(file=io.StringIO(), force_terminal=True)
    with reporter.progress("images", 2) as image, reporter.progress("tiles", 3) as tile:
        display = reporter._display
        assert display is not None
        tile()
        image()
        assert [(task.description, task.completed) for task in display.tasks] == [("images", 1), ("tiles", 1)]
    assert reporter._display is None
