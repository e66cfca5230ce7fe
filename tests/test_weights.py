"""Weights files: published formats in, everything else refused in one line."""

from __future__ import annotations

import pickle
import re
import warnings

import numpy as np
import pytest
import torch

from zoo import UserError, create_model
from zoo.fitting import load_strictly
from zoo.weights import read_checkpoint, save_state


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return create_model("plainunet_8").state_dict()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model_state": {f"module.{key}": value for key, value in state.items()}, "lr": 1e-4},
        lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": []}},
        lambda state: {"model": {"state_dict": state}},
    ],
)
def test_published_wrappings_are_removed(tmp_path, state, wrap) -> None:
    torch.save(wrap(state), tmp_path / "checkpoint.pth")
    checkpoint = read_checkpoint(tmp_path / "checkpoint.pth")
    model = create_model("plainunet_8")
    load_strictly(model, checkpoint.state, name="plainunet_8", source="checkpoint.pth")
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_safetensors_and_npz_come_back(tmp_path, state) -> None:
    save_state(tmp_path / "w.safetensors", _filled(state).state_dict(), {"model": "plainunet_8"})
    np.savez(tmp_path / "w.npz", **{key: value.numpy() for key, value in state.items()})
    for name, metadata in (("w.safetensors", {"model": "plainunet_8"}), ("w.npz", {})):
        checkpoint = read_checkpoint(tmp_path / name)
        assert checkpoint.metadata == metadata
        assert set(checkpoint.state) == set(state)
        assert all(torch.equal(value, state[key]) for key, value in checkpoint.state.items())


def _filled(state):
    model = create_model("plainunet_8")
    model.load_state_dict(state)
    return model


class Evil:
    """Runs code when it is unpickled by a careless reader."""

    def __reduce__(self):
        return (print, ("executed",))


def test_a_pickle_with_code_is_refused_and_not_executed(tmp_path, capsys) -> None:
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"weight": Evil()}))
    with pytest.raises(UserError, match=r"evil\.pth (is refused|cannot be read)"):
        read_checkpoint(tmp_path / "evil.pth")
    torch.save({"weight": Evil()}, tmp_path / "evil2.pth")
    with pytest.raises(UserError, match=r"evil2\.pth is refused: it is not a plain file of tensors"):
        read_checkpoint(tmp_path / "evil2.pth")
    assert "executed" not in capsys.readouterr().out


def test_a_pickled_module_is_refused(tmp_path) -> None:
    torch.save(create_model("plainunet_8"), tmp_path / "module.pth")
    with pytest.raises(UserError, match="is refused"):
        read_checkpoint(tmp_path / "module.pth")


def test_tensors_of_a_gpu_are_read_on_the_cpu(tmp_path, state, monkeypatch) -> None:
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
    for new in (True, False):
        torch.save(state, tmp_path / "gpu.pth", _use_new_zipfile_serialization=new)
        assert b"cuda:0" in (tmp_path / "gpu.pth").read_bytes()
        read = read_checkpoint(tmp_path / "gpu.pth").state
        assert all(torch.equal(read[key], value) for key, value in state.items())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: {"model": net, "epoch": 1}, torch.nn.DataParallel])
def test_a_whole_network_is_refused_by_the_name_of_its_class(tmp_path, wrap, zipped: bool) -> None:
    torch.save(wrap(create_model("plainunet_8")), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        UserError, match=r"w\.pth is refused: .*it needs the code of \S*(PlainUNet|DataParallel)\)"
    ) as caught:
        read_checkpoint(tmp_path / "w.pth")
    assert "weights_only" not in str(caught.value)


