"""What every registered model must do; a new model is tested by existing."""

from __future__ import annotations

import fnmatch
import gc
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmark.catalogue import free_choices, reconstructions_page
from zoo import InputSpec, UserError, create_model, get_card, list_models
from zoo.raw import apply_model, padded_size

NAMES = list_models()
SMALL = 2_000_000  # below this many parameters a network is built once and runs everything


def side_of(spec: InputSpec) -> int:
    """The smallest side that a network takes, a multiple of what it needs."""
    return math.ceil(max(spec.min_size, spec.multiple, 16) / spec.multiple) * spec.multiple


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str):
    """One network per model, shared by the tests: the large ones take seconds to fill."""
    torch.manual_seed(0)
    with torch.device("meta"):
        network = create_model(name)
    large = sum(p.numel() for p in network.parameters()) > 50_000_000
    network = _fill_quickly(network) if large else create_model(name)
    yield network
    del network
    gc.collect()


def _fill_quickly(network: nn.Module) -> nn.Module:
    """Give a network on meta small uniform weights: a normal draw of 275 M takes many times longer."""
    network = network.to_empty(device="cpu")
    for tensor in network.state_dict().values():
        if not tensor.is_floating_point():
            tensor.zero_()
        elif tensor.ndim > 1:
            bound = math.sqrt(3 / tensor[0].numel())
            tensor.uniform_(-bound, bound)
        else:
            tensor.uniform_(0.9, 1.1)
    return network


def planes_for(name: str, *, count: int = 1, extra: tuple[int, int] = (0, 0)) -> Tensor:
    spec = get_card(name).input
    side = side_of(spec)
    generator = torch.Generator().manual_seed(5)
    return torch.rand(count, spec.channels, side + extra[0], side + extra[1], generator=generator)


def test_parameters_equal_the_card(name: str) -> None:
    with torch.device("meta"):
        network = create_model(name)
    assert sum(p.numel() for p in network.parameters()) == get_card(name).params


def test_card_says_where_it_comes_from(name: str) -> None:
    card = get_card(name)
    assert card.summary
    assert card.licence
    assert card.params == 0 or card.paper
    assert card.is_builtin


def test_a_reconstruction_lists_what_was_chosen_freely(name: str) -> None:
    card = get_card(name)
    choices = free_choices(card)
    assert choices or not card.reconstruction
    if card.reconstruction:
        assert any("initialisation" in choice for choice in choices)
    if card.reconstruction and name.startswith("hyper"):
        words = ("pool", "MLP", "normalisation", "which filters are predicted")
        assert all(any(choice.startswith(word) for choice in choices) for word in words)


def test_the_page_of_reconstructions_is_that_of_the_cards() -> None:
    page = Path(__file__).parent.parent / "docs" / "reconstructions.md"
    assert page.read_text(encoding="utf-8") == reconstructions_page(), "write the result of reconstructions_page there"


def test_odd_sizes_go_through_the_adapter(name: str, model: nn.Module) -> None:
    spec = get_card(name).input
    planes = planes_for(name, extra=(1, 3))
    with torch.inference_mode():
        output = apply_model(model.eval(), planes, spec)
    scale = int(spec.output_scale)
    assert output.shape == (1, spec.out_channels, planes.shape[-2] * scale, planes.shape[-1] * scale)
    assert torch.isfinite(output).all()


def test_a_batch_of_two_equals_two_singles(name: str, model: nn.Module) -> None:
    planes = planes_for(name, count=2)
    with torch.inference_mode():
        both = model.eval()(planes)
        singles = torch.cat([model(planes[:1]), model(planes[1:])])
    scale = max(1.0, singles.abs().max().item())
    torch.testing.assert_close(both / scale, singles / scale, rtol=1e-3, atol=2e-4)


def test_input_is_left_untouched(name: str, model: nn.Module) -> None:
    planes = planes_for(name)
    before = planes.clone()
    with torch.inference_mode():
        model.eval()(planes)
    assert torch.equal(planes, before)


def test_every_parameter_gets_a_finite_gradient(name: str, model: nn.Module) -> None:
    card = get_card(name)
    if card.params == 0:
        return
    model.eval().zero_grad(set_to_none=True)
    outputs = model.all_outputs if hasattr(model, "all_outputs") else lambda x: (model(x),)
    sum(output.square().sum() for output in (*outputs(planes_for(name)),)).backward()
    for key, parameter in model.named_parameters():
        if any(fnmatch.fnmatch(key, pattern) for pattern in card.unused_params):
            assert parameter.grad is None, f"{key} is on unused_params but is used"
            continue
        assert parameter.grad is not None, f"{key} gets no gradient"
        assert torch.isfinite(parameter.grad).all(), key
    model.zero_grad(set_to_none=True)


