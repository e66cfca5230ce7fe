"""Weights files: published formats in, everything else refused in one line."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from zoo import UserError, create_model
from zoo.weights import load_strictly, read_checkpoint, save_weights


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
    save_weights(tmp_path / "w.safetensors", _filled(state), {"model": "plainunet_8"})
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
        save_weights(file, _filled(state), {})
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
        save_weights(folder, _filled(state), {})
    assert list(tmp_path.iterdir()) == [folder]
