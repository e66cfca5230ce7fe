"""int8: ranges from the train split, a file that engines run, what it loses, how steady that is, and refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark import run
from benchmark.conditions import Calibration, Conditions
from benchmark.leaderboard.int8 import int8_page
from benchmark.reporting import Reporter
from benchmark.results.store import Store
from benchmark.running.inputs import Levels
from benchmark.selection import entry_of
from benchmark.timing.messages import Job
from benchmark.types import Result
from tests.sample_records import measurement, result, under
from zoo import UserError, create_model, get_card
from zoo.weights import save_state

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from benchmark.running.coldload import PROCESSES, ToLoad, measure_cold_load  # noqa: E402
from benchmark.running.quantizing import graph, qdq  # noqa: E402
from benchmark.running.quantizing.calibration import Images, images_of  # noqa: E402
from benchmark.running.quantizing.method import method_of  # noqa: E402
from benchmark.running.quantizing.quantize import quantize  # noqa: E402


@pytest.fixture(scope="module")
def quantized(tmp_path_factory) -> tuple[dict, Path]:
    file = tmp_path_factory.mktemp("int8") / "net.onnx"
    document = quantize("plainunet_8", file, weights="shipped", calibrate="zrr", images=4)
    return json.loads(json.dumps(document)), file


def test_a_file_says_what_calibrated_it_and_what_it_loses(quantized) -> None:
    document, file = quantized
    calibration = document["calibration"]
    assert (calibration["source"], calibration["images"], calibration["method"]) == ("zrr-standin train", 4, "min-max")
    assert len(calibration["names"]) == 4
    # The examined images are others, and the loss is small against an output that is hardly moved.
    assert document["examined"]["images"] == 8
    assert document["examined"]["psnr_to_fp32"] > 35
    assert -0.1 < document["examined"]["loss_db"] < 1
    assert set(document["sensitivity"]) == {"as asked", "another order", "half of them"}
    assert document["spread_db"] == pytest.approx(
        np.ptp([one["loss_db"] for one in document["sensitivity"].values()]), abs=1e-9
    )
    assert (document["left_in_float"], document["dynamic"]) == ({"Conv": 1}, True)
    stored = {one.key: one.value for one in onnx.load(str(file)).metadata_props}
    assert json.loads(stored["zoo_bench.calibration"]) == calibration
    assert stored["zoo_bench.model"] == "plainunet_8"
    assert json.loads(stored["zoo_bench.input"])["layout"] == "bayer_packed"


def test_weights_have_a_scale_for_each_channel_and_ranges_hold_the_values(quantized) -> None:
    _, file = quantized
    graph = onnx.load(str(file)).graph
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    weights = [array for name, array in constants.items() if array.dtype == np.int8 and array.ndim == 4]
    scales = [array for name, array in constants.items() if name.endswith("_scale") and array.ndim == 1]
    assert len(weights) >= 4
    assert {array.shape[0] for array in weights} <= {array.shape[0] for array in scales}
    assert all(low <= 0 <= high and low < high for low, high in qdq.ranges_of(file).values())


def test_every_engine_runs_the_file(quantized) -> None:
    from benchmark.backends import ENGINES

    planes, outputs = torch.rand(1, 4, 64, 48, generator=torch.Generator().manual_seed(0)), []
    for name in ("onnxruntime", "openvino"):
        pytest.importorskip(name)
        (output,) = ENGINES[name].open_file(quantized[1], [list(planes.shape)], 1)([planes])
        outputs.append(output)
    assert outputs[0].shape == (1, 3, 128, 96)
    # The engines round the sums differently.
    assert float((outputs[0] - outputs[1]).abs().mean()) < 5e-3


def test_a_run_in_int8_keeps_what_calibrated_it(tmp_path) -> None:
    conditions = Conditions(precision="int8", backend="onnxruntime", threads=1, calibrate="zrr,min-max,3")
    how = {"models": "plainunet_8", "limit": 2, "sizes": ["none"], "out": tmp_path}
    (record,) = run("zrr", conditions=conditions, **how)
    assert record.status == "ok"
    asked = Calibration.of(record.spec.conditions.calibrate)
    assert (asked.source, asked.method, asked.images, len(asked.digest)) == ("zrr", "min-max", 3, 16)
    assert any(note.startswith("int8: a file of") for note in record.notes)
    (plain,) = run("zrr", conditions=Conditions(threads=1), **how)
    lost = plain.measurements["psnr[rgb]"].value - record.measurements["psnr[rgb]"].value
    assert 0 < abs(lost) < 1.5
    # The command that a record gives is taken again, with its digest; other images are another calibration.
    again = conditions.model_copy(update={"calibrate": asked.text})
    assert run("zrr", conditions=again, **how)[0].key == record.key
    with pytest.raises(UserError, match="the images have the digest"):
        run("zrr", conditions=conditions.model_copy(update={"calibrate": "zrr,min-max,4,0123"}), **how)
    assert len(Store(tmp_path).results()) == 2


class _Residual(torch.nn.Module):
    """Noise by a convolution whose other channels, of no use here, have a range thirty times as wide."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 6, 3, padding=1)
        self.last.weight.data[3:] *= 30

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        return planes - self.last(torch.relu(self.first(planes)))[:, :3]


