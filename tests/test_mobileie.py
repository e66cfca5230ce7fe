"""MobileIE in both forms against the official networks' outputs, keys and counts, and its blocks by hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.golden_rule import fill, load_into, make_input
from zoo import create_model, get_card
from zoo.models.mobileie import BranchedConv, MobileIE, MobileIETraining, SelfTransform, deployed
from zoo.raw import to_network

DATA = Path(__file__).parent / "data" / "networks"
GOLDEN = np.load(DATA / "mobileie_golden.npz")
FORMS = {"deploy": "mobileie", "training": "mobileie_train"}

both = pytest.mark.parametrize("form", list(FORMS))


def official_keys(form: str) -> list[Any]:
    return json.loads((DATA / f"{FORMS[form]}_keys.json").read_text(encoding="utf-8"))["keys"]


def by_rule(form: str) -> Any:
    return load_into(create_model("mobileie", form=form), 1.0)


def error_of(output: Any, expected: Any) -> tuple[float, float]:
    assert output.shape == expected.shape
    error = np.abs(output.numpy() - expected)
    return error.max(), error.mean()


def shared_golden(name: str) -> Any:
    folder = Path(os.environ.get("ZOO_BENCH_SHARED", ""), "golden", "compact_isp")
    if not os.environ.get("ZOO_BENCH_SHARED") or not folder.is_dir():
        pytest.skip("no golden data: set ZOO_BENCH_SHARED to the folder that has golden/compact_isp")
    with np.load(folder / f"{name}_golden.npz") as arrays:
        return dict(arrays)


def with_random_statistics(seed: int = 0) -> MobileIETraining:
    """A network in training form, in evaluation mode, whose every tensor is random."""
    torch.manual_seed(seed)
    network = MobileIETraining().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                assert tensor is not None
                tensor.uniform_(0.3, 2.0)
            for tensor in (module.bias.data, module.running_mean):
                assert tensor is not None
                tensor.normal_(0, 0.5)
        if isinstance(module, SelfTransform):
            module.weight1.data.normal_()
            module.bias.data.normal_()
    return network


def test_output_is_the_official_one() -> None:
    x = torch.from_numpy(make_input(GOLDEN["seed"], GOLDEN["shape"]))
    with torch.no_grad():
        largest, mean = error_of(by_rule("deploy")(x), GOLDEN["out"])
    assert (largest < 4e-5, mean < 1e-6) == (True, True)


@both
def test_keys_shapes_and_buffers_are_the_official_ones(form: str) -> None:
    with torch.device("meta"):
        network = create_model("mobileie", form=form)
    buffers = {name for name, _ in network.named_buffers()}
    ours = [(key, list(value.shape), key in buffers) for key, value in network.state_dict().items()]
    assert ours == [(key, shape, bool(kind)) for key, shape, *kind in official_keys(form)]


def test_the_deploy_form_of_the_rule_weights_is_the_official_one() -> None:
    state = deployed(by_rule("training")).state_dict()
    with np.load(DATA / "mobileie_train_slim.npz") as official:
        assert list(state) == official.files
        for key, value in state.items():
            np.testing.assert_allclose(value.numpy(), official[key], rtol=0, atol=5e-7)


def test_outputs_of_the_training_form_are_the_official_ones() -> None:
    golden, network = shared_golden("mobileie_train"), by_rule("training")
    x = torch.from_numpy(make_input(golden["seed"], golden["shape"]))
    with torch.no_grad():
        outputs = {"out": network(x), "out_slim": deployed(network)(x)}
        outputs["warm_rgb"], outputs["warm_raw"] = network.warm_up_outputs(x, drop=False)
    for name, output in outputs.items():
        largest, mean = error_of(output, golden[name])
        limits = (4e-5, 2e-6) if name.startswith("warm") else (3e-5, 1e-6)
        assert (largest < limits[0], mean < limits[1]) == (True, True), name


def test_a_pass_in_training_mode_uses_and_keeps_the_official_statistics() -> None:
    golden, network = shared_golden("mobileie_trainmode"), by_rule("training").train()
    with torch.no_grad():
        output = network(torch.from_numpy(make_input(golden["seed"], golden["shape"])))
    largest, mean = error_of(output, golden["out"])
    assert (largest < 1e-3, mean < 1e-4) == (True, True)
    state = network.state_dict()
    statistics = [key for key in golden if key in state]
    assert len(statistics) == 6
    for key in statistics:
        np.testing.assert_allclose(state[key].numpy(), golden[key], rtol=0, atol=1e-6)


@both
def test_golden_output_through_the_import_path(form: str, zoo_bench, tmp_path) -> None:
    shapes = {key: tuple(shape) for key, shape, *_ in official_keys(form)}
    state = {key: torch.from_numpy(value) for key, value in fill(shapes, 1.0).items()}
    torch.save(state, tmp_path / "official.pkl")
    imported, options = tmp_path / "w.safetensors", ("--set", f"form={form}")
    assert zoo_bench("weights", "import", "mobileie", tmp_path / "official.pkl", "-o", imported, *options).code == 0
    x = make_input(GOLDEN["seed"], GOLDEN["shape"])
    np.save(tmp_path / "x.npy", x)
    flags = ("--weights", imported, "-o", tmp_path / "o", *options)
    assert zoo_bench("infer", "mobileie", tmp_path / "x.npy", *flags).code == 0
    with torch.no_grad():
        expected = GOLDEN["out"] if form == "deploy" else deployed(by_rule(form))(torch.from_numpy(x)).numpy()
    assert np.abs(np.load(tmp_path / "o" / "x.npy") - expected).max() < 4e-5


@pytest.mark.parametrize(
    ("form", "params", "size", "macs"),
    [
        ("deploy", 4_132, (224, 224), 207_126_672),
        ("deploy", 4_132, (1536, 2048), 12_985_565_328),
        ("training", 51_259, (224, 224), 2_304_886_464),
        ("training", 51_259, (1536, 2048), 144_502_163_136),
    ],
)
def test_counts_are_those_of_the_specification(form: str, params: int, size: tuple[int, int], macs: int) -> None:
    with torch.device("meta"):
        network, x = create_model("mobileie", form=form).eval(), torch.empty(1, 4, *size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x)
    assert counter.get_total_flops() == 2 * macs
    assert sum(p.numel() for p in network.parameters()) == params


@pytest.mark.parametrize("side", [1, 3, 5])
def test_a_merged_block_equals_its_branches_also_at_the_borders(side: int) -> None:
    torch.manual_seed(side)
    block = BranchedConv(2, 3, side).double()
    block(torch.randn(8, 2, 6, 6, dtype=torch.float64))  # one step of running statistics
    block.eval()
    for size in ((1, 1), (2, 7), (9, 4)):
        x = torch.randn(2, 2, *size, dtype=torch.float64)
        torch.testing.assert_close(block.merged()(x), block(x), rtol=1e-12, atol=1e-12)


def test_both_forms_agree_with_random_statistics() -> None:
    network = with_random_statistics().double()
    plain = deployed(network)
    assert type(plain) is MobileIE
    assert not plain.training
    for shape in ((1, 4, 1, 1), (2, 4, 5, 9), (1, 4, 24, 17)):
        x = torch.rand(*shape, dtype=torch.float64)
        with torch.no_grad():
            torch.testing.assert_close(plain(x), network(x), rtol=1e-10, atol=1e-10)


def test_the_deploy_form_shares_nothing_with_the_network_and_is_a_fixed_point() -> None:
    network = with_random_statistics()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    plain = deployed(network)
    twice = deployed(plain).state_dict()
    assert all(torch.equal(value, twice[key]) for key, value in plain.state_dict().items())
    for parameter in plain.parameters():
        parameter.data.zero_()
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_every_parameter_of_the_training_form_gets_a_gradient() -> None:
    network = MobileIETraining()
    x = torch.rand(2, 4, 8, 6)
    (network(x).square().sum() + sum(output.square().sum() for output in network.warm_up_outputs(x))).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


def test_the_training_form_refuses_a_single_image_in_training_mode() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        MobileIETraining()(torch.rand(1, 4, 8, 8))


def test_a_warm_up_drops_squares_of_three_positions_in_all_channels() -> None:
    torch.manual_seed(0)
    seen: list[torch.Tensor] = []
    network = MobileIETraining().eval()
    network.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    rgb, raw = network.warm_up_outputs(torch.ones(4, 4, 64, 64))
    assert (rgb.shape, raw.shape) == ((4, 3, 128, 128), (4, 4, 64, 64))
    dropped = seen[0] == 0
    assert torch.equal(seen[0][~dropped], torch.ones_like(seen[0][~dropped]))
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    # A position stays if none of nine places is a seed.
    assert dropped.float().mean().item() == pytest.approx(1 - (1 - 0.5 / 9) ** 9, abs=0.03)
    # Away from the border every dropped position lies in a whole square of dropped ones.
    squares = -nn.functional.max_pool2d(-dropped.float(), 3, 1)
    assert torch.equal(nn.functional.max_pool2d(squares, 3, 1).bool(), dropped[..., 2:-2, 2:-2])


def test_the_self_transform_is_a_scaled_square() -> None:
    transform = SelfTransform(nn.Identity(), 2)
    transform.weight1.data.fill_(-0.5)
    transform.weight2.data.fill_(4.0)
    transform.bias.data.copy_(torch.tensor([1.0, 10.0]).reshape(1, 2, 1, 1))
    x = torch.tensor([3.0, -1.0]).reshape(1, 2, 1, 1)
    assert transform(x).flatten().tolist() == [-17.0, 8.0]


def test_the_self_transform_does_not_overflow_float16() -> None:
    transform = SelfTransform(nn.Identity(), 1).half()
    transform.weight1.data.fill_(0.01)
    transform.weight2.data.fill_(0.02)
    u = torch.full((1, 1, 1, 1), 600.0, dtype=torch.float16)
    assert transform(u).item() == pytest.approx(72.0, rel=2e-3)


def test_every_data_set_is_divided_by_4095_as_its_files_hold_it() -> None:
    card = get_card("mobileie")
    counts = torch.tensor([[0.0, 4095.0], [1023.0, 64.0]])[None, None]
    expected = pytest.approx([0.0, 1.0, 1023 / 4095, 64 / 4095])
    assert to_network(counts, card.input, black=256.0, white=4092.0).flatten().tolist() == expected
    assert to_network(counts, card.input_for({"counts": "zrr"})).flatten().tolist() == expected
    assert to_network(counts / 4, card.input).flatten().tolist() == expected


def test_another_form_is_refused(zoo_bench) -> None:
    outcome = zoo_bench("profile", "mobileie", "--set", "form=slim")
    assert outcome.code == 2
    assert "option form='slim' does not fit; expected form:" in outcome.err
