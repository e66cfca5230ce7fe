"""The Python face: names, networks with shipped weights, and modules of a user's own."""

from __future__ import annotations

import copy
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import benchmark
from benchmark import evaluate, profile
from tests.test_import import DATA, official_state
from zoo import InputSpec, UserError, create_model, get_card, load_weights, register_model
from zoo.creating import made_as
from zoo.trained import shipped_models, shipped_weights
from zoo.weights import read_checkpoint, save_state


def tiny_isp(width: int = 4) -> nn.Module:
    layers = [nn.Conv2d(4, width, 3, padding=1), nn.BatchNorm2d(width), nn.Conv2d(width, 12, 1), nn.PixelShuffle(2)]
    return nn.Sequential(*layers)


def test_the_stub_names_what_the_package_has() -> None:
    stub = Path(benchmark.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    found = {name: module for module, name in re.findall(r"from (\S+) import (\w+) as", stub)}
    assert found == benchmark._WHERE
    for name, module in found.items():
        assert getattr(benchmark, name).__module__ == module


# ---- create_model and load_weights


@pytest.mark.parametrize("name", shipped_models())
def test_shipped_weights_are_loaded(name: str) -> None:
    network = create_model(name, pretrained=True)
    expected = read_checkpoint(shipped_weights(name)).state
    assert all(torch.equal(value, expected[key]) for key, value in network.state_dict().items())
    assert network.training


def test_where_no_weights_ship_the_error_says_which_have_some() -> None:
    with pytest.raises(
        UserError, match=r"no weights of pynet ship.*one of bilinear_colour, dped, hyperunet_8_8_64.*load_weights"
    ):
        create_model("pynet", pretrained=True)
    with pytest.raises(UserError, match="width=3: the weights of dped that ship have width=6"):
        create_model("dped", pretrained=True, width="3")
    assert create_model("dped", pretrained=True, width="6")
    # Without the option it is the one of the weights.
    assert sum(tensor.numel() for tensor in create_model("dped", pretrained=True).parameters()) == 11190
    assert create_model("pynet", pretrained=False)


def test_a_users_model_may_have_an_option_of_this_name() -> None:
    @register_model(task="denoise_rgb")
    def my_wrapped(pretrained: bool = True) -> nn.Module:
        return nn.Conv2d(3, 3, 3 if pretrained else 1)

    sizes = [create_model("my_wrapped", **given).kernel_size[0] for given in ({}, {"pretrained": False})]
    assert sizes == [3, 1]


def test_a_network_remembers_how_it_was_built() -> None:
    network = create_model("unet_w8", pretrained=True)
    for one in (network, copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert made_as(one)[0] is get_card("unet_w8")
    assert made_as(nn.Conv2d(3, 3, 1)) is None
    assert "_zoo_model" not in str(network.state_dict().keys())


def test_weights_are_loaded_into_any_module(tmp_path) -> None:
    source, target = tiny_isp(), tiny_isp()
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in source.state_dict().items()}}, tmp_path / "w.pth"
    )
    assert load_weights(target, tmp_path / "w.pth") is target
    assert all(torch.equal(value, target.state_dict()[key]) for key, value in source.state_dict().items())


def test_weights_that_do_not_fit_leave_the_module_as_it_was(tmp_path) -> None:
    save_state(tmp_path / "w.safetensors", tiny_isp(8).state_dict(), {})
    module = tiny_isp()
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(UserError, match=r"^Sequential: .*w.safetensors does not fit: 7 of another shape"):
        load_weights(module, tmp_path / "w.safetensors")
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_published_checkpoints_are_converted_for_a_network_that_is_known(tmp_path) -> None:
    state = official_state("dped", "dped", "dped_rgb")
    variables = {}
    for name, _, key in json.loads((DATA / "dped_keys.json").read_text())["tensorflow_variables"]:
        value = state[key].numpy()
        variables[name] = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
    np.savez(tmp_path / "iphone.npz", **variables)
    for module, model in ((create_model("dped_rgb"), None), (get_card("dped_rgb").create({}), "dped_rgb")):
        load_weights(module, tmp_path / "iphone.npz", model=model)
        assert all(torch.equal(module.state_dict()[key], value) for key, value in state.items())
    with pytest.raises(UserError, match="does not fit"):
        load_weights(get_card("dped_rgb").create({}), tmp_path / "iphone.npz")


