"""Try weights under other conventions of the input than the stated one: another scale, another order of planes.

A picture is made into what the network takes (a mosaic by the stand-ins' camera, or the picture with noise), and its
output is compared with the picture. With trained weights the right convention gives a picture, if with other colours
and brightness; a wrong scale gives one that is nearly black, white or constant, a wrong order one whose colours are
exchanged. All published weights of the zoo for RAW have 15.4 dB or more as they should be, and lose at least 4.5 dB
with four times or a quarter of the counts, or in another order of planes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import NDArray
from torch import Tensor

from benchmark.standin.unprocess import RGB2XYZ, XYZ2CAM, Camera, unprocess
from zoo.card import ModelCard
from zoo.convention import PYNET_PLANES, READING_PLANES, InputSpec
from zoo.errors import UserError
from zoo.raw import apply_model, to_network

# Side of the picture in pixels of its mosaic, or of an image and of the mosaic for networks of many parameters.
RAW_SIDE, SMALL_SIDE = 96, 64
_MANY = 5_000_000
_DIVISORS = (255.0, 1020.0, 1023.0, 4095.0, 16383.0)
_RANGES = ((0.0, 1.0), (0.0, 255.0), (-1.0, 1.0))
# By how much another convention must be better, in dB, and how like the picture in its colours.
_GAP, _LIKE = 3.0, 0.6


class Scene(NamedTuple):
    """What a network is shown, (N, C, H, W), and should return, (H, W, C), in [0, 1]; ``good`` is the PSNR of success.

    ``sigma`` is the standard deviation of its noise, as 8-bit values have it.
    """

    shown: Tensor
    expected: NDArray[np.float64]
    good: float
    sigma: float = 0.0


class Outcome(NamedTuple):
    """How like the expected picture an output is: PSNR, mean correlation of the channels, shares at black and white.

    ``spread`` is the standard deviation of the output.
    """

    psnr: float
    likeness: float
    black: float
    white: float
    spread: float

    @property
    def words(self) -> str:
        """What is seen of an output that is not the picture."""
        for share, colour in ((self.black, "black"), (self.white, "white")):
            if share > 0.2:
                return f"is {100 * share:.0f} % {colour} ({self.psnr:.1f} dB)"
        return f"{'is nearly constant' if self.spread < 0.03 else 'does not show it'} ({self.psnr:.1f} dB)"


class Convention(NamedTuple):
    """Another convention: its words, the user's next step, and the convention itself."""

    words: str
    step: str
    spec: InputSpec


def convention_warning(
    card: ModelCard,
    options: Mapping[str, Any],
    network: Callable[[Tensor], Any],
    picture: NDArray[np.float64] | None = None,
) -> str:
    """Return a line for the user if the output is poor as the card states the input, and good otherwise; else "".

    ``picture`` (H, W, 3) in [0, 1] takes the place of the synthetic one; the middle of it is used. Raises UserError for
    one that is too small, and every exception of the network.
    """
    stated = card.input_for(options)
    for scenes in _scenes(card, stated, picture):
        least = max(scene.good for scene in scenes)
        here = _outcome(network, stated, scenes)
        # What the user can set comes first.
        for others in (_by_option(card, options), _by_spec(stated)):
            found = [(_outcome(network, other.spec, scenes), other) for other in others]
            good = [one for one in found if one[0].likeness > _LIKE and one[0].psnr > max(least, here.psnr + _GAP)]
            if good:
                there, other = max(good, key=lambda one: one[0].psnr)
                what = "a picture" if picture is not None else "a synthetic picture"
                return (
                    f"the output for {what} {here.words} as the weights are imported, and with {other.words} it has"
                    f" {there.psnr:.1f} dB. If they were trained so, {other.step}."
                )
    return ""


def _by_option(card: ModelCard, options: Mapping[str, Any]) -> Iterator[Convention]:
    spec = card.input_for(options)
    for name, values in card.conventions.items():
        for value in values:
            other = card.input_for({**options, name: value})
            if other != spec:
                yield Convention(f"{name}={value}", f"import them with --set {name}={value}", other)


def _by_spec(spec: InputSpec) -> Iterator[Convention]:
    changes: list[tuple[str, dict[str, Any]]]
    if spec.is_raw:
        tried = [spec.divisor]
        for divisor in _DIVISORS:
            # The outputs of 1020 and 1023 are nearly the same.
            if not any(isinstance(one, float) and abs(divisor / one - 1) < 0.02 for one in tried):
                tried.append(divisor)
        changes = [(f"divisor={divisor:g}", {"divisor": divisor}) for divisor in tried[1:]]
        changes.append(("black_level=None, divisor=None", {"black_level": None, "divisor": None}))
        if spec.layout == "bayer_packed":
            orders = {"PYNET_PLANES": PYNET_PLANES, "READING_PLANES": READING_PLANES}
            changes += [(f"planes={name}", {"planes": planes}) for name, planes in orders.items()]
    else:
        changes = [
            (f"input_range={value}, output_range={value}", {"input_range": value, "output_range": value})
            for value in _RANGES
        ]
    for words, change in changes:
        other = replace(spec, **change)
        if other != spec:
            yield Convention(words, f"the network needs an InputSpec with {words}", other)


