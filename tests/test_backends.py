"""Engines beside torch: the same numbers, compiled once per shape, kept apart in records, refused in one line."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmark.backends import BACKENDS, ENGINES, check_backend
from benchmark.conditions import FIRST_CONDITIONS, Conditions, Limits
from benchmark.costs.prediction import predict
from benchmark.host import machine
from benchmark.leaderboard import row_name
from benchmark.measured import Ceilings
from benchmark.placing import Placed, check
from benchmark.results.store import read_folders
from benchmark.timing.child import measure_model
from benchmark.timing.messages import Job, Request
from benchmark.timing.session import as_measurements, measure
from benchmark.types import RunSpec
from zoo import create_model
from zoo.errors import EngineError, UserError
from zoo.splitting import split

ROOT = Path(__file__).parent.parent
INSTALLED = [name for name, one in ENGINES.items() if all(map(importlib.util.find_spec, one.packages))]
engines = pytest.mark.parametrize(
    "engine", [pytest.param(n, marks=[] if n in INSTALLED else pytest.mark.skip("not installed")) for n in ENGINES]
)


def compiled(network: nn.Module, engine: str, **more) -> nn.Module:
    from benchmark.backends.compiled import Compiled

    return Compiled(network, engine, **more)


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def seeded(name: str, **options) -> nn.Module:
    torch.manual_seed(0)
    return create_model(name, **options).eval()


class Bessel(nn.Module):
    """No engine has this operation."""

    def forward(self, x):
        return torch.special.bessel_j0(x)


@engines
def test_an_engine_returns_what_torch_returns_for_each_shape(engine: str) -> None:
    network = seeded("plainunet_8")
    on_engine = compiled(network, engine, threads=1)
    with torch.inference_mode():
        outputs = []
        for shape in ((1, 4, 32, 36), (2, 4, 32, 32), (1, 4, 32, 36)):
            planes = noise(*shape)
            outputs.append(on_engine(planes))
            torch.testing.assert_close(outputs[-1], network(planes), rtol=0, atol=1e-5)
        assert on_engine.prepare(noise(2, 4, 32, 32)) is None
        assert on_engine.prepare(noise(1, 4, 40, 32)).seconds > 0
        # An output is its owner's: the next pass does not write into it.
        before = outputs[0].clone()
        on_engine(noise(1, 4, 32, 36) * 0)
        assert torch.equal(outputs[0], before)


@engines
def test_an_output_that_is_the_input_is_a_copy_of_it(engine: str) -> None:
    planes = noise(1, 3, 8, 8)
    output = compiled(nn.Identity(), engine)(planes)
    assert torch.equal(output, planes)
    assert output.data_ptr() != planes.data_ptr()


@engines
def test_filters_are_predicted_once_and_serve_every_tile(engine: str) -> None:
    network = seeded("hyperunet_8_8_64")
    halves = split(network)
    planes = noise(1, 4, 48, 64)
    with torch.inference_mode():
        filters = compiled(halves.filters, engine)(planes)
        assert [tuple(f.shape) for f in filters] == [tuple(f.shape) for f in halves.filters(planes)]
        forward = compiled(halves.forward, engine)
        torch.testing.assert_close(forward(planes, *filters), network(planes), rtol=0, atol=1e-5)
        tile = planes[..., 8:40, 12:44]
        torch.testing.assert_close(forward(tile, *filters), halves.forward(tile, *filters), rtol=0, atol=1e-5)


def test_the_halves_of_hypervdn_make_the_whole() -> None:
    network = seeded("hypervdn_8")
    halves = split(network)
    planes = noise(1, 3, 16, 24)
    with torch.inference_mode():
        filters = halves.filters(planes)
        assert len(filters) == 13
        assert torch.equal(halves.forward(planes, *filters), network(planes))
        other = halves.filters(1 - planes)
        assert not torch.allclose(halves.forward(planes, *other), network(planes), atol=1e-3)
    assert split(seeded("vdn_w8")) is None


@engines
def test_an_operation_that_an_engine_does_not_have_is_named(engine: str) -> None:
    with pytest.raises(EngineError, match=r"does not have the operation (aten|prims)\.(special_)?bessel_j0"):
        compiled(Bessel(), engine)(noise(1, 3, 8, 8))


@engines
def test_a_size_that_the_network_refuses_is_refused_in_its_words(engine: str) -> None:
    with pytest.raises(ValueError, match="multiples of 4, at least 32; got 33x32"):
        compiled(seeded("plainunet_8"), engine)(noise(1, 4, 33, 32))


# Conditions.


def test_a_missing_extra_is_one_line_with_the_command(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"--backend openvino needs openvino, .*pip install 'zoo-bench\[openvino\]'"):
        check(Conditions(backend="openvino"))
    with pytest.raises(UserError, match=r"needs onnxruntime, onnx, onnxscript, .*pip install 'zoo-bench\[onnx\]'"):
        check(Conditions(backend="onnxruntime"))


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"backend": "tensorrt"}, "--backend tensorrt: expected one of torch, onnxruntime, openvino"),
        ({"backend": "onnxruntime", "precision": "bf16"}, "--precision bf16: onnxruntime supports only fp32"),
        ({"backend": "openvino", "precision": "bf16"}, "this processor has no bf16 instructions for openvino"),
        ({"backend": "openvino", "channels_last": True}, "--channels-last: --backend openvino runs on the CPU"),
    ],
)
def test_conditions_that_an_engine_cannot_keep_are_refused(monkeypatch, conditions: dict, message: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(machine, "instruction_sets", lambda: ["avx2"])
    with pytest.raises(UserError, match=message):
        check(Conditions(**conditions))


def test_bf16_is_allowed_where_the_processor_has_it(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(machine, "instruction_sets", lambda: ["avx512_bf16"])
    check_backend("openvino", "bf16")


def test_the_command_line_offers_every_backend(zoo_bench) -> None:
    for command in ("run", "profile", "infer"):
        assert f"[{'|'.join(BACKENDS)}]" in zoo_bench(command, "--help").out


# Records.


def test_keys_of_records_from_before_there_were_backends_and_tiles_stand() -> None:
    found = read_folders([ROOT / "leaderboards" / "results"])
    usual = Conditions().model_dump(mode="json")
    records = [
        one
        for one in found
        if one.spec.conditions.tile == "off" and one.spec.conditions.by_torch and one.spec.conditions.sigma is None
    ]
    assert records
    for record in records:
        fields = record.spec.model_dump(mode="json")
        later = usual.keys() - FIRST_CONDITIONS
        assert {name: fields.pop(name) for name in later} == {name: usual[name] for name in later}
        text = json.dumps(fields, sort_keys=True, allow_nan=False)
        assert record.spec.key() == hashlib.sha256(text.encode()).hexdigest()[:20]


def test_the_backend_is_part_of_the_key() -> None:
    spec = read_folders([ROOT / "leaderboards" / "results"])[0].spec
    keys = {RunSpec(**{**spec.model_dump(), "backend": name}).key() for name in BACKENDS}
    assert len(keys) == len(BACKENDS)


@pytest.mark.skipif("onnxruntime" not in INSTALLED, reason="onnxruntime is not installed")
def test_scores_through_an_engine_are_those_of_torch(zoo_bench, tmp_path) -> None:
    common = ["run", "--dataset", "zrr", "--models", "plainunet_8", "--limit", "3", "--sizes", "none", "--json"]
    records = {}
    for backend in ("torch", "onnxruntime"):
        outcome = zoo_bench(*common, "--backend", backend, "--out", tmp_path)
        assert outcome.code == 0, outcome.err
        (records[backend],) = json.loads(outcome.out)["results"]
    by_torch, by_engine = (record["measurements"] for record in records.values())
    scores = [id for id, one in by_torch.items() if one["kind"] == "score"]
    assert "psnr[rgb]" in scores
    for id in scores:
        assert by_engine[id]["value"] == pytest.approx(by_torch[id]["value"], abs=1e-3 if "psnr" in id else 1e-5)
    engine = records["onnxruntime"]
    assert engine["key"] != records["torch"]["key"]
    assert engine["spec"]["backend"] == "onnxruntime"
    assert engine["environment"]["packages"]["onnxruntime"] == ENGINES["onnxruntime"].version
    assert engine["phases"]["compile"] > 0
    # The network's costs are the same; what torch's kernels would need is not the engine's.
    assert by_engine["macs"] == by_torch["macs"]
    assert "predicted_rss_bytes" in by_torch
    assert not [id for id in by_engine if id.startswith("predicted_rss")]
    rows = {row_name(record) for record in read_folders([tmp_path])}
    assert rows == {"plainunet_8", "plainunet_8, onnxruntime"}


@engines
def test_compiling_is_measured_beside_the_pass(engine: str) -> None:
    sizes = {"": [1, 4, 64, 64]}
    job = Job(model="plainunet_8", conditions=Conditions(backend=engine))
    found = measure_model(Request(job=job, sizes=sizes, budgets={"": 0.05}, own_process=False))
    assert found.timing[""].latency_ms.n >= 1
    assert found.prepared[""].engine.compile_ms > found.timing[""].latency_ms.median


@engines
def test_a_profile_says_which_engine_and_version(engine: str, monkeypatch) -> None:
    monkeypatch.setattr("benchmark.timing.session.ceilings", lambda *_: Ceilings(gemm_gflops=100.0, copy_gbs=10.0))
    predicted = predict("plainunet_8", (64, 64), {})
    conditions, limits = Conditions(backend=engine), Limits(seconds=0.1)
    measured = measure("plainunet_8", {"": predicted}, conditions=conditions, limits=limits, isolate=False)[""]
    assert measured.measurement.conditions == f"cpu, fp32, {engine} {ENGINES[engine].version}"
    assert measured.measurement.predicted_bytes is None
    # What an engine moves between operations is not known: the ceiling is that of arithmetic alone.
    assert measured.roofline.bound == "compute"
    found = as_measurements(measured, predicted.shape)
    assert {"latency_ms", "compile_ms", "peak_rss_bytes", "compile_rss_bytes", "library_rss_bytes"} <= set(found)


@engines
def test_infer_writes_what_torch_writes(engine: str, zoo_bench, tmp_path) -> None:
    import numpy as np

    np.save(tmp_path / "x.npy", noise(1, 4, 32, 40).numpy())
    for backend in ("torch", engine):
        call = [
            "infer",
            "plainunet_8",
            tmp_path / "x.npy",
            "--backend",
            backend,
            "-o",
            tmp_path / backend,
            "--random-weights",
        ]
        assert zoo_bench(*call).code == 0
    one, other = (np.load(tmp_path / backend / "x.npy") for backend in ("torch", engine))
    np.testing.assert_allclose(other, one, rtol=0, atol=1e-5)


@engines
def test_placed_takes_and_returns_planes_as_torch_does(engine: str) -> None:
    network = seeded("plainunet_8")
    planes = noise(1, 4, 32, 32)
    with torch.inference_mode():
        expected = network(planes)
        placed = Placed(network, Conditions(backend=engine)).eval()
        torch.testing.assert_close(placed(planes), expected, rtol=0, atol=1e-5)
    assert placed.compile_seconds > 0


@engines
@pytest.mark.parametrize("name", [pytest.param("plainunet_8", marks=pytest.mark.slow), "hyperunet_8_8_64"])
def test_tiles_through_an_engine_make_the_image_that_torch_makes(engine: str, name: str, zoo_bench, tmp_path) -> None:
    import numpy as np

    np.save(tmp_path / "x.npy", noise(1, 4, 96, 128).numpy())
    call = ["infer", name, tmp_path / "x.npy", "--random-weights"]
    assert zoo_bench(*call, "--tile", "off", "-o", tmp_path / "torch").code == 0
    outcome = zoo_bench(*call, "--tile", "64x64", "--backend", engine, "-o", tmp_path / "tiles")
    assert outcome.code == 0, outcome.err
    whole, tiles = (np.load(tmp_path / folder / "x.npy") for folder in ("torch", "tiles"))
    np.testing.assert_allclose(tiles, whole, rtol=0, atol=1e-5)