def test_a_file_of_another_model_or_of_other_options_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="was written for unet_w8, not for plainunet_8"):
        load_weights(create_model("plainunet_8"), shipped_weights("unet_w8"))
    with pytest.raises(UserError, match="was written for unet_w8, not for vdn"):
        load_weights(nn.Conv2d(3, 3, 1), shipped_weights("unet_w8"), model="vdn")
    # These options change the input and no shape.
    state = create_model("lan_efficient").state_dict()
    save_state(tmp_path / "w.safetensors", state, {"model": "lan_efficient", "options": '{"counts": "zrr"}'})
    assert load_weights(create_model("lan_efficient", counts="zrr"), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"was written with counts='zrr', the network was built with counts='ultraisp'"):
        load_weights(create_model("lan_efficient"), tmp_path / "w.safetensors")


# ---- profile and evaluate of a module


def test_a_bare_module_is_profiled() -> None:
    module = tiny_isp().train()
    costs = profile(module, task="raw2rgb")
    assert (costs["model"], costs["input_shape"]) == ("Sequential", [1, 4, 224, 224])
    assert costs["macs"] == 224 * 224 * (4 * 4 * 9 + 4 * 12)
    assert module.training
    assert not any(value.is_meta for value in module.state_dict().values())
    assert profile(module, input=InputSpec(layout="bayer_packed"), size=(64, 32))["output_shape"] == [1, 3, 128, 64]


def test_a_network_of_the_zoo_is_profiled_as_its_name_is() -> None:
    by_name, by_module = profile("lan_efficient"), profile(create_model("lan_efficient"))
    assert {**by_module, "model": "lan_efficient"} == by_name


def test_evaluate_takes_a_module_with_its_task() -> None:
    module = tiny_isp().train()
    module[1].eval()
    (found,) = evaluate(module, task="raw2rgb", limit=1)
    assert (found["id"], set(found["scores"]) >= {"psnr[rgb]"}) == ("0", True)
    assert [part.training for part in module] == [True, False, True, True]
    assert found == evaluate(module, "zrr", limit=1)[0]
    assert found == evaluate(module, input=InputSpec(layout="bayer_packed"), limit=1)[0]


def test_evaluate_uses_the_convention_of_a_network_of_the_zoo() -> None:
    network = create_model("unet_w8", pretrained=True)
    file = shipped_weights("unet_w8")
    assert evaluate(network, limit=1) == evaluate("unet_w8", "zrr", weights=file, limit=1)


def test_the_task_of_pairs_is_that_of_the_module(tmp_path) -> None:
    from PIL import Image

    for folder in ("input", "target"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (32, 32), (90, 120, 60)).save(tmp_path / folder / "1.png")
    (found,) = evaluate(nn.Identity(), "pairs", task="enhance_rgb", data_root=tmp_path)
    assert found["scores"]["psnr[rgb]"] == float("inf")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: profile(tiny_isp()), "profile: what does this Sequential receive?.*task='raw2rgb'.*InputSpec"),
        (lambda: profile(tiny_isp(), task="raw"), "profile: no task 'raw'; did you mean raw2rgb?"),
        (lambda: profile(nn.Conv2d), "expected the name of a model or a torch.nn.Module, got <class"),
        (lambda: profile(tiny_isp(), options={"width": 8}), "options are for a model by name"),
        (lambda: profile("unet", task="raw2rgb"), "task and input are for a module"),
        (lambda: profile(tiny_isp(), task="denoise_rgb"), "Sequential"),
        (lambda: evaluate(tiny_isp()), "evaluate: what does this Sequential receive?"),
        (
            lambda: evaluate(tiny_isp(), "sidd", task="raw2rgb"),
            "sidd needs denoise_rgb, and this module",
        ),
        (lambda: evaluate(create_model("unet_w8"), "sidd"), "sidd needs denoise_rgb, and this module"),
        (lambda: evaluate(nn.Identity(), task="enhance_rgb"), "no embedded dataset for enhance_rgb models"),
        (lambda: evaluate(tiny_isp(), task="raw2rgb", weights="w.pth"), "use load_weights"),
        (lambda: evaluate("unet_w8"), "unet_w8 is untrained"),
    ],
)
def test_what_cannot_be_measured_is_one_clear_line(call, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_weights_of_the_training_form_are_loaded_into_the_deploy_form(tmp_path) -> None:
    torch.manual_seed(0)
    trained = create_model("syenet", form="training").eval()
    torch.save(trained.state_dict(), tmp_path / "trained.pth")
    small = load_weights(create_model("syenet").eval(), tmp_path / "trained.pth")
    x = torch.rand(1, 4, 9, 11)
    with torch.no_grad():
        torch.testing.assert_close(small(x), trained(x), rtol=0, atol=1e-5)