class _Predicting(torch.nn.Module):
    """A convolution whose filters two layers predict from the mean of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.predict = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Linear(8, 81)
        self.last = torch.nn.Conv2d(3, 3, 1)

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        filters = self.predict(torch.relu(self.embed(planes)).mean((2, 3))).view(3, 3, 3, 3)
        return self.last(torch.nn.functional.conv2d(planes, filters, padding=1))


def _saved(network: torch.nn.Module, file: Path) -> tuple[Path, torch.Tensor]:
    from benchmark.backends.capture import capture
    from benchmark.backends.onnxfiles import save_onnx, to_onnx

    planes = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    program = capture(network.eval(), [planes])
    save_onnx(to_onnx(program, inputs=["planes"], outputs=["image"]), file)
    return file, planes


def test_the_last_layer_and_the_residual_stay_in_float(tmp_path) -> None:
    torch.manual_seed(0)
    network = _Residual()
    plain, planes = _saved(network, tmp_path / "plain.onnx")
    layers = graph.layers_of(plain)
    assert {layers.names[node] for node in layers.last} == {"last"}
    assert layers.asked(["first"]) == layers.asked(["Conv"]) - layers.last
    qdq.write_int8(plain, tmp_path / "int8.onnx", [planes], method_of("min-max"), layers)
    assert qdq.left_in_float(tmp_path / "int8.onnx") == {"Conv": 1}
    from benchmark.backends import ENGINES

    (output,) = ENGINES["onnxruntime"].open_file(tmp_path / "int8.onnx", [[1, 3, 24, 24]], 1)([planes])
    # With one scale for the output of the last layer the error would be ten times as large.
    assert float((output - network(planes).detach()).abs().max()) < 0.01


def test_what_predicts_filters_has_int8_weights_only(tmp_path) -> None:
    torch.manual_seed(0)
    plain, planes = _saved(_Predicting(), tmp_path / "plain.onnx")
    layers = graph.layers_of(plain)
    assert {layers.names[node] for node in layers.predicting & layers.names.keys()} >= {"predict"}
    qdq.write_int8(plain, tmp_path / "int8.onnx", [planes], method_of("min-max"), layers)
    assert qdq.left_in_float(tmp_path / "int8.onnx") == {"Gemm": 1, "Conv": 2}
    stored = {
        one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(str(tmp_path / "int8.onnx")).graph.initializer
    }
    assert (stored["predict.weight"].dtype, stored["predict.weight_scale"].shape) == (np.int8, (81,))


def test_nncf_writes_the_file_of_openvino(tmp_path) -> None:
    pytest.importorskip("nncf")
    from benchmark.backends import ENGINES
    from benchmark.running.quantizing import ir

    torch.manual_seed(0)
    for network, left in ((_Residual(), {"Conv": 1}), (_Predicting(), {"Conv": 2, "MatMul": 1})):
        plain, planes = _saved(network, tmp_path / "plain.onnx")
        file = tmp_path / f"{type(network).__name__}.xml"
        ir.write_int8(plain, file, [planes, planes / 2], method_of("percentile=99.99"), graph.layers_of(plain))
        assert ir.left_in_float(file) == left
        assert {name for name in ir.ranges_of(file)} >= {"planes"}
        (output,) = ENGINES["openvino"].open_file(file, [[1, 3, 24, 24]], 1)([planes])
        assert float((output - network(planes).detach()).abs().max()) < 0.02


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method", "mean"], "--method mean: expected min-max, or percentile=P"),
        (["--method", "percentile=101"], "--method percentile=101: expected min-max"),
        (["--calibrate", "nowhere"], "'nowhere'"),
        (["--calibrate", "pairs"], "pairs"),
        (["-o", "net.tflite"], "-o net.tflite: expected a name that ends with .onnx"),
    ],
)
def test_what_cannot_be_is_one_line(zoo_bench, tmp_path, flags: list[str], message: str) -> None:
    usual = ["--weights", "shipped", "--calibrate", "zrr", "-o", tmp_path / "net.onnx"]
    outcome = zoo_bench("quantize", "plainunet_8", *usual, *flags)
    assert outcome.code == 2
    assert message in outcome.err.splitlines()[-1]
    assert not list(tmp_path.glob("*.onnx"))


def test_random_weights_are_refused(zoo_bench, tmp_path) -> None:
    outcome = zoo_bench("quantize", "unet", "--calibrate", "zrr", "-o", tmp_path / "net.onnx")
    assert (outcome.code, "has random weights" in outcome.err) == (2, True)


def test_nan_and_other_sizes_are_named() -> None:
    planes = [torch.zeros(1, 4, 8, 8), torch.full((1, 4, 8, 8), float("nan")), torch.zeros(1, 4, 8, 16)]
    images = Images("folder", ["a.png", "b.png", "c.png"], lambda index: b"", planes.__getitem__)
    with pytest.raises(UserError, match=r"--calibrate folder: b.png has NaN or infinite values"):
        list(images.finite([0, 1]))
    with pytest.raises(UserError, match=r"c.png has \(8, 16\) planes and others \(8, 8\)"):
        list(images.finite([0, 2]))


def test_dark_images_clip_and_one_image_shows_nothing(tmp_path, zoo_bench) -> None:
    model = create_model("vdn_w8")
    save_state(tmp_path / "vdn_w8.safetensors", model.state_dict(), {"model": "vdn_w8"})
    folder, rng = tmp_path / "pictures", np.random.default_rng(0)
    folder.mkdir()
    for number in range(9):
        # The first, middle and last one give the ranges.
        top = 20 if number in (0, 4, 8) else 255
        Image.fromarray(rng.integers(0, top, (32, 32, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    command = ["quantize", "vdn_w8", "--weights", tmp_path / "vdn_w8.safetensors", "--calibrate", folder]
    outcome = zoo_bench(*command, "--images", "3", "-o", tmp_path / "dark.onnx")
    assert outcome.code == 0, outcome.err
    assert "values beyond the ranges of the calibration images, most of all" in outcome.out
    outcome = zoo_bench(*command, "--images", "1", "-o", tmp_path / "one.onnx")
    assert "calibrated with one image: nothing shows how much the result depends on it" in outcome.out


def test_tested_images_and_folders_of_noisy_pictures(tmp_path, zoo_bench) -> None:
    """A folder gets the noise of the run; a copy of a tested picture in it is refused."""
    model, rng = create_model("dncnn_17"), np.random.default_rng(0)
    save_state(tmp_path / "dncnn.safetensors", model.state_dict(), {"model": "dncnn_17"})
    for name in ("tested", "others"):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.fromarray(rng.integers(0, 255, (32, 32), dtype=np.uint8)).save(tmp_path / name / f"{number}.png")
    spec = get_card("dncnn_17").input_for({})
    images = images_of(str(tmp_path / "others"), spec, Levels(), dataset="awgn", options={"sigma": "25"})
    assert images.planes(0).shape == (1, 1, 32, 32)
    assert 20 < float((images.planes(0) - images.sample(0).target).std()) * 255 < 30
    shutil.copy(tmp_path / "tested" / "0.png", tmp_path / "others" / "copy.png")
    how = ["--weights", f"dncnn_17={tmp_path / 'dncnn.safetensors'}", "--precision", "int8", "--backend", "onnxruntime"]
    where = ["--data-root", tmp_path / "tested", "--sigma", "25", "--models", "dncnn_17", "-o", tmp_path / "out"]
    outcome = zoo_bench("run", "--dataset", "awgn", *where, *how, "--calibrate", tmp_path / "others")
    assert outcome.code == 2
    assert "copy.png is among the tested images" in outcome.err.splitlines()[-1]


def test_infer_and_profile_run_in_int8(tmp_path, zoo_bench, monkeypatch) -> None:
    from benchmark.running.quantizing.alone import for_time

    planes = np.random.default_rng(0).random((1, 4, 48, 64), dtype=np.float32)
    np.save(tmp_path / "planes.npy", planes)
    command = ["infer", "plainunet_8", tmp_path / "planes.npy", "--weights", "shipped", "--backend", "onnxruntime"]
    int8 = ["--precision", "int8", "--calibrate", "zrr,min-max,2"]
    for flags, folder in ((int8, "int8"), ([], "fp32")):
        outcome = zoo_bench(*command, *flags, "-o", tmp_path / folder)
        assert outcome.code == 0, outcome.err
    first, second = (np.load(tmp_path / folder / "planes.npy") for folder in ("int8", "fp32"))
    assert 0 < float(np.abs(first - second).mean()) < 0.02
    outcome = zoo_bench(*command, "--precision", "int8", "-o", tmp_path / "none")
    assert (outcome.code, "nothing gives the ranges" in outcome.err) == (2, True)
    conditions = Conditions(precision="int8", backend="onnxruntime", threads=1)
    found = for_time("plainunet_8", {}, [1, 4, 32, 32], conditions, Reporter())
    assert Calibration.of(found.calibrate).source == "noise"
    entry = entry_of("plainunet_8", None, {})
    assert entry.quantized_file(found).is_file()
    loaded = measure_cold_load.here(ToLoad(job=Job(model="plainunet_8", conditions=found), shape=[1, 4, 32, 32]))
    assert loaded.status == "ok", loaded.error
    assert len(loaded.value.samples_ms) == PROCESSES
    with pytest.raises(UserError, match="profile runs random weights on noise"):
        for_time("plainunet_8", {}, [1, 4, 32, 32], conditions.model_copy(update={"calibrate": "zrr"}), Reporter())


def test_the_page_sets_int8_beside_float32(tmp_path) -> None:
    how = {"models": "plainunet_8", "limit": 2, "sizes": ["none"], "out": tmp_path}
    int8 = Conditions(precision="int8", backend="onnxruntime", threads=1, calibrate="zrr,min-max,2")
    assert int8_page(run("zrr", conditions=int8, **how)) is None
    records = [*run("zrr", conditions=Conditions(threads=1), **how), *run("zrr", conditions=int8, **how)]
    assert records[1].measurements["file_bytes"].value < records[1].measurements["float_file_bytes"].value
    page = int8_page(records)
    (line,) = (line for line in page.splitlines() if line.startswith("| plainunet_8"))
    values = [f"{record.measurements['psnr[rgb]'].value:.2f}" for record in records]
    assert [cell.strip() for cell in line.split("|")[3:6]] == ["onnxruntime", *values]
    assert "left in float32: Conv 1" in page


def test_the_page_sets_time_and_memory_beside_the_same_engine_in_float32() -> None:
    def record(backend: str, precision: str, time: float, memory: int, **more) -> Result:
        costs = {
            "relative_latency": measurement(time, kind="timing", higher=False, **more),
            "peak_rss_bytes": measurement(memory, kind="timing", higher=False),
        }
        whole = result("net", 20.0)
        calibrate = "zrr" if precision == "int8" else None
        spec = under(whole.spec, backend=backend, precision=precision, calibrate=calibrate)
        update = {"key": f"{backend}{precision}", "spec": spec, "measurements": {**whole.measurements, **costs}}
        return whole.model_copy(update=update)

    torch, plain = record("torch", "fp32", 9.0, 900), record("openvino", "fp32", 4.0, 200)
    quick = cells(int8_page([torch, plain, record("openvino", "int8", 3.0, 50)]))
    assert {"x 0.75", "x 0.25"} <= quick
    disturbed = cells(int8_page([torch, plain, record("openvino", "int8", 3.0, 50, tainted=["busy"])]))
    assert ("x 0.75" in disturbed, "x 0.25" in disturbed) == (False, True)
    assert not any(cell.startswith("x ") for cell in cells(int8_page([torch, record("openvino", "int8", 3.0, 50)])))


def cells(page: str) -> set[str]:
    (line,) = (line for line in page.splitlines() if line.startswith("| net "))
    return {cell.strip() for cell in line.split("|")}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--precision", "int8"], "--precision int8: torch does not run it here; pass --backend onnxruntime"),
        (["--precision", "int8", "--backend", "onnxruntime", "--tile", "auto"], "networks in int8 run whole images"),
        (["--calibrate", "zrr"], "--calibrate zrr: only --precision int8 is calibrated"),
        (
            ["--precision", "int8", "--backend", "onnxruntime", "--calibrate", "zrr,min-max,0"],
            "--calibrate zrr,min-max,0",
        ),
    ],
)
def test_conditions_that_do_not_go_together(zoo_bench, tmp_path, flags: list[str], message: str) -> None:
    outcome = zoo_bench("run", "--dataset", "zrr", "--models", "plainunet_8", "-o", tmp_path, *flags)
    assert outcome.code == 2
    assert message in outcome.err.splitlines()[-1]


def test_methods_and_calibrations_are_read_back() -> None:
    assert method_of("percentile=99.990").text == "percentile=99.99"
    for text in ("zrr", "a,b", "zrr,percentile=99,7,0123,4", ",min-max", "zrr,min-max,0"):
        if text == "zrr":
            assert Calibration.of(text).text == "zrr,min-max,32"
        elif text == "a,b":
            with pytest.raises(UserError, match="--method b"):
                method_of(Calibration.of(text).method)
        else:
            with pytest.raises(UserError, match="--calibrate"):
                Calibration.of(text)


def test_each_engine_has_files_of_its_own_in_the_cache() -> None:
    entry, how = entry_of("plainunet_8", None, {}), {"precision": "int8", "calibrate": "zrr"}
    files = [entry.quantized_file(Conditions(backend=name, **how)) for name in ("onnxruntime", "openvino")]
    # What is said of a file lies beside it under its stem.
    assert files[0].stem != files[1].stem
    assert [file.suffix for file in files] == [".onnx", ".xml"]
