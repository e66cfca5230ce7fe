"""ONNX files: agreement with torch, what they say about themselves, two halves of hyper-networks, refusals."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.test_models import side_of
from zoo import create_model, get_card, list_models, register_model
from zoo.registry import Registry
from zoo.weights import save_state

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

# Options that keep every operation of a model and make it small.
SMALL = {
    **dict.fromkeys(("hyperunet_32_16_2048", "hyperunet_32_32_2048", "hyperunet_8_32_4000"), ("hidden=64",)),
    "hyperunet_64_32_2048": ("hidden=64",),
    **dict.fromkeys(("hypervdn_21", "hypervdn_32"), ("embedding_channels=4,8,16", "hidden=5")),
    "awnet_4ch": ("blocks=1,1,1,1,1",),
}


def settings(name: str) -> list[str]:
    return [part for value in SMALL.get(name, []) for part in ("--set", value)]


def export(zoo_bench, name: str, file, *more) -> dict:
    side = side_of(get_card(name).input)
    outcome = zoo_bench("export", name, "-o", file, "--size", f"{side}x{side}", "--json", *settings(name), *more)
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def check(document: dict) -> None:
    assert document["parity"]["ok"]
    assert document["parity"]["relative_error"] <= 1e-4
    assert document["parity"]["sizes"][0]["max_abs_error"] >= 0
    for one in document["files"]:
        graph = onnx.load(one["file"]).graph
        assert sum(one["operations"].values()) == len(graph.node)
        assert one["operations"]["Conv" if "Conv" in one["operations"] else graph.node[0].op_type] >= 1
        assert {value.name for value in graph.input} == set(one["inputs"])
        assert [value.name for value in graph.output] == one["outputs"]


@pytest.mark.parametrize("name", ["plainunet_8", "vdn_w8", "bilinear"])
def test_representative_models_agree_with_torch(zoo_bench, tmp_path, name: str) -> None:
    check(export(zoo_bench, name, tmp_path / "model.onnx"))


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_every_model_agrees_with_torch(zoo_bench, tmp_path, name: str) -> None:
    document = export(zoo_bench, name, tmp_path / "model.onnx")
    check(document)
    with (tmp_path.parent / "exports.jsonl").open("a") as table:
        errors = {key: document["parity"][key] for key in ("max_abs_error", "relative_error")}
        operations = {one["role"]: len(one["operations"]) for one in document["files"]}
        table.write(json.dumps({"model": name, "input": document["input_shape"], **errors, **operations}) + "\n")


def test_a_hyper_network_is_two_graphs_that_make_the_whole(zoo_bench, tmp_path) -> None:
    document = export(zoo_bench, "hyperunet_8_8_64", tmp_path / "hyper.onnx")
    assert [one["role"] for one in document["files"]] == ["forward", "filters"]
    assert "two graphs" in document["notes"][0]
    # Prediction lies in one of them alone: no matrix products beside the convolutions that use the filters.
    forward, filters = (one["operations"] for one in document["files"])
    assert "Gemm" not in forward
    assert forward["Conv"] == 7
    assert filters["Gemm"] == 15
    torch.manual_seed(0)
    network = create_model("hyperunet_8_8_64").eval()
    planes = np.random.RandomState(3).rand(1, 4, 32, 32).astype(np.float32)
    predict, run = (onnxruntime.InferenceSession(tmp_path / f"hyper{end}.onnx") for end in (".filters", ""))
    names = [value.name for value in predict.get_outputs()]
    given = dict(zip(names, predict.run(names, {"planes": planes})))
    (image,) = run.run(None, {"planes": planes, **given})
    with torch.inference_mode():
        np.testing.assert_allclose(image, network(torch.from_numpy(planes)).numpy(), atol=1e-5)


def test_frozen_filters_are_those_of_the_image(zoo_bench, tmp_path) -> None:
    planes = np.random.RandomState(4).rand(1, 4, 36, 40).astype(np.float32)
    np.save(tmp_path / "image.npy", planes)
    call = ["export", "hyperunet_8_8_64", "-o", tmp_path / "f.onnx", "--freeze", tmp_path / "image.npy", "--json"]
    outcome = zoo_bench(*call)
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert document["input_shape"] == [1, 4, 36, 40]
    assert "filters are frozen" in document["notes"][0]
    (one,) = document["files"]
    assert list(one["inputs"]) == ["planes"]
    assert "Gemm" not in one["operations"]
    torch.manual_seed(0)
    network = create_model("hyperunet_8_8_64").eval()
    (image,) = onnxruntime.InferenceSession(tmp_path / "f.onnx").run(None, {"planes": planes})
    with torch.inference_mode():
        np.testing.assert_allclose(image, network(torch.from_numpy(planes)).numpy(), atol=1e-5)


def test_an_open_size_is_compared_at_two_sizes(zoo_bench, tmp_path) -> None:
    document = export(zoo_bench, "plainunet_8", tmp_path / "open.onnx", "--dynamic")
    assert [one["input_shape"][2:] for one in document["parity"]["sizes"]] == [[64, 64], [72, 76]]
    session = onnxruntime.InferenceSession(tmp_path / "open.onnx")
    (image,) = session.run(None, {"planes": np.zeros((1, 4, 64, 96), np.float32)})
    assert image.shape == (1, 3, 128, 192)


def test_a_size_that_operations_depend_on_cannot_be_left_open(zoo_bench, tmp_path) -> None:
    outcome = zoo_bench("export", "unet_w8", "-o", tmp_path / "u.onnx", "--dynamic")
    assert outcome.code == 2
    assert "export unet_w8: its operations depend on the size of the image; leave --dynamic out." in outcome.err


def test_a_file_is_compared_again_with_the_network_that_it_holds(zoo_bench, tmp_path) -> None:
    export(zoo_bench, "plainunet_8", tmp_path / "p.onnx")
    outcome = zoo_bench("export", "plainunet_8", "--check", tmp_path / "p.onnx", "--json")
    assert (outcome.code, json.loads(outcome.out)["parity"]["ok"]) == (0, True)
    assert zoo_bench("export", "plainunet_8", "--seed", "1", "--check", tmp_path / "p.onnx").code == 1
    (tmp_path / "p.onnx").write_bytes(b"no network")
    outcome = zoo_bench("export", "plainunet_8", "--check", tmp_path / "p.onnx")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "is no ONNX file, or it is damaged" in outcome.err


def test_the_file_says_what_it_is_and_not_where_it_was_made(zoo_bench, tmp_path) -> None:
    torch.manual_seed(1)
    about = {"model": "plainunet_8", "options": "{}", "evidence": "trained", "recipe": "a_recipe"}
    save_state(tmp_path / "w.safetensors", create_model("plainunet_8").state_dict(), about)
    document = export(zoo_bench, "plainunet_8", tmp_path / "m.onnx", "--weights", tmp_path / "w.safetensors")
    assert document["evidence"] == "trained"
    content = onnx.load(tmp_path / "m.onnx")
    said = {entry.key.removeprefix("zoo_bench."): entry.value for entry in content.metadata_props}
    assert (said["model"], said["evidence"], said["recipe"]) == ("plainunet_8", "trained", "a_recipe")
    assert said["weights_sha256"] == document["weights"]["sha256"]
    convention = json.loads(said["input"])
    # The red pixel first: blue lies at (1, 1), green beside red at (0, 1).
    assert convention["planes"] == [[1, 1], [0, 1], [0, 0], [1, 0]]
    assert (convention["divisor"], convention["multiple"], convention["output_scale"]) == (1020.0, 4, 2.0)
    assert b".py" not in (tmp_path / "m.onnx").read_bytes()


def test_weights_too_large_for_one_file_lie_beside_it_and_move_with_it(zoo_bench, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("benchmark.backends.onnxfiles.MOST_INLINE_BYTES", 1000)
    document = export(zoo_bench, "plainunet_8", tmp_path / "here" / "model.onnx")
    check(document)
    (one,) = document["files"]
    assert one["weights_file"] == str(tmp_path / "here" / "model.onnx.data")
    assert sorted(file.name for file in (tmp_path / "here").iterdir()) == ["model.onnx", "model.onnx.data"]
    assert one["weights_bytes"] == (tmp_path / "here" / "model.onnx.data").stat().st_size
    # Biases are few, and stay.
    weights = 4 * sum(tensor.numel() for tensor in create_model("plainunet_8").parameters() if tensor.ndim > 1)
    assert one["weights_bytes"] >= weights
    assert one["bytes"] == (tmp_path / "here" / "model.onnx").stat().st_size
    # The file names its weights by a name beside it, wherever both lie.
    (tmp_path / "here").rename(tmp_path / "there")
    said = {entry.key for entry in onnx.load(tmp_path / "there" / "model.onnx").metadata_props}
    assert "zoo_bench.model" in said
    torch.manual_seed(0)
    network = create_model("plainunet_8").eval()
    planes = np.random.RandomState(3).rand(1, 4, 32, 32).astype(np.float32)
    (image,) = onnxruntime.InferenceSession(tmp_path / "there" / "model.onnx").run(None, {"planes": planes})
    with torch.inference_mode():
        np.testing.assert_allclose(image, network(torch.from_numpy(planes)).numpy(), atol=1e-5)


def test_an_export_again_leaves_no_weights_of_the_one_before(zoo_bench, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("benchmark.backends.onnxfiles.MOST_INLINE_BYTES", 1000)
    export(zoo_bench, "plainunet_8", tmp_path / "model.onnx")
    monkeypatch.undo()
    document = export(zoo_bench, "plainunet_8", tmp_path / "model.onnx")
    assert document["files"][0]["weights_file"] is None
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_an_export_without_room_leaves_no_file(zoo_bench, tmp_path, monkeypatch) -> None:
    def save(self, file: str, **more) -> None:
        for end in ("", ".data"):
            Path(file + end).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("torch.onnx.ONNXProgram.save", save)
    outcome = zoo_bench("export", "plainunet_8", "-o", tmp_path / "m.onnx", "--size", "32x32")
    assert outcome.code == 2
    assert f"-o {tmp_path / 'm.onnx'}: cannot be written (No space left on device)" in outcome.err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hyperunet_32_16_2048", "hyperunet_8_32_4000", "hypervdn_21", "hypervdn_32"])
def test_hyper_networks_agree_with_torch_with_all_their_weights(zoo_bench, tmp_path, name: str) -> None:
    outcome = zoo_bench("export", name, "-o", tmp_path / "m.onnx", "--size", "64x64", "--json")
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    check(document)
    forward, filters = document["files"]
    assert filters["bytes"] > 200e6 > 200 * forward["bytes"]


# Refusals. The registry of models is left as it was.


@pytest.fixture
def register(monkeypatch):
    from zoo.card import MODELS

    list_models()
    monkeypatch.setattr(MODELS, "_items", dict(MODELS._items))
    assert isinstance(MODELS, Registry)

    def add(name: str, network: type[nn.Module]) -> None:
        def build() -> nn.Module:
            return network()

        build.__name__ = name
        register_model(task="denoise_rgb")(build)

    return add


class Bessel(nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x)


class Counting(nn.Module):
    """Returns something else at each call: a captured graph keeps the first."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return x + self.calls


