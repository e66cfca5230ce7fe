"""Losses against closed forms, a second implementation and Monte Carlo."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Gamma, Normal, kl_divergence

from benchmark.losses import LOSSES, detail, error, structure
from benchmark.metrics.msssim import msssim_perchannel
from benchmark.metrics.ssim import ssim_gaussian
from benchmark.training import losses
from tests.golden_rule import make_input
from zoo.errors import UserError

N, SIDE = 2, 12


@pytest.fixture
def posterior():
    """Random parameter maps near VDN's values, in float64, with images that fit them."""
    generator = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    clean = rand(N, 3, SIDE, SIDE)
    noisy = clean + 0.1 * (rand(N, 3, SIDE, SIDE) - 0.5)
    phi_z = torch.cat([0.1 * (rand(N, 3, SIDE, SIDE) - 0.5), -7 + rand(N, 3, SIDE, SIDE)], dim=1)
    phi_sigma = torch.cat([2 + rand(N, 3, SIDE, SIDE), -4 + rand(N, 3, SIDE, SIDE)], dim=1)
    return phi_z, phi_sigma, noisy, clean


def test_kl_terms_equal_those_of_torch_distributions(posterior) -> None:
    phi_z, phi_sigma, noisy, clean = posterior
    eps2 = 1e-3
    bound = losses.vdn_bound(*posterior, eps2=eps2)
    # Of the clean image: posterior mean noisy - mu, prior mean clean.
    q = Normal(noisy - phi_z[:, :3], (phi_z[:, 3:] / 2).exp())
    assert bound.kl_gauss.item() == pytest.approx(kl_divergence(q, Normal(clean, eps2**0.5)).mean().item(), rel=1e-10)
    # The divergence of inverse gammas is that of the gammas of 1 / sigma^2.
    beta0 = 49 / 2 * losses.noise_variance(noisy, clean)
    prior = Gamma(torch.full_like(beta0, 23.5), beta0)
    expected = kl_divergence(Gamma(phi_sigma[:, :3].exp(), phi_sigma[:, 3:].exp()), prior).mean()
    assert bound.kl_inverse_gamma.item() == pytest.approx(expected.item(), rel=1e-10)


def test_likelihood_equals_monte_carlo(posterior) -> None:
    phi_z, phi_sigma, noisy, clean = (tensor[:1, ..., :2, :2] for tensor in posterior)
    padded = losses.vdn_bound(*posterior)
    torch.manual_seed(1)
    draws = 20_000
    images = Normal(noisy - phi_z[:, :3], (phi_z[:, 3:] / 2).exp()).sample((draws,))
    precision = Gamma(phi_sigma[:, :3].exp(), phi_sigma[:, 3:].exp()).sample((draws,))
    surprise = -Normal(images, precision.rsqrt()).log_prob(noisy)
    # The same four pixels in closed form: the mean over a map that repeats them.
    tiled = [tensor.repeat(1, 1, 6, 6) for tensor in (phi_z, phi_sigma, noisy, clean)]
    exact = losses.vdn_bound(*tiled).likelihood
    error = surprise.mean(dim=(1, 2, 3, 4)).std() / math.sqrt(draws)
    assert abs(surprise.mean() - exact) < 5 * error
    assert padded.total().item() == pytest.approx(sum(part.item() for part in padded))


def test_noise_variance_is_a_gaussian_mean_of_the_squares() -> None:
    clean = torch.zeros(1, 1, 15, 15, dtype=torch.float64)
    noisy = clean.clone()
    noisy[..., 7, 7] = 2.0
    variance = losses.noise_variance(noisy, clean)
    kernel = np.exp(-(np.arange(-3, 4) ** 2) / 18)
    kernel /= kernel.sum()
    assert np.allclose(variance[0, 0, 4:11, 4:11].numpy(), 4 * np.outer(kernel, kernel), rtol=1e-12)
    assert variance.min().item() == 1e-10


def test_the_bound_is_finite_where_the_networks_start_or_explode() -> None:
    image = torch.rand(1, 3, 16, 16)
    for value in (0.0, 50.0, -50.0):
        phi = torch.full((1, 6, 16, 16), value, requires_grad=True)
        total = losses.vdn_bound(phi, phi, image, image).total()
        (gradient,) = torch.autograd.grad(total, phi)
        assert torch.isfinite(total)
        assert torch.isfinite(gradient).all()


