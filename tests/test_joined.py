"""Convolutions joined with what follows them: the values of the plain operators, on whole images and in strips."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.conditions import Conditions
from benchmark.fullres import checking, deciding
from benchmark.fullres.bands.plan import BandSizes
from benchmark.fullres.deciding import decide
from benchmark.fullres.execution import Listed
from benchmark.fullres.listed import plan_listed, run_listed
from benchmark.fullres.memory import Thresholds
from benchmark.fullres.network import FullNetwork
from benchmark.fullres.rows import joined
from benchmark.fullres.strips.plan import graph_of, plan_strips
from benchmark.fullres.strips.run import run_strips
from benchmark.fullres.subject import Subject
from benchmark.reporting import Reporter
from tests.random_networks import relative_difference
from tests.test_fullres import build
from zoo import get_card, list_models

pytestmark = pytest.mark.skipif(not joined.available(), reason="torch has no joined operators here")
# Of the largest value of the output.
TOLERANCE = 1e-5


def in_one(network: nn.Module, planes: Tensor) -> Tensor:
    plan = plan_listed(network, planes.shape)
    out = torch.empty(plan.graph.output.shape or ())
    run_listed(network, planes, plan, out)
    return out


def in_strips(network: nn.Module, planes: Tensor) -> Tensor:
    graph = graph_of(network, planes.shape)
    out = torch.empty(graph.output.shape or ())
    run_strips(network, planes, plan_strips(graph, 7), lambda strip, first: None, out)
    return out


def convolutions(network: nn.Module, planes: Tensor) -> list[tuple[str, bool]]:
    """Return the activation of each joined convolution, and whether it takes in a sum."""
    graph = graph_of(network, planes.shape)
    return [(node.args[-2][0], node.args[-1] is not None) for node in graph.nodes if node.op == joined.JOINED]


def assert_same(network: nn.Module, planes: Tensor) -> None:
    with torch.inference_mode():
        whole = network.eval()(planes)
    for run in (in_one, in_strips):
        assert relative_difference(run(network, planes), whole) <= TOLERANCE


ACTIVATIONS: dict[str, tuple[nn.Module, str]] = {
    "relu": (nn.ReLU(), "relu"),
    "gelu": (nn.GELU(), "gelu"),
    "gelu by tanh": (nn.GELU(approximate="tanh"), "gelu"),
    "silu": (nn.SiLU(), "swish"),
    "sigmoid": (nn.Sigmoid(), "sigmoid"),
    "tanh": (nn.Tanh(), "tanh"),
    "leaky": (nn.LeakyReLU(0.3), "leaky_relu"),
    "hardtanh": (nn.Hardtanh(-0.2, 0.3), "hardtanh"),
    "relu6": (nn.ReLU6(), "hardtanh"),
    "hardswish": (nn.Hardswish(), "hardswish"),
    "hardsigmoid": (nn.Hardsigmoid(), "hardsigmoid"),
    "elu": (nn.ELU(), "none"),
    "prelu": (nn.PReLU(6), "none"),
    "softplus": (nn.Softplus(), "none"),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_give_what_they_give_alone(name: str) -> None:
    activation, called = ACTIVATIONS[name]
    network, planes = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), activation), 3 * torch.randn(1, 3, 31, 29)
    assert_same(network, planes)
    assert convolutions(network, planes) == [(called if called in joined.available() else "none", False)]


@pytest.mark.parametrize(("low", "high"), [(0.0, None), (-0.1, 0.2), (None, 0.1)])
def test_clamps_are_joined_only_between_two_numbers(low: float | None, high: float | None) -> None:
    class Clamped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.clamp(self.conv(x), low, high)

    network, planes = Clamped(), torch.randn(1, 3, 31, 29)
    assert_same(network, planes)
    called = "none" if low is None or high is None else "hardtanh"
    assert convolutions(network, planes) == [(called, False)]


class Skips(nn.Module):
    """Sums of several kinds after convolutions."""

    def __init__(self, how: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.gate, self.how = nn.Conv2d(4, 4, 1), how

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.how(y, self.second(y), self.gate(F.adaptive_avg_pool2d(y, 1)))


SUMS: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Tensor], list[tuple[str, bool]]]] = {
    "sum": (lambda y, z, gate: y + z, [("none", False), ("none", True)]),
    "sum, relu": (lambda y, z, gate: F.relu(z + y), [("none", False), ("relu", True)]),
    "sum, gelu": (lambda y, z, gate: F.gelu(z + y), [("none", False), ("none", True)]),
    "relu, sum": (lambda y, z, gate: F.relu(z) + y, [("none", False), ("relu", False)]),
    "relu, relu": (lambda y, z, gate: F.relu(F.relu(z) - 0.1), [("none", False), ("relu", False)]),
    "part of a sum": (lambda y, z, gate: torch.add(y, z, alpha=0.5), [("none", False), ("none", False)]),
    "twice itself": (lambda y, z, gate: z + z, [("none", False), ("none", False)]),
    "read again": (lambda y, z, gate: F.relu(z) * z + y, [("none", False), ("none", False)]),
    "a number": (lambda y, z, gate: z + 0.5, [("none", False), ("none", False)]),
    "a row": (lambda y, z, gate: z + z[:, :, :1], [("none", False), ("none", False)]),
}


@pytest.mark.parametrize("name", SUMS)
def test_sums_are_joined_only_where_they_are_the_same(name: str) -> None:
    how, expected = SUMS[name]
    network, planes = Skips(how).eval(), torch.randn(1, 3, 31, 29)
    with torch.inference_mode():
        whole = network(planes)
    assert relative_difference(in_one(network, planes), whole) <= TOLERANCE
    if name != "a row":
        assert convolutions(network, planes) == expected
        assert relative_difference(in_strips(network, planes), whole) <= TOLERANCE


def test_a_gate_that_is_spread_over_the_image_is_no_sum_of_images() -> None:
    network, planes = Skips(lambda y, z, gate: gate + z).eval(), torch.randn(1, 3, 31, 29)
    with torch.inference_mode():
        assert relative_difference(in_one(network, planes), network(planes)) <= TOLERANCE


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_a_frozen_norm_goes_into_the_weights(bias: bool, affine: bool) -> None:
    norm = nn.BatchNorm2d(6, affine=affine)
    norm.running_mean, norm.running_var = torch.randn(6), torch.rand(6) + 0.1
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    network = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, groups=3, bias=bias), norm, nn.ReLU()).eval()
    planes = torch.randn(1, 3, 31, 29)
    assert_same(network, planes)
    graph = graph_of(network, planes.shape)
    assert [node.op for node in graph.nodes if node.from_input] == ["input", joined.JOINED]


def test_a_norm_by_the_image_stays_one() -> None:
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.InstanceNorm2d(6, affine=True), nn.LeakyReLU()).eval()
    planes = 5 + torch.randn(1, 3, 31, 29)
    with torch.inference_mode():
        assert relative_difference(in_one(network, planes), network(planes)) <= TOLERANCE


class OfConstants(nn.Module):
    """A convolution over a plane of ones, as those that count what lies in the image, and one beyond its reach."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.wide = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        ones = torch.ones_like(x)
        return F.relu(self.wide(self.conv(x) / F.relu(self.conv(ones) + 3)))