def test_torchscript_is_named_with_the_next_step(tmp_path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(torch.nn.Conv2d(1, 1, 1), torch.rand(1, 1, 2, 2)), tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"w\.pt cannot be read: it is a TorchScript program; torch\.save\("):
        read_checkpoint(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.tflite", b"\x1c\0\0\0TFL3", "a TensorFlow Lite program; import the checkpoint"),
        ("w.ckpt.meta", b"\x0a\xff", r"the graph of a TensorFlow checkpoint; name its \.index"),
        ("w.pb", b"\x0a\x10", r"a TensorFlow program; import its checkpoint"),
        ("checkpoint", b'model_checkpoint_path: "x"', "a list of TensorFlow checkpoints"),
        ("w.onnx", b"\x08\x07", "an ONNX program"),
        ("w.h5", b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        ("w.mat", b"MATLAB 5.0 MAT-file", r"v7\.3 \(a MATLAB file of version 5"),
        ("w.npy", b"\x93NUMPY", "one NumPy array"),
        ("w.pth", b"\n<!DOCTYPE html><html>", "a web page, not the file"),
        ("w.pth", b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS"),
        ("w.pth.tar", b"\x1f\x8b\x08", "compressed by gzip; unpack it first"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"weights: .*{re.escape(name)} (cannot be read: it )?is .*{message}"):
        read_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list; expected a state_dict"),
        ({"lr": 1.0, "epoch": 2}, "holds a dictionary with keys lr, epoch; expected a state_dict"),
        ({}, "holds no tensors|expected a state_dict"),
    ],
)
def test_a_file_without_a_state_dict_says_what_it_holds(tmp_path, content, message: str) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(UserError, match=message):
        read_checkpoint(tmp_path / "other.pth")


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "npz"])
@pytest.mark.parametrize("keep", [0, 1, 100, 0.5])
def test_a_truncated_file_is_named(tmp_path, state, suffix: str, keep: float) -> None:
    file = tmp_path / f"w.{suffix}"
    if suffix == "pth":
        torch.save(state, file)
    elif suffix == "npz":
        np.savez(file, **{key: value.numpy() for key, value in state.items()})
    else:
        save_state(file, _filled(state).state_dict(), {})
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(UserError, match=rf"weights: .*w\.{suffix} "):
        read_checkpoint(file)


def test_a_file_over_the_bound_is_refused_before_it_is_read(tmp_path) -> None:
    file = tmp_path / "huge.pth"
    with file.open("wb") as stream:
        stream.truncate(1 << 40)  # sparse: takes no disk
    with pytest.raises(UserError, match=r"files over \d+ bytes are refused"):
        read_checkpoint(file)


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(UserError, match="no file at"):
        read_checkpoint(tmp_path / "nothing.pth")


def test_missing_extra_and_misshaped_keys_are_named(state) -> None:
    state["out.weight"] = torch.zeros(12, 9, 3, 3)
    state["extra.weight"] = torch.zeros(1)
    del state["up1.bias"], state["enc1.weight"]
    with pytest.raises(UserError) as caught:
        load_strictly(create_model("plainunet_8"), state, name="plainunet_8", source="w.pth")
    text = str(caught.value)
    assert text.startswith(
        "plainunet_8: w.pth does not fit: 2 missing (enc1.weight, up1.bias); 1 unexpected (extra.weight)"
    )
    assert "1 of another shape (out.weight is (12, 9, 3, 3), expected (12, 8, 3, 3))" in text


def test_a_checkpoint_of_another_family_says_which() -> None:
    state = create_model("unet_w8").state_dict()
    with pytest.raises(UserError, match="It looks like a checkpoint of unet_w8"):
        load_strictly(create_model("plainunet_8"), state, name="plainunet_8", source="w.pth")


def test_only_counters_of_training_steps_may_be_absent() -> None:
    state = {k: v for k, v in create_model("unet_w8").state_dict().items() if not k.endswith("num_batches_tracked")}
    load_strictly(create_model("unet_w8"), state, name="unet_w8", source="w.pth")
    del state["inc.double_conv.1.running_mean"]
    with pytest.raises(UserError, match=r"1 missing \(inc\.double_conv\.1\.running_mean\)"):
        load_strictly(create_model("unet_w8"), state, name="unet_w8", source="w.pth")


def test_writing_weights_is_atomic(tmp_path, state) -> None:
    folder = tmp_path / "w.safetensors"
    folder.mkdir()
    with pytest.raises(UserError, match="cannot write"):
        save_state(folder, _filled(state).state_dict(), {})
    assert list(tmp_path.iterdir()) == [folder]


# Weights of another kind, damage that a reader does not see by itself, files that hold more than one network.


def saved(tmp_path, content, name: str = "w.pth"):
    torch.save(content, tmp_path / name)
    return tmp_path / name


def loaded(state) -> torch.nn.Module:
    model = create_model("plainunet_8")
    load_strictly(model, state, name="plainunet_8", source="w.pth")
    return model


@pytest.mark.parametrize("kind", ["int8", "int64", "bool", "uint8", "complex64", "float8_e4m3fn"])
def test_numbers_of_another_kind_are_refused_with_key_and_type(state, kind: str) -> None:
    state["up1.bias"] = state["up1.bias"].to(getattr(torch, kind))
    with pytest.raises(UserError, match=rf"w\.pth has weights of another kind: up1\.bias is {kind}, expected float32"):
        loaded(state)