class Deciding(nn.Module):
    def forward(self, x):
        return x if x.mean() > 0 else -x


def test_an_operation_without_a_form_in_onnx_is_named(zoo_bench, tmp_path, register) -> None:
    register("bessel", Bessel)
    outcome = zoo_bench("export", "bessel", "-o", tmp_path / "b.onnx")
    assert outcome.code == 2
    assert "export bessel: ONNX does not have the operation" in outcome.err
    assert "bessel_j0" in outcome.err.partition("operation")[2]
    assert not (tmp_path / "b.onnx").exists()


class Unpooling(nn.Module):
    """Puts maxima back where they were found."""

    def forward(self, x):
        y, indices = nn.functional.adaptive_max_pool2d(x, (128, 128), return_indices=True)
        return nn.functional.max_unpool2d(y, indices, 2)


class Scripted(nn.ReLU):
    def __new__(cls):
        return torch.jit.script(nn.ReLU())


def test_maxima_are_put_back_where_they_were_found(zoo_bench, tmp_path, register) -> None:
    register("unpooling", Unpooling)
    outcome = zoo_bench("export", "unpooling", "-o", tmp_path / "u.onnx")
    assert outcome.code == 0, outcome.err


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_scripted_network_is_refused(zoo_bench, tmp_path, register) -> None:
    register("scripted", Scripted)
    outcome = zoo_bench("export", "scripted", "-o", tmp_path / "s.onnx")
    assert outcome.code == 2
    assert "it is a TorchScript module" in outcome.err.splitlines()[-1]