def test_convolutions_of_constants_and_of_padding_alone() -> None:
    network, planes = OfConstants().eval(), torch.randn(1, 3, 31, 29)
    with torch.inference_mode():
        assert relative_difference(in_one(network, planes), network(planes)) <= TOLERANCE


# Building and running them takes seconds.
LARGE = {"awnet_4ch", "nafnet_32", "nafnet_32_local", "nafnet_64", "nafnet_64_local", "pynet", "pynet_ca", "spade"}
MODELS = [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in list_models()]


@pytest.mark.parametrize("name", MODELS)
def test_every_network_gives_the_same_with_joined_kernels(name: str) -> None:
    spec, draw = get_card(name).input, random.Random(name)
    network = build(name)
    side = spec.multiple * max(1, -(-spec.min_size // spec.multiple), draw.randint(64, 96) // spec.multiple)
    planes = torch.rand(1, spec.channels, side, side)
    with torch.inference_mode():
        whole = network(planes)
    how = decide(Subject(network, spec.channels, spec.multiple, spec.min_size, trusted=True), planes)
    assert relative_difference(how.run(planes), whole) <= TOLERANCE
    assert how.text == ("whole image" if name.startswith("identity") else "whole image, kernels joined")
    # The same again, with weights that were made before.
    assert torch.equal(how.run(planes), how.run(planes))


def test_weights_that_change_are_followed() -> None:
    network, planes = build("plainunet_8"), torch.rand(1, 4, 64, 64)
    spec = get_card("plainunet_8").input
    subject = Subject(network, spec.channels, spec.multiple, spec.min_size, trusted=True)
    for thresholds in (Thresholds(), Thresholds(small_pixels=0)):
        how = decide(subject, planes, thresholds=thresholds)
        before = how.run(planes)
        with torch.no_grad():
            network.enc0b.weight.mul_(1.5)
            network.up1 = nn.Conv2d(8, 8, 3, padding=1)
        with torch.inference_mode():
            whole = network(planes)
        after = how.run(planes)
        assert relative_difference(after, whole) <= TOLERANCE < relative_difference(before, whole)


def test_plain_operators_on_request_and_where_torch_has_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    network, planes = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GELU()).eval(), torch.rand(1, 3, 64, 64)
    subject, small = Subject(network, 3), Thresholds(small_pixels=0)
    with torch.inference_mode():
        whole = network(planes)
    usual = decide(subject, planes, thresholds=small)
    assert "kernels joined" in usual.text
    for exact in (True, False):
        if not exact:
            monkeypatch.setattr(joined, "available", frozenset)
        for thresholds in (Thresholds(), small):
            how = decide(subject, planes, thresholds=thresholds, exact_kernels=exact)
            assert "joined" not in how.text
            assert relative_difference(how.run(planes), whole) <= 1e-6


def test_a_network_of_others_whose_joined_kernels_differ_runs_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    network, planes = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GELU()).eval(), torch.rand(1, 3, 64, 64)
    monkeypatch.setattr(deciding, "JOINED_TOLERANCE", 0.0)
    assert checking.JOINED_TOLERANCE > 0
    said: list[str] = []
    reporter = Reporter()
    monkeypatch.setattr(reporter, "detail", said.append)
    for thresholds in (Thresholds(), Thresholds(small_pixels=0)):
        how = decide(Subject(network, 3), planes, thresholds=thresholds, reporter=reporter)
        assert "joined" not in how.text
    assert len([text for text in said if "kernels are not joined" in text]) == 2


