"""Convert an sRGB photograph back to a RAW that it could come from, add the sensor's noise, and render it again.

The pipeline and its constants are those of Brooks et al., "Unprocessing Images for Learned Raw Denoising"
(CVPR 2019, arXiv 1811.11127): inverse tone curve, inverse gamma, colour matrix, inverse gains, mosaic, noise.
Images are float64 (H, W, 3) and mosaics (H, W), both in [0, 1] with black at 0; the colour filter is RGGB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from scipy.ndimage import correlate

Image = NDArray[np.float64]

GAMMA = 2.2
# Black and white levels of the 10-bit counts that both cameras of the stand-ins record.
BLACK, WHITE = 64, 1023
XYZ2CAM = np.array(
    [
        [[1.0234, -0.2969, -0.2266], [-0.5625, 1.6328, -0.0469], [-0.0703, 0.2188, 0.6406]],
        [[0.4913, -0.0541, -0.0202], [-0.613, 1.3513, 0.2906], [-0.1564, 0.2151, 0.7183]],
        [[0.838, -0.263, -0.0639], [-0.2887, 1.0725, 0.2496], [-0.0627, 0.1427, 0.5438]],
        [[0.6596, -0.2079, -0.0562], [-0.4782, 1.3016, 0.1933], [-0.097, 0.1581, 0.5181]],
    ]
)
# Linear sRGB to XYZ under D65.
RGB2XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
# Above this gray level the inverse gains fade to 1, so that a saturated white stays saturated.
HIGHLIGHT = 0.9


@dataclass(frozen=True)
class Camera:
    """One sensor under one illuminant: linear sRGB to camera RGB (rows sum to 1) and white-balance gains."""

    rgb2cam: tuple[tuple[float, ...], ...]
    red_gain: float
    blue_gain: float


@dataclass(frozen=True)
class Noise:
    """Noise of variance ``shot * x + read`` on a linear signal x in [0, 1]."""

    shot: float
    read: float


@dataclass(frozen=True)
class NoiseModel:
    """Log-uniform shot noise, and log-normal read noise around a line in the logarithm of the shot noise."""

    base: float
    shot_range: tuple[float, float]
    slope: float
    intercept: float
    scatter: float

    def sample(self, random: RandomState) -> Noise:
        """Draw one noise level."""
        low, high = (math.log(shot, self.base) for shot in self.shot_range)
        log_shot = random.uniform(low, high)
        log_read = random.normal(self.slope * log_shot + self.intercept, self.scatter)
        return Noise(shot=float(self.base**log_shot), read=float(self.base**log_read))


# Brooks et al. fitted these to the Darmstadt phones and cameras, in natural logarithms. CycleISP used the same
# numbers with log10, which makes read noise 4.8 times stronger; its second fit is for SIDD's own phones.
BROOKS_NOISE = NoiseModel(math.e, (0.0001, 0.012), 2.18, 1.20, 0.26)
SIDD_NOISE = NoiseModel(10.0, (0.00068674, 0.02194856), 1.85, 0.30, 0.20)


def smoothstep(image: Image) -> Image:
    """Apply the tone curve 3x^2 - 2x^3."""
    return image**2 * (3.0 - 2.0 * image)


def inverse_smoothstep(image: Image) -> Image:
    """Invert the tone curve in closed form."""
    return 0.5 - np.sin(np.arcsin(1.0 - 2.0 * image) / 3.0)


def linearise(image: Image) -> Image:
    """Return the linear light of a display image: inverse tone curve, then inverse gamma."""
    return np.maximum(inverse_smoothstep(image), 1e-8) ** GAMMA


def render(linear: Image) -> Image:
    """Return the display image of linear light, which is clipped to [0, 1]; the inverse of ``linearise``."""
    return smoothstep(np.clip(linear, 1e-8, 1.0) ** (1.0 / GAMMA))


def to_uint8(image: Image) -> NDArray[np.uint8]:
    """Return values clipped to [0, 1] as integers 0..255."""
    return np.rint(image.clip(0.0, 1.0) * 255.0).astype(np.uint8)


def sample_camera(random: RandomState) -> Camera:
    """Draw a sensor (a random mean of four measured ones) and an illuminant."""
    weights = random.uniform(1e-8, 1e8, size=len(XYZ2CAM))
    matrix = np.tensordot(weights / weights.sum(), XYZ2CAM, axes=1) @ RGB2XYZ
    # Rows that sum to 1 do not change white, so only the gains contain the white balance.
    matrix = matrix / matrix.sum(axis=1, keepdims=True)
    return Camera(
        rgb2cam=tuple(tuple(float(value) for value in row) for row in matrix),
        red_gain=float(random.uniform(1.9, 2.4)),
        blue_gain=float(random.uniform(1.5, 1.9)),
    )


def sample_rgb_gain(random: RandomState) -> float:
    """Draw the exposure gain that the camera applied; RAW is darker than the photograph by this factor."""
    return float(1.0 / random.normal(0.8, 0.1))


def apply_matrix(image: Image, matrix: Sequence[Sequence[float]] | Image) -> Image:
    """Multiply every pixel by a 3x3 matrix."""
    return image @ np.asarray(matrix).T


def invert_gains(image: Image, camera: Camera, rgb_gain: float) -> Image:
    """Divide by the gains; near saturated gray the gains fade to 1, so that it is not changed."""
    gains = np.array([1.0 / camera.red_gain, 1.0, 1.0 / camera.blue_gain]) / rgb_gain
    gray = image.mean(axis=-1, keepdims=True)
    mask = (np.maximum(gray - HIGHLIGHT, 0.0) / (1.0 - HIGHLIGHT)) ** 2
    return image * np.maximum(mask + (1.0 - mask) * gains, gains)


def mosaic(image: Image) -> Image:
    """Keep one colour per pixel, RGGB; height and width are even."""
    plane = image[..., 1].copy()
    plane[0::2, 0::2] = image[0::2, 0::2, 0]
    plane[1::2, 1::2] = image[1::2, 1::2, 2]
    return plane


def unprocess(image: Image, camera: Camera, rgb_gain: float) -> Image:
    """Return the noise-free mosaic that ``camera`` would have recorded for a display image."""
    linear = apply_matrix(linearise(image), camera.rgb2cam)
    return mosaic(np.clip(invert_gains(linear, camera, rgb_gain), 0.0, 1.0))


def add_noise(plane: Image, noise: Noise, random: RandomState) -> Image:
    """Return the mosaic with shot and read noise drawn from one Gaussian; nothing is clipped."""
    return plane + random.standard_normal(plane.shape) * np.sqrt(noise.shot * plane + noise.read)


def demosaic(plane: Image) -> Image:
    """Interpolate an RGGB mosaic bilinearly."""
    # Reflection about the border pixel keeps the phase of the colour filter.
    padded = np.pad(plane, 1, mode="reflect")
    sides = (padded[:, :-2] + padded[:, 2:]) / 2.0
    beside, above = sides[1:-1], (padded[:-2, 1:-1] + padded[2:, 1:-1]) / 2.0
    diagonal, cross = (sides[:-2] + sides[2:]) / 2.0, (beside + above) / 2.0
    return _placed(plane, green=cross, beside=beside, above=above, across=diagonal)


# Filters of Malvar, He and Cutler 2004, in eighths: green at red or blue, red between reds of its row, red at blue.
_GREEN = np.array([[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]) / 8
_BESIDE = np.array([[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]]) / 8
_ACROSS = np.array([[0, 0, -3, 0, 0], [0, 4, 0, 4, 0], [-3, 0, 12, 0, -3], [0, 4, 0, 4, 0], [0, 0, -3, 0, 0]]) / 16


def demosaic_malvar(plane: Image) -> Image:
    """Interpolate an RGGB mosaic linearly, corrected by gradients of the recorded colour, as MATLAB's demosaic does."""
    green, beside, above, across = (
        correlate(plane, kernel, mode="mirror") for kernel in (_GREEN, _BESIDE, _BESIDE.T, _ACROSS)
    )
    return _placed(plane, green=green, beside=beside, above=above, across=across)