def test_code_that_depends_on_values_is_refused(zoo_bench, tmp_path, register) -> None:
    register("deciding", Deciding)
    outcome = zoo_bench("export", "deciding", "-o", tmp_path / "d.onnx")
    assert outcome.code == 2
    assert "the network cannot be captured as a graph" in outcome.err


def test_a_file_that_disagrees_is_kept_named_and_exits_1(zoo_bench, tmp_path, register) -> None:
    register("counting", Counting)
    outcome = zoo_bench("export", "counting", "-o", tmp_path / "c.onnx")
    assert outcome.code == 1
    assert "DOES NOT AGREE within a relative error of 0.0001" in outcome.out
    assert f"{tmp_path / 'c.onnx'}: the output differs from torch's; the file is kept" in outcome.err
    assert (tmp_path / "c.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plainunet_8", "-o", "model.pt"], "-o model.pt: expected a name that ends with .onnx"),
        (["plainunet_8", "-o", "m.onnx", "--freeze", "x.npy"], "--freeze x.npy: plainunet_8 is no hyper-network"),
        (["plainunet_8", "-o", "m.onnx", "--size", "8x8"], "planes of 8x8 are too small"),
        (["plainunet_9", "-o", "m.onnx"], "no model called 'plainunet_9'; did you mean plainunet_"),
        (["plainunet_8", "-o", "m.onnx", "--opset", "7"], "--opset"),
    ],
)
def test_bad_input_is_one_line(zoo_bench, tmp_path, monkeypatch, arguments: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = zoo_bench("export", *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