def test_weights_survive_a_round_trip(name: str, model: nn.Module, tmp_path) -> None:
    if get_card(name).params > 50_000_000:
        pytest.skip("over 200 MB on disk; the same code as the smaller ones")
    from zoo.fitting import load_strictly
    from zoo.weights import read_checkpoint, save_state

    file = tmp_path / "weights.safetensors"
    if not model.state_dict():
        return
    save_state(file, model.state_dict(), {"model": name})
    checkpoint = read_checkpoint(file)
    other = create_model(name).eval()
    load_strictly(other, checkpoint.state, name=name, source=file)
    planes = planes_for(name)
    with torch.inference_mode():
        assert torch.equal(model.eval()(planes), other(planes))
    assert checkpoint.metadata == {"model": name}


def test_a_size_below_the_least_is_refused(name: str, model: nn.Module) -> None:
    spec = get_card(name).input
    if spec.min_size < 2:
        return
    with pytest.raises(UserError, match="too small"):
        padded_size(spec.min_size - 1, 4 * spec.min_size, spec)


def test_the_bare_network_says_which_sizes_it_takes(name: str, model: nn.Module) -> None:
    spec = get_card(name).input
    if spec.multiple == 1:
        return
    side = side_of(spec)
    with pytest.raises(ValueError, match=rf"\b{spec.multiple}\b"):
        model(torch.zeros(1, spec.channels, side + spec.multiple - 1, side))


def test_the_same_seed_gives_the_same_network(name: str) -> None:
    if get_card(name).params > SMALL:
        return
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(create_model(name).state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_bilinear_returns_a_flat_gray_for_a_flat_gray() -> None:
    planes = torch.full((1, 4, 8, 8), 0.25)
    output = create_model("bilinear")(planes)
    torch.testing.assert_close(output, torch.full((1, 3, 16, 16), 0.25 ** (1 / 2.2)))


def test_bilinear_balances_to_gray_and_interpolates_at_the_sites() -> None:
    # Blue and red are half as bright as green: gray-world makes all three equal.
    planes = torch.tensor([0.2, 0.4, 0.2, 0.4])[None, :, None, None].expand(1, 4, 6, 6)
    output = create_model("bilinear")(planes)
    torch.testing.assert_close(output, torch.full((1, 3, 12, 12), 0.4 ** (1 / 2.2)))
    ramp = torch.arange(6.0)[None, None, None, :].expand(1, 4, 6, 6) / 10
    red = create_model("bilinear")(ramp)[0, 0, 0] ** 2.2
    # Red sites stand at even columns; between two of them lies their mean.
    torch.testing.assert_close(red[1:10:2], (red[0:9:2] + red[2:11:2]) / 2, rtol=1e-4, atol=1e-5)


def test_bilinear_colour_starts_as_bilinear() -> None:
    planes = torch.rand(2, 4, 9, 7, generator=torch.Generator().manual_seed(1)) - 0.1
    output = create_model("bilinear_colour")(planes).clamp(0, 1)
    # The darkest value that is raised to a power is not 0.
    torch.testing.assert_close(output, create_model("bilinear")(planes), rtol=1e-5, atol=0.002)


@pytest.mark.parametrize("level", [-1.0, 0.0, 1.0])
def test_bilinear_colour_has_finite_gradients_on_a_flat_image(level: float) -> None:
    network = create_model("bilinear_colour")
    network(torch.full((1, 4, 2, 2), level)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_bilinear_colour_learns_the_colour_and_the_tone_of_a_camera() -> None:
    torch.manual_seed(0)
    planes = torch.rand(2, 4, 16, 16)
    plain = create_model("bilinear")(planes)
    target = plain[:, [1, 2, 0]] ** 1.4 * 0.8 + 0.1
    network = create_model("bilinear_colour")
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    errors = []
    for _ in range(150):
        error = (network(planes) - target).square().mean()
        errors.append(error.item())
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    assert errors[-1] < errors[0] / 50


def test_plain_twins_are_hyperunets_without_predicted_filters() -> None:
    assert create_model("plainunet_8")(torch.zeros(1, 4, 32, 32)).shape == (1, 3, 64, 64)
    with pytest.raises(ValueError, match="multiples of 4, at least 32"):
        create_model("hyperunet_8_8_64")(torch.zeros(1, 4, 28, 28))