def _placed(plane: Image, *, green: Image, beside: Image, above: Image, across: Image) -> Image:
    """Return recorded values and, elsewhere, estimates; for red and blue these depend on where their pixels are."""
    image = np.empty((*plane.shape, 3))
    for channel, row, column in ((0, 0, 0), (2, 1, 1)):
        red_or_blue = image[..., channel]
        red_or_blue[row::2, column::2] = plane[row::2, column::2]
        red_or_blue[row::2, 1 - column :: 2] = beside[row::2, 1 - column :: 2]
        red_or_blue[1 - row :: 2, column::2] = above[1 - row :: 2, column::2]
        red_or_blue[1 - row :: 2, 1 - column :: 2] = across[1 - row :: 2, 1 - column :: 2]
        image[row::2, column::2, 1] = green[row::2, column::2]
        image[row::2, 1 - column :: 2, 1] = plane[row::2, 1 - column :: 2]
    return image


def process(plane: Image, camera: Camera, rgb_gain: float) -> Image:
    """Return the display image of a mosaic: gains, bilinear demosaicing, colour matrix, gamma, tone curve."""
    return render(_to_srgb(demosaic(_balance(plane * rgb_gain, camera)), camera))


def develop(plane: Image, camera: Camera) -> Image:
    """Return the image of a mosaic, rendered as in SIDD: Malvar's demosaicing, no exposure gain, no tone curve."""
    return np.clip(_to_srgb(demosaic_malvar(_balance(plane.copy(), camera)), camera), 0.0, 1.0) ** (1.0 / GAMMA)


def _balance(plane: Image, camera: Camera) -> Image:
    """Return the mosaic multiplied by the white-balance gains and clipped; ``plane`` is overwritten."""
    plane[0::2, 0::2] *= camera.red_gain
    plane[1::2, 1::2] *= camera.blue_gain
    return np.clip(plane, 0.0, 1.0)


def _to_srgb(linear: Image, camera: Camera) -> Image:
    return apply_matrix(linear, np.linalg.inv(np.array(camera.rgb2cam)))