def test_msssim_loss_is_one_minus_the_metric_and_has_a_gradient_everywhere() -> None:
    torch.manual_seed(0)
    target = torch.rand(2, 3, 176, 192)
    output = (target + 0.2 * torch.rand_like(target)).requires_grad_()
    loss = structure.msssim_loss(output, target)
    arrays = [image.permute(0, 2, 3, 1).detach().double().numpy() for image in (output, target)]
    expected = 1 - np.mean([msssim_perchannel(*pair) for pair in zip(*arrays)])
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    # The negative has negative contrasts: MS-SSIM is 0, not NaN.
    inverted = (1 - target).requires_grad_()
    (gradient,) = torch.autograd.grad(structure.msssim_loss(inverted, target), inverted)
    assert torch.isfinite(gradient).all()


def test_ssim_loss_is_one_minus_the_metric() -> None:
    torch.manual_seed(0)
    target = torch.rand(2, 3, 24, 32)
    output = target + 0.2 * torch.rand_like(target)
    arrays = [image.permute(0, 2, 3, 1).double().numpy() for image in (output, target)]
    expected = 1 - np.mean([ssim_gaussian(*pair) for pair in zip(*arrays)])
    assert structure.ssim_loss(output, target).item() == pytest.approx(expected, abs=1e-5)
    assert structure.ssim_loss(output[:, :1], target[:, :1]).isfinite()


def test_small_targets_are_refused() -> None:
    small = torch.rand(1, 3, 175, 400)
    with pytest.raises(UserError, match="at least 176"):
        structure.msssim_loss(small, small)
    with pytest.raises(UserError, match="targets of 10 pixels are too small; expected sides of at least 11"):
        structure.ssim_loss(small[..., :10], small[..., :10])


@pytest.fixture(scope="module")
def features():
    torch.manual_seed(0)
    return losses.vgg19_features()


def test_perceptual_features_end_behind_the_last_convolution_of_block_5(features) -> None:
    kinds = [type(layer).__name__ for layer in features]
    assert kinds[-2:] == ["Conv2d", "ReLU"]
    assert (kinds.count("Conv2d"), kinds.count("MaxPool2d")) == (16, 4)
    loss = losses.PerceptualLoss(features)
    image = torch.rand(1, 3, 32, 32)
    assert loss(image, image).item() == 0.0
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    other = torch.rand(1, 3, 32, 32, requires_grad=True)
    shown = [features((x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)) for x in (image, other)]
    assert loss(other, image).item() == pytest.approx((shown[0] - shown[1]).square().mean().item(), rel=1e-4)
    loss(other, image).backward()
    assert other.grad is not None
    assert all(parameter.grad is None for parameter in features.parameters())


def test_perceptual_weights_come_from_a_file(features, tmp_path) -> None:
    state = {f"features.{key}": value for key, value in features.state_dict().items()}
    torch.save({**state, "head.fc.bias": torch.zeros(3)}, tmp_path / "vgg19.pth")
    loaded = losses.load_perceptual(str(tmp_path / "vgg19.pth"))
    assert torch.equal(loaded.features[0].weight, features[0].weight)
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="does not fit VGG-19"):
        losses.load_perceptual(str(tmp_path / "other.pth"))
    with pytest.raises(UserError, match="no file at"):
        losses.load_perceptual(str(tmp_path / "none.pth"))


def test_perceptual_weights_that_cannot_be_fetched_are_an_error(monkeypatch, features) -> None:
    def offline(name: str, pretrained: bool):
        if pretrained:
            raise OSError("no route\nto host")
        return torch.nn.ModuleDict({"features": torch.nn.Sequential(*features, torch.nn.MaxPool2d(2))})

    monkeypatch.setattr(losses.timm, "create_model", offline)
    with pytest.raises(UserError, match="perceptual=off") as error:
        losses.load_perceptual("pretrained")
    assert "\n" not in str(error.value)


