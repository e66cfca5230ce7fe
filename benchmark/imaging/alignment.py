"""Find the shift between an output and its target, whole or sub-pixel, per image on the CPU.

Pairs of two cameras are shifted by a few pixels, and this shift changes a network's score, whether or not the network
has learnt the shift of its training pairs. ``find_shift`` takes candidates from phase correlation, climbs from the best
one to the whole shift with the largest normalised cross-correlation, and refines it by Gauss-Newton steps on shift,
gain and offset, so that a colour cast between the images does not change it. The output is moved by a phase ramp, which
does not blur: interpolation would denoise the output and improve its score.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Any, NamedTuple, TypeVar

import numpy as np
import scipy  # Its parts are imported where they are first used: processes that score nothing start sooner.
from numpy.typing import NDArray

RADIUS = 16
"""The largest shift that is searched, in pixels, on images of at least 128 pixels a side."""

_PEAKS = 5
_STEPS = 8
_CACHED = 16

Image = NDArray[np.floating[Any]]  # (H, W, 3), or (H, W) for one plane
Value = TypeVar("Value")


class Shift(NamedTuple):
    """The output lies ``dy`` rows below and ``dx`` columns right of the target, in pixels."""

    dy: float
    dx: float

    def is_whole(self) -> bool:
        """Return whether both parts are integers."""
        return float(self.dy).is_integer() and float(self.dx).is_integer()


def remembered(function: Callable[[Image, Image], Value]) -> Callable[[Image, Image], Value]:
    """Return the function with its results for the last pairs cached by content, for use in several threads.

    So several metrics of one image need only one search.
    """
    cache: OrderedDict[bytes, Value] = OrderedDict()
    lock = threading.Lock()

    @functools.wraps(function)
    def cached(output: Image, target: Image) -> Value:
        key = b"".join(sha256(np.ascontiguousarray(image).data).digest() for image in (output, target))
        with lock:
            if key in cache:
                cache.move_to_end(key)
                return cache[key]
        value = function(output, target)
        with lock:
            cache[key] = value
            while len(cache) > _CACHED:
                cache.popitem(last=False)
        return value

    return cached


def search_radius(height: int, width: int) -> int:
    """Return the search radius, which is also the border left out: 16 pixels, or an eighth of a side below 128.

    At least 11 pixels, the window of SSIM, always remain.
    """
    side = min(height, width)
    return max(0, min(RADIUS, side // 8, (side - 11) // 2))


@remembered
def find_shift(output: Image, target: Image) -> Shift:
    """Return the shift of ``output`` against ``target``, both (H, W, 3), within ``search_radius`` in each direction.

    The result is Shift(0, 0) if no other shift has a smaller squared error inside the border.
    """
    return _search(output, target)


def align(output: Image, target: Image, shift: Shift) -> tuple[Image, Image]:
    """Return the output, moved to match the target, and the target, both without the border of ``search_radius``."""
    radius = search_radius(*target.shape[:2])
    return _moved(output, shift, radius), crop(target, radius)


def crop(image: Image, border: int) -> Image:
    """Return the image (H, W, ...) without ``border`` pixels on each side."""
    return image[border : image.shape[0] - border, border : image.shape[1] - border]


def _search(output: Image, target: Image) -> Shift:
    radius = search_radius(*target.shape[:2])
    here = Shift(0, 0)
    moving, still = _gray(output), _gray(target)
    if radius == 0 or not (np.isfinite(moving).all() and np.isfinite(still).all()):
        return here
    wanted = crop(still, radius)
    candidates = [here, *_phase_peaks(moving, still, radius)]
    best = max(candidates, key=lambda shift: _likeness(_moved(moving, shift, radius), wanted))
    whole = _climb(moving, wanted, best, radius)
    found = _refine(moving, wanted, whole, radius)
    plain, aligned = (float(np.mean(np.square(np.subtract(*align(output, target, s))))) for s in (here, found))
    return found if aligned < plain else here


def _gray(image: Image) -> Image:
    return np.asarray(image, np.float64).mean(axis=2)


def _moved(image: Image, shift: Shift, radius: int) -> Image:
    """Return the image (H, W, ...) moved by -shift, without the border; whole shifts need only slicing."""
    height, width = image.shape[:2]
    if shift.is_whole():
        top, left = radius + int(shift.dy), radius + int(shift.dx)
        return image[top : top + height - 2 * radius, left : left + width - 2 * radius]
    return crop(_Spectrum(image).moved(shift), radius)


class _Spectrum:
    """The Fourier transform of an image, which is mirrored beyond its border; it can be moved by any shift."""

    def __init__(self, image: Image) -> None:
        self.size = image.shape[:2]
        lengths = [scipy.fft.next_fast_len(side + 2 * RADIUS, real=True) for side in self.size]
        # The wrap-around is in the mirrored part, half of it before and half after the image.
        self.pad = [
            ((length - side) // 2, length - side - (length - side) // 2) for length, side in zip(lengths, self.size)
        ]
        padding = [*self.pad, *[(0, 0)] * (image.ndim - 2)]
        self.padded = lengths
        self.values = scipy.fft.rfft2(np.pad(np.asarray(image, np.float64), padding, mode="symmetric"), axes=(0, 1))

    def moved(self, shift: Shift) -> Image:
        """Return the image at positions (y + dy, x + dx)."""
        rows = np.exp(2j * np.pi * shift.dy * scipy.fft.fftfreq(self.padded[0]))
        columns = np.exp(2j * np.pi * shift.dx * scipy.fft.rfftfreq(self.padded[1]))
        ramp = np.multiply.outer(rows, columns)
        ramp = ramp.reshape(ramp.shape + (1,) * (self.values.ndim - 2))
        image: Image = scipy.fft.irfft2(self.values * ramp, s=self.padded, axes=(0, 1))
        (top, _), (left, _) = self.pad
        return image[top : top + self.size[0], left : left + self.size[1]]


def _phase_peaks(moving: Image, still: Image, radius: int) -> list[Shift]:
    """Return the largest values of the phase correlation within the radius, as shifts."""
    window = np.multiply.outer(np.hanning(moving.shape[0]), np.hanning(moving.shape[1]))
    first, second = (scipy.fft.rfft2(window * (plane - plane.mean())) for plane in (moving, still))
    cross = first * second.conj()
    surface = scipy.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-12), s=moving.shape)
    span = np.arange(-radius, radius + 1)
    near = surface[np.ix_(span, span)]  # negative indices are negative shifts
    order = np.argsort(near, axis=None)[::-1][:_PEAKS]
    return [Shift(int(span[y]), int(span[x])) for y, x in zip(*np.unravel_index(order, near.shape))]


def _likeness(moved: Image, wanted: Image) -> float:
    """Return the normalised cross-correlation, or -1 if one of the two is flat."""
    first, second = moved - moved.mean(), wanted - wanted.mean()
    energy = float(np.sum(first * first) * np.sum(second * second))
    return float(np.sum(first * second)) / energy**0.5 if energy > 1e-20 else -1.0


def _climb(moving: Image, wanted: Image, start: Shift, radius: int) -> Shift:
    """Return the local maximum of likeness among whole shifts that is reached by climbing from ``start``."""
    known: dict[Shift, float] = {}

    def height(shift: Shift) -> float:
        if shift not in known:
            known[shift] = _likeness(_moved(moving, shift, radius), wanted)
        return known[shift]

    best = start
    for _ in range(2 * radius):
        around = [Shift(best.dy + y, best.dx + x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
        top = max((s for s in around if max(abs(s.dy), abs(s.dx)) <= radius), key=height)
        if height(top) <= height(best):
            break
        best = top
    return best


def _refine(moving: Image, wanted: Image, whole: Shift, radius: int) -> Shift:
    """Return the best shift within a pixel of ``whole``, or ``whole`` itself if no other is better."""
    spectrum = _Spectrum(moving)
    best, likeness = whole, _likeness(_moved(moving, whole, radius), wanted) + 1e-9
    shift = whole
    for _ in range(_STEPS):
        image = spectrum.moved(shift)
        moved = crop(image, radius)
        now = _likeness(moved, wanted)
        if now > likeness:
            best, likeness = shift, now
        down, right = (crop(np.gradient(image, axis=axis), radius) for axis in (0, 1))
        columns = np.stack([down.ravel(), right.ravel(), moved.ravel(), np.ones(moved.size)])
        # wanted = gain (moved + down dy + right dx) + offset: linear in gain dy, gain dx, gain and offset.
        normal, side = columns @ columns.T, columns @ wanted.ravel()
        try:
            y, x, gain, _offset = np.linalg.solve(normal, side)
        except np.linalg.LinAlgError:
            break
        if gain <= 0:
            break
        step = np.clip([y / gain, x / gain], -0.5, 0.5)
        new = np.clip([shift.dy + step[0], shift.dx + step[1]], -radius, radius)
        if np.abs(new - whole).max() > 1 or np.abs(step).max() < 1e-4:
            break
        shift = Shift(float(new[0]), float(new[1]))
    return best