def with_statistics() -> nn.Module:
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.InstanceNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1)
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize("trusted", [True, False])
def test_bands_join_kernels_unless_plain_ones_are_asked_for(trusted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network, planes = with_statistics(), torch.rand(1, 3, 72, 88)
    subject = Subject(network, 3, trusted=trusted, global_ops=("instance norm",))
    in_bands = Thresholds(small_pixels=0, band_sizes=BandSizes(strip_bytes=10_000, small_bytes=0))
    with torch.inference_mode():
        whole = network(planes)
    for exact, tolerance in ((False, TOLERANCE), (True, 1e-6)):
        how = decide(subject, planes, thresholds=in_bands, exact_kernels=exact)
        assert how.mode == "bands"
        assert ("kernels joined" in how.text) == (not exact)
        assert relative_difference(how.run(planes), whole) <= tolerance
    monkeypatch.setattr(joined, "available", frozenset)
    assert "joined" not in decide(subject, planes, thresholds=in_bands).text


def test_bands_of_others_whose_joined_kernels_differ_run_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    network, planes = with_statistics(), torch.rand(1, 3, 72, 88)
    monkeypatch.setattr(deciding, "JOINED_TOLERANCE", 0.0)
    in_bands = Thresholds(small_pixels=0, band_sizes=BandSizes(strip_bytes=10_000, small_bytes=0))
    reporter, said = Reporter(), list[str]()
    monkeypatch.setattr(reporter, "detail", said.append)
    how = decide(Subject(network, 3), planes, thresholds=in_bands, reporter=reporter)
    assert how.mode == "bands"
    assert "joined" not in how.text
    assert [text for text in said if "kernels are not joined" in text]
    with torch.inference_mode():
        assert relative_difference(how.run(planes), network(planes)) <= 1e-6
    # Nor plain ones, then: the image goes whole.
    monkeypatch.setattr(deciding, "PLAIN_TOLERANCE", -1.0)
    assert decide(Subject(network, 3), planes, thresholds=in_bands).mode == "whole"


def test_several_images_go_one_by_one() -> None:
    network, planes = build("dncnn_17"), torch.rand(3, 1, 40, 48)
    with torch.inference_mode():
        whole = network(planes)
    how = decide(Subject(network, 1, trusted=True), planes)
    assert how.steps == 3
    assert relative_difference(how.run(planes), whole) <= TOLERANCE
    assert relative_difference(how.run(planes, torch.empty(3, 1, 40, 48)), whole) <= TOLERANCE
    assert replace(how).output == (3, 1, 40, 48)


class OfOneSize(nn.Module):
    """At one width it enlarges rounding beyond all measure; its gate has a bias that is a row."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 200)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv(x))
        if x.shape[-1] == 60:
            # Numbers that differ by their last bits are far apart afterwards.
            y = torch.sin(1e6 * y)
        gate = torch.addmm(torch.ones(1, 200), y.mean((2, 3)), self.linear.weight.mT)
        return y * gate.mean()


def test_small_images_are_compared_at_their_own_size() -> None:
    torch.manual_seed(0)
    network = OfOneSize().eval()
    for width, text in ((60, "whole image"), (64, "whole image, kernels joined")):
        planes = torch.rand(1, 3, 48, width)
        how = decide(Subject(network, 3), planes)
        assert how.text == text
        with torch.inference_mode():
            assert relative_difference(how.run(planes), network(planes)) <= TOLERANCE


def test_weights_are_kept_in_the_layout_for_one_shape_only() -> None:
    network = FullNetwork(Subject(build("plainunet_8"), 4, 4, 32, trusted=True), Conditions(tile="auto"))
    plans = []
    for side in (64, 96, 64):
        planes = torch.rand(1, 4, side, side)
        with torch.inference_mode():
            assert relative_difference(network(planes), network.network(planes)) <= TOLERANCE
        how = network.plan(planes)
        assert isinstance(how, Listed)
        plans.append(how.plan)
    assert plans[0] is plans[2]
    assert plans[0].weights._made
    assert not plans[1].weights._made