def test_levels_compare_each_resolution_with_block_means() -> None:
    target = torch.rand(1, 3, 8, 8)
    coarse, fine = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 8, 8)
    blocks = target.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(-1, -2))
    expected = 2.0 * (coarse - blocks).square().mean() + 0.5 * (fine - target).square().mean()
    assert losses.levels_loss([coarse, fine], target, [2.0, 0.5]).item() == pytest.approx(expected.item(), rel=1e-5)
    with pytest.raises(ValueError, match="2 outputs, 1 weights"):
        losses.levels_loss([coarse, fine], target, [1.0])


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Output and target of the official values below: beyond [0, 1] on both sides, in float64."""
    output, target = (torch.from_numpy(make_input(seed, (2, 3, 24, 32))) for seed in (1451, 1452))
    return (1.4 * output - 0.2).double().requires_grad_(), target.double()


def test_losses_of_mobileie_and_lan_have_the_values_of_the_official_code(pair) -> None:
    raw, planes = (torch.from_numpy(make_input(seed, (2, 4, 12, 16))).double() for seed in (1454, 1453))
    terms = [error.outlier_aware_tanh_loss(*pair), error.cosine_loss(*pair), error.psnr_loss(*pair)]
    loss = terms[0] + terms[1] + 2 * terms[2]
    (gradient,) = torch.autograd.grad(loss, pair[0])
    found = [*terms, loss, gradient.norm(), losses.warm_up_loss(pair[0], raw, pair[1], planes)]
    expected = [0.346852996512288, 0.248183754324833, 0.438290264228019, 1.471617279293158]
    expected += [0.028095576046067, 0.990489979297960]
    assert [value.item() for value in found] == pytest.approx(expected, rel=1e-12)
    assert detail.total_variation(pair[0]).item() == pytest.approx(0.651292060758763, rel=1e-12)


def test_outlier_aware_weights_grow_with_the_distance_from_the_mean_error_and_have_no_gradient() -> None:
    target = torch.zeros(1, 1, 1, 4, dtype=torch.float64)
    output = torch.tensor([1.0, 1.0, 1.0, 5.0], dtype=torch.float64).reshape(1, 1, 1, 4).requires_grad_()
    # Mean 2, standard deviation 2: distances 1, 1, 1, 3 over sqrt 2.
    z = np.array([1, 1, 1, 3]) / math.sqrt(2)
    loss = error.outlier_aware_loss(output, target)
    weights = 1 - np.exp(-z)
    assert loss.item() == pytest.approx((weights * [1, 1, 1, 5]).mean())
    (gradient,) = torch.autograd.grad(loss, output)
    assert gradient.flatten().tolist() == pytest.approx(weights / 4)
    tanh = error.outlier_aware_tanh_loss(output, target).item()
    assert tanh == pytest.approx((np.tanh(z) * [1, 1, 1, 5]).mean(), rel=1e-5)


def test_losses_of_equal_black_and_constant_images_are_finite_with_finite_gradients() -> None:
    black, gray = torch.zeros(2, 3, 8, 8), torch.full((2, 3, 8, 8), 0.5)
    for output, target in ((black, black), (gray, gray), (gray, black), (black, gray), (-gray, gray)):
        image = output.clone().requires_grad_()
        for loss in (one.function for one in LOSSES if one.function and one.name not in ("ssim", "msssim")):
            value = loss(image, target)
            (gradient,) = torch.autograd.grad(value, image)
            assert torch.isfinite(value)
            assert torch.isfinite(gradient).all()
    assert error.cosine_loss(black, gray).item() == 1.0
    assert error.cosine_loss(0.3 * gray, gray).item() == pytest.approx(0, abs=1e-6)
    assert error.charbonnier(gray, black).item() == pytest.approx(0.5)
    # An error of 0.1 everywhere is 20 dB.
    assert error.psnr_loss(gray + 0.1, gray).item() == pytest.approx(0.3, abs=1e-5)


def test_total_variation_is_the_mean_of_squared_differences_of_neighbours() -> None:
    ramp = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert detail.total_variation(ramp).item() == 1 + 9
    assert detail.total_variation(ramp.repeat(4, 3, 1, 1)).item() == 10


def test_l1_gradient_and_edge_are_what_their_names_say(pair) -> None:
    output, target = (image.detach().numpy() for image in pair)
    errors = output - target
    assert error.l1(*pair).item() == pytest.approx(np.abs(errors).mean())
    steps = np.abs(np.diff(errors, axis=3)).mean() + np.abs(np.diff(errors, axis=2)).mean()
    assert detail.gradient(*pair).item() == pytest.approx(steps)
    padded = np.pad(errors, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    neighbours = padded[..., 2:, 1:-1] + padded[..., :-2, 1:-1] + padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2]
    for eps in (1e-3, 0.1):
        expected = np.sqrt((4 * errors - neighbours) ** 2 + eps**2).mean()
        assert detail.edge(*pair, eps=eps).item() == pytest.approx(expected)


def test_fft_is_the_error_of_real_and_imaginary_parts_of_all_frequencies(pair) -> None:
    spectra = [np.fft.fft2(image.detach().numpy()) for image in pair]
    parts = np.stack([spectra[0].real - spectra[1].real, spectra[0].imag - spectra[1].imag])
    assert detail.fft(*pair).item() == pytest.approx(np.abs(parts).mean())
    assert detail.fft(*pair, norm="ortho").item() == pytest.approx(np.abs(parts).mean() / math.sqrt(24 * 32))
