"""SYENet: parity of both forms with the official network, their agreement, keys, counts and sizes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmark.costs.profiling import profile
from tests.golden_rule import GAINS, load_into, make_input
from zoo import create_model, get_card
from zoo.models.syenet import SYENetTrain, Unit, deployed
from zoo.raw import apply_model, to_network

DATA = Path(__file__).parent / "data" / "networks"
GOLDEN = dict(np.load(DATA / "syenet_golden.npz"))
KEYS = {"deploy": "syenet_deploy_keys.json", "training": "syenet_keys.json"}

both = pytest.mark.parametrize("form", list(KEYS))


def trained() -> SYENetTrain:
    network = create_model("syenet", form="training")
    assert isinstance(network, SYENetTrain)
    return load_into(network, GAINS["syenet"], model="syenet")


def planes(n: int, height: int, width: int) -> Tensor:
    return torch.from_numpy(make_input(7, (n, 4, height, width)))


def check_golden(output: np.ndarray, name: str) -> None:
    assert output.shape == tuple(GOLDEN[f"fullshape_{name}"])
    error = np.abs(output - GOLDEN[name])
    assert error.max() < 3e-5
    assert error.mean() < 1e-6


@torch.no_grad()
def test_both_forms_equal_the_official_network() -> None:
    x = torch.from_numpy(make_input(GOLDEN["seed"], GOLDEN["shape"]))
    network = trained()
    check_golden(network(x).numpy(), "out")
    check_golden(deployed(network)(x).numpy(), "out_deploy")


def test_deployed_tensors_equal_the_official_ones() -> None:
    ours = deployed(trained()).state_dict()
    official = {key[2:]: value for key, value in GOLDEN.items() if key.startswith("w:")}
    assert ours.keys() == official.keys()
    for key, value in official.items():
        assert ours[key].dtype == torch.float32
        np.testing.assert_allclose(ours[key].numpy(), value, rtol=0, atol=1e-5, err_msg=key)


@both
def test_keys_and_shapes_are_the_official_ones(form: str) -> None:
    network = create_model("syenet", form=form)
    buffers = {key for key, _ in network.named_buffers()}
    ours = {key: (list(value.shape), key in buffers) for key, value in network.state_dict().items()}
    official = json.loads((DATA / KEYS[form]).read_text(encoding="utf-8"))["keys"]
    assert ours == {key: (shape, bool(kind)) for key, shape, *kind in official}


@pytest.mark.parametrize(
    ("form", "size", "macs"),
    [
        ("deploy", (224, 224), 273_961_248),
        ("deploy", (544, 960), 2_851_430_688),
        ("deploy", (1536, 2048), 17_175_675_168),
        ("training", (224, 224), 4_874_703_360),
        ("training", (544, 960), 50_736_665_088),
        ("training", (1536, 2048), 305_613_771_264),
    ],
)
def test_macs_equal_the_specification(form: str, size: tuple[int, int], macs: int) -> None:
    assert profile("syenet", size=size, options={"form": form})["macs"] == macs


def test_parameters_equal_the_specification() -> None:
    params = {key: value.numel() for key, value in trained().named_parameters()}
    assert sum(params.values()) == 108_715
    assert sum(count for key, count in params.items() if not key.startswith("tail_warm.")) == 101_799
    assert sum(p.numel() for p in create_model("syenet").parameters()) == 5_640


@torch.no_grad()
@pytest.mark.parametrize(("seed", "size"), [(0, (1, 1)), (1, (2, 9)), (2, (33, 20))])
def test_forms_agree_with_random_statistics(seed: int, size: tuple[int, int]) -> None:
    torch.manual_seed(seed)
    network = SYENetTrain().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for statistic, bounds in ((module.running_mean, (-1, 1)), (module.running_var, (0.2, 3))):
                assert statistic is not None
                statistic.uniform_(*bounds)
            module.weight.uniform_(-2, 2)
            module.bias.uniform_(-1, 1)
    x = planes(2, *size)
    whole = network(x)
    torch.testing.assert_close(deployed(network)(x), whole, rtol=0, atol=1e-5 * float(whole.abs().max() + 1))
    exact = network.double()(x.double())
    torch.testing.assert_close(deployed(network)(x.double()), exact, rtol=0, atol=1e-6 * float(exact.abs().max() + 1))


@torch.no_grad()
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_unit_pads_zeros_so_that_one_convolution_equals_it_at_the_borders(kernel: int) -> None:
    # Of the training form, the units with this kernel and 12 outputs.
    network = trained().double()
    name = {1: "body.block2", 3: "body.block1", 5: "head.block2"}[kernel]
    unit = network.get_submodule(name)
    assert isinstance(unit, Unit)
    state = deployed(network).state_dict()
    x = torch.rand(1, unit.get_submodule("conv").get_parameter("weight").shape[1], 4, 3, dtype=torch.float64)
    one = nn.functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=kernel // 2)
    factor = 1.0 if name == "body.block1" else 0.1
    torch.testing.assert_close(one, factor * unit(x), rtol=1e-12, atol=1e-12)


def test_a_cross_branch_of_name_h_is_a_column_of_three_rows() -> None:
    unit = Unit(4, 12, 5)
    assert unit.get_submodule("conv_crossh").get_parameter("weight").shape == (48, 4, 3, 1)
    assert unit.get_submodule("conv_crossv").get_parameter("weight").shape == (48, 4, 1, 3)


@torch.no_grad()
def test_the_outputs_of_the_warm_up_skip_the_attention() -> None:
    network, x = trained(), planes(2, 9, 7)
    warm_rgb, warm_raw = network.warm_up_outputs(x, drop=False)
    assert (warm_rgb.shape, warm_raw.shape) == ((2, 3, 18, 14), (2, 4, 9, 7))
    network.att = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Threshold(float("inf"), 1.0))
    torch.testing.assert_close(warm_rgb, network(x))


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {f"module.{k}": v for k, v in state.items()}])
@pytest.mark.parametrize("warm", [True, False])
def test_a_training_checkpoint_is_imported_as_the_deploy_form(zoo_bench, tmp_path, wrap, warm: bool) -> None:
    state = {key: value for key, value in trained().state_dict().items() if warm or not key.startswith("tail_warm.")}
    torch.save(wrap(state), tmp_path / "model_best.pkl")
    np.save(tmp_path / "planes.npy", make_input(GOLDEN["seed"], GOLDEN["shape"]))
    imported = tmp_path / "w.safetensors"
    outcome = zoo_bench("weights", "import", "syenet", tmp_path / "model_best.pkl", "-o", imported)
    assert outcome.code == 0, outcome.err
    outcome = zoo_bench("infer", "syenet", tmp_path / "planes.npy", "--weights", imported, "-o", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    check_golden(np.load(tmp_path / "out" / "planes.npy"), "out_deploy")


def test_official_files_of_each_form_are_imported_as_they_are(zoo_bench, tmp_path) -> None:
    network = trained()
    np.save(tmp_path / "planes.npy", make_input(GOLDEN["seed"], GOLDEN["shape"]))
    forms = (("training", network.state_dict(), "out"), ("deploy", deployed(network).state_dict(), "out_deploy"))
    for form, content, output in forms:
        torch.save(content, tmp_path / "official.pkl")
        imported, options = tmp_path / f"{form}.safetensors", ("--set", f"form={form}")
        assert zoo_bench("weights", "import", "syenet", tmp_path / "official.pkl", "-o", imported, *options).code == 0
        flags = ("--weights", imported, "-o", tmp_path / form, *options)
        assert zoo_bench("infer", "syenet", tmp_path / "planes.npy", *flags).code == 0
        check_golden(np.load(tmp_path / form / "planes.npy"), output)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_a_damaged_training_checkpoint_is_refused_in_one_line(zoo_bench, tmp_path, change: str) -> None:
    state = trained().state_dict()
    if change == "missing":
        del state["head.block2.conv_bn.1.running_var"]
    elif change == "extra":
        state["body.block9.weight"] = torch.zeros(1)
    else:
        state["body.bias"] = torch.zeros(12)
    torch.save(state, tmp_path / "bad.pkl")
    outcome = zoo_bench("weights", "import", "syenet", tmp_path / "bad.pkl", "-o", tmp_path / "w.safetensors")
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
    assert "does not fit" in outcome.err


def test_the_deploy_form_does_not_load_into_the_training_form(zoo_bench, tmp_path) -> None:
    torch.save(create_model("syenet").state_dict(), tmp_path / "slim.pkl")
    flags = ("-o", tmp_path / "w.safetensors", "--set", "form=training")
    outcome = zoo_bench("weights", "import", "syenet", tmp_path / "slim.pkl", *flags)
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
    assert "holds form=deploy, which cannot be turned back into form=training; choose form=deploy." in outcome.err


@torch.no_grad()
@both
@pytest.mark.parametrize("size", [(1, 1), (5, 8)])
def test_any_size_and_batch(form: str, size: tuple[int, int]) -> None:
    network, x = create_model("syenet", form=form).eval(), planes(2, *size)
    output = apply_model(network, x, get_card("syenet").input)
    assert output.shape == (2, 3, 2 * size[0], 2 * size[1])
    torch.testing.assert_close(output, torch.cat([network(x[:1]), network(x[1:])]), rtol=0, atol=1e-5)


def test_planes_are_those_of_a_cell_with_red_first_and_counts_are_divided_by_4095() -> None:
    mosaic = torch.tensor([[4095.0, 819.0], [1638.0, 8190.0]])[None, None]
    planes = to_network(mosaic, get_card("syenet").input, black=256.0, white=4092.0)
    assert planes.flatten().tolist() == pytest.approx([1.0, 0.2, 0.4, 2.0])