@pytest.mark.parametrize(
    ("kind", "how"), [("float16", "without loss"), ("bfloat16", "without"), ("float64", "rounded")]
)
def test_floats_of_another_width_are_taken_and_noted(zoo_bench, tmp_path, state, kind: str, how: str) -> None:
    other = {key: (value.double() / 3).to(getattr(torch, kind)) for key, value in state.items()}
    outcome = zoo_bench("weights", "import", "plainunet_8", saved(tmp_path, other), "-o", tmp_path / "w.safetensors")
    assert (outcome.code, f"{len(state)} tensor(s) of {kind} are used as float32, {how}" in outcome.err) == (0, True)
    written = read_checkpoint(tmp_path / "w.safetensors").state
    assert all(torch.equal(written[key], other[key].float()) for key in state)


def test_counters_of_another_width_are_taken_where_they_fit() -> None:
    counter = "inc.double_conv.1.num_batches_tracked"
    for value, fits in ((torch.tensor(7, dtype=torch.int32), True), (torch.tensor(7.0), False)):
        model = create_model("unet_w8")
        given = model.state_dict() | {counter: value}
        if fits:
            load_strictly(model, given, name="unet_w8", source="w.pth")
            assert model.state_dict()[counter] == 7
        else:
            with pytest.raises(UserError, match=rf"{counter} is float32, expected int64"):
                load_strictly(model, given, name="unet_w8", source="w.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_refused_by_key(zoo_bench, tmp_path, state, value: float) -> None:
    state["up1.bias"][0] = value
    outcome = zoo_bench("weights", "import", "plainunet_8", saved(tmp_path, state), "-o", tmp_path / "w.safetensors")
    assert outcome.code == 2
    assert "1 tensor(s) with NaN or infinite values (up1.bias)" in outcome.err
    assert not (tmp_path / "w.safetensors").exists()
    state["up1.bias"] = torch.full((8,), 1e300, dtype=torch.float64)
    with pytest.raises(UserError, match=r"NaN or infinite values \(up1\.bias\)"):
        loaded(state)


class Masked(torch.nn.Module):
    """A mask of infinities, as attention has, and statistics that must be finite."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
        self.norm = torch.nn.BatchNorm2d(2)


def test_a_mask_may_be_infinite_and_statistics_may_not() -> None:
    state = Masked().state_dict()
    load_strictly(Masked(), state, name="masked", source="w.pth")
    for key, value in (("mask", float("nan")), ("norm.running_var", float("inf"))):
        with pytest.raises(UserError, match=rf"NaN or infinite values \({key}\)"):
            load_strictly(Masked(), state | {key: torch.full((2,), value)}, name="masked", source="w.pth")


@pytest.mark.parametrize("suffix", ["pth", "npz"])
def test_a_flipped_bit_is_found_by_the_checksum(tmp_path, state, suffix: str) -> None:
    file = tmp_path / f"w.{suffix}"
    if suffix == "pth":
        torch.save(state, file)
    else:
        np.savez(file, **{key: value.numpy() for key, value in state.items()})
    content = bytearray(file.read_bytes())
    place = content.index(state["enc1.weight"].numpy().tobytes())
    content[place + 100] ^= 0x10
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"w\.{suffix} is damaged \(.*its checksum does not match\)"):
        read_checkpoint(file)


@pytest.mark.parametrize("spoil", [lambda value: value.to_sparse(), lambda value: value.to("meta")])
def test_tensors_that_are_not_plain_are_refused(tmp_path, state, spoil) -> None:
    with pytest.raises(UserError, match=r"up1\.bias is no plain tensor"):
        read_checkpoint(saved(tmp_path, state | {"up1.bias": spoil(state["up1.bias"])}))


def halved(state):
    return {key: value / 2 for key, value in state.items()}


@pytest.mark.parametrize(
    ("beside", "names"),
    [
        (lambda mean: {"state_dict_ema": mean}, "state_dict, state_dict_ema"),
        (lambda mean: {"params_ema": mean}, "state_dict, params_ema"),
        (lambda mean: {"anything": mean}, "state_dict, anything"),
        (lambda mean: {"swa": {"n_averaged": torch.tensor(3), **{f"module.{k}": v for k, v in mean.items()}}}, "swa"),
        (lambda mean: {"model_ema": {"decay": 0.9, "module": mean}}, "state_dict, model_ema.module"),
        (lambda mean: {"ema": {"shadow_params": list(mean.values())}}, "state_dict, ema"),
    ],
)
def test_a_running_mean_beside_the_weights_is_a_question(tmp_path, state, beside, names: str) -> None:
    file = saved(tmp_path, {"state_dict": state, "epoch": 3, **beside(halved(state))})
    with pytest.raises(UserError, match=f"holds several sets of weights, .*{names}; which one is meant") as caught:
        read_checkpoint(file)
    assert "weights import --take state_dict" in str(caught.value)
    assert torch.equal(read_checkpoint(file, take="state_dict").state["up1.bias"], state["up1.bias"])


@pytest.mark.parametrize(
    "beside",
    [
        lambda state: {"model": dict(state)},  # the same values
        lambda state: {"ema": None, "ema_decay": 0.99, "ema_updates": torch.tensor(5)},
        lambda state: {
            "discriminator": {"conv.weight": torch.ones(3)},
            "optimizer": {"state": {0: {"m": torch.ones(3)}}},
        },
    ],
)
def test_what_is_no_other_choice_is_no_question(tmp_path, state, beside) -> None:
    file = saved(tmp_path, {"state_dict": state, **beside(state)})
    assert torch.equal(read_checkpoint(file).state["up1.bias"], state["up1.bias"])


def test_take_names_the_weights_and_the_import_says_so(zoo_bench, tmp_path, state) -> None:
    file, out = saved(tmp_path, {"net": {"weights": state, "mean": {"ema": halved(state)}}}), tmp_path / "w.safetensors"
    command = ("weights", "import", "plainunet_8", file, "-o", out)
    assert "Name one of net.weights, net.mean.ema with" in zoo_bench(*command).err
    assert "has no such dictionary of tensors; it has net.weights" in zoo_bench(*command, "--take", "ema").err
    assert zoo_bench(*command, "--take", "net.mean.ema").code == 0
    assert read_checkpoint(out).metadata["source_part"] == "net.mean.ema"
    assert torch.equal(read_checkpoint(out).state["up1.bias"], state["up1.bias"] / 2)
    with pytest.raises(UserError, match="holds one set of weights"):
        read_checkpoint(out, take="ema")


def test_a_checkpoint_inside_itself_ends(tmp_path) -> None:
    content: dict = {"epoch": 3}
    content["model"] = content
    with pytest.raises(UserError, match="expected a state_dict"):
        read_checkpoint(saved(tmp_path, content))


# Weights that share their memory.


class Tied(torch.nn.Module):
    """A layer under two names, a parameter under two, and one that is a part of another."""

    def __init__(self) -> None:
        super().__init__()
        layer = torch.nn.Linear(3, 3)
        self.body = torch.nn.ModuleList([layer, layer])
        self.other = torch.nn.Linear(3, 3)
        self.other.weight = layer.weight
        self.whole = torch.nn.Parameter(torch.randn(4, 3))
        self.part = torch.nn.Parameter(self.whole.detach()[1:3])


def test_shared_weights_are_written_under_each_name_and_come_back(tmp_path) -> None:
    model, other = Tied(), Tied()
    save_state(tmp_path / "w.safetensors", model.state_dict(), {})
    state = read_checkpoint(tmp_path / "w.safetensors").state
    assert state.keys() == model.state_dict().keys()
    load_strictly(other, state, name="tied", source="w")
    assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())
    assert other.body[0].weight is other.other.weight
    # Files of other writers keep one of the names.
    for name in ("body.0.weight", "body.1.weight", "other.weight"):
        fewer = {key: value for key, value in state.items() if not key.endswith(".weight") or key == name}
        load_strictly(other, fewer, name="tied", source="w")


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("key", ["body.1.bias", "other.weight", "part"])
def test_shared_weights_with_different_values_are_refused(device: str, key: str) -> None:
    with torch.device(device):
        model = Tied()
    state = {name: value.clone() for name, value in Tied().state_dict().items()}
    state[key] += 1
    with pytest.raises(UserError, match=rf"different values for weights that share their memory .*{key}"):
        load_strictly(model, state, name="tied", source="w")


def test_a_checkpoint_with_shared_storage_is_imported(zoo_bench, tmp_path, state) -> None:
    whole = torch.arange(24.0)
    state |= {
        "enc0b.bias": state["enc0a.bias"],
        "up1.bias": whole[:8],
        "enc1.bias": whole[4 : 4 + len(state["enc1.bias"])],
    }
    outcome = zoo_bench("weights", "import", "plainunet_8", saved(tmp_path, state), "-o", tmp_path / "w.safetensors")
    assert outcome.code == 0, outcome.err
    written = read_checkpoint(tmp_path / "w.safetensors").state
    assert all(torch.equal(written[key], value) for key, value in state.items())


def test_the_same_weights_are_the_same_bytes(tmp_path) -> None:
    metadata = {name: name * 3 for name in "qwertzuiop"}
    for number in range(4):
        save_state(tmp_path / f"{number}.safetensors", {"b": torch.ones(2), "a": torch.zeros(3)}, metadata)
    assert len({(tmp_path / f"{number}.safetensors").read_bytes() for number in range(4)}) == 1
    assert read_checkpoint(tmp_path / "0.safetensors").metadata == metadata