def _scenes(card: ModelCard, spec: InputSpec, picture: NDArray[np.float64] | None) -> Iterator[Sequence[Scene]]:
    """Yield groups of scenes, of which the one that a network does best counts."""
    side = RAW_SIDE if spec.is_raw and (card.params or 0) < _MANY else SMALL_SIDE
    side = max(side, spec.min_size * spec.cell)
    side += side % 2
    image = synthetic_picture(side) if picture is None else _middle(picture, side)
    if spec.is_raw:
        matrix = XYZ2CAM.mean(axis=0) @ RGB2XYZ
        rows = (matrix / matrix.sum(axis=1, keepdims=True)).tolist()
        mosaic = unprocess(image, Camera(tuple(map(tuple, rows)), red_gain=2.1, blue_gain=1.7), 1.25)
        # Data sets differ in their exposure.
        yield [Scene(torch.from_numpy(gain * mosaic)[None, None].float(), image, 13.0) for gain in (1.0, 0.5)]
        return
    image = image if spec.layout == "rgb" else image.mean(axis=2, keepdims=True)
    if card.task == "enhance_rgb":
        yield [Scene(_as_input(image), image, 15.0)]
        return
    # In the dark, clipping at black is most of the difference between the input of two networks.
    for clean, sigma in ((image, 15.0), (0.5 * image**2, 50.0)):
        noisy = clean + RandomState(1).standard_normal(clean.shape) * (sigma / 255)
        # An untrained network may return its input, but it does not remove noise.
        yield [Scene(_as_input(noisy), clean, _compared(noisy, clean).psnr + 1, sigma)]


def _as_input(image: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float()


def _outcome(network: Callable[[Tensor], Any], spec: InputSpec, scenes: Sequence[Scene]) -> Outcome:
    outcomes = []
    for scene in scenes:
        black, white = spec.levels
        shown = scene.shown * (white - black) + black if spec.is_raw else scene.shown
        sigma = scene.sigma if spec.noise_level else None
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            output = apply_model(network, to_network(shown, spec, black=black, white=white, sigma=sigma), spec)
        outcomes.append(_compared(output[0].permute(1, 2, 0).double().numpy(), scene.expected))
        if outcomes[-1].likeness < 0.2:
            break  # no exposure makes a picture of this
    return max(outcomes, key=lambda outcome: outcome.psnr)


def _compared(output: NDArray[np.float64], expected: NDArray[np.float64]) -> Outcome:
    # A network that overflows is as good as one that returns white.
    seen = np.nan_to_num(output, nan=1.0).clip(0.0, 1.0)
    error = float(((seen - expected) ** 2).mean())
    pairs = zip(seen.reshape(-1, seen.shape[2]).T, expected.reshape(-1, seen.shape[2]).T)
    likeness = [float(np.corrcoef(a, b)[0, 1]) if a.std() > 1e-6 else 0.0 for a, b in pairs]
    return Outcome(
        psnr=-10 * math.log10(max(error, 1e-10)),
        likeness=sum(likeness) / len(likeness),
        black=float((seen <= 1 / 255).mean()),
        white=float((seen >= 254 / 255).mean()),
        spread=float(seen.std()),
    )


def synthetic_picture(side: int) -> NDArray[np.float64]:
    """Return a colourful picture (side, side, 3) in [0, 1]: a smooth ground, patches of one colour, and fine lines."""
    random = RandomState(1)
    y, x = np.mgrid[:side, :side] / side
    corners = random.uniform(0.1, 0.8, (4, 3))
    weights = np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], axis=-1)
    image = weights @ corners
    for _ in range(40):
        (top, left), (height, width) = random.rand(2), random.uniform(0.03, 0.15, 2)
        across, along = np.abs(y - top) / height, np.abs(x - left) / width
        inside = np.maximum(across, along) < 1 if random.rand() < 0.5 else across**2 + along**2 < 1
        image[inside] = random.uniform(0.1, 0.8, 3)
    image += 0.05 * np.sin(x[..., None] * side / 3)
    return image.clip(0.02, 0.98)


def _middle(picture: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    height, width = picture.shape[:2]
    if min(height, width) < side:
        raise UserError(f"--try-on: the picture has {height}x{width} pixels; expected at least {side}x{side}.")
    top, left = (height - side) // 2, (width - side) // 2
    return picture[top : top + side, left : left + side]
