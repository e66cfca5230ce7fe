"""Compare pieces with the whole on two small images, for networks that our tests do not cover."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from benchmark.fullres.inexact import InexactError
from benchmark.fullres.subject import Forward, Subject
from benchmark.units import shape_text
from zoo.errors import in_one_line

# Pieces may differ from the whole by this part of the largest output. Kernels for other shapes add in another order,
# which changes most outputs by less than 1e-6. Some operations, for example a warp by a computed flow, enlarge this
# difference, and more so on a large image, for which we promise 1e-5.
PLAIN_TOLERANCE = 2e-6
# Joined kernels round elsewhere, and compute some activations in another way.
JOINED_TOLERANCE = 5e-6


def check_pieces(
    subject: Subject,
    sizes: Iterable[tuple[int, int]],
    pieces_of: Callable[[Tensor], Forward],
    *,
    images: int = 1,
    tolerance: float = PLAIN_TOLERANCE,
) -> None:
    """Raise InexactError unless noise images of two sizes give the same output in pieces as they do whole.

    ``sizes`` (height, width) are tried in order; a size that the network itself refuses is left out. ``pieces_of``
    returns a function that runs images like the given ones in pieces. If a batch has several ``images``, two are tried:
    in pieces each image is run by itself, so the network must not mix them. ``tolerance``: as a part of the largest
    output.
    """
    held = 0
    for size in sizes:
        planes = probe_planes(subject.channels, size, images=min(images, 2))
        try:
            with torch.inference_mode():
                whole = subject.network(planes.clone())
        except Exception:  # the network will raise this again for the user's own image
            continue
        _compare(whole, planes, pieces_of, tolerance)
        held += 1
        if held == 2:
            return
    raise InexactError("the network takes no two small images on which pieces could be compared with the whole")


def _compare(whole: Tensor, planes: Tensor, pieces_of: Callable[[Tensor], Forward], tolerance: float) -> None:
    size = shape_text(planes.shape[-2:])
    try:
        found = pieces_of(planes)(planes)
    except InexactError:
        raise
    except Exception as error:
        raise InexactError(f"a small image of {size} runs whole but not in pieces ({in_one_line(error)})") from error
    difference = largest_difference(found, whole)
    if not difference <= tolerance:
        raise InexactError(
            f"in pieces a small image of {size} differs from the whole by {difference:.2g} of the largest value"
        )


def largest_difference(found: Tensor, whole: Tensor) -> float:
    """Return the largest difference over the largest finite value of ``whole``; inf if shapes or NaNs differ."""
    if found.shape != whole.shape or not torch.equal(found.isfinite(), whole.isfinite()):
        return math.inf
    known = whole.isfinite()
    if not torch.equal(found[~known].nan_to_num(), whole[~known].nan_to_num()):
        return math.inf
    if not known.any():
        return 0.0
    scale = max(float(whole[known].abs().max()), 1e-30)
    return float((found[known] - whole[known]).abs().max()) / scale


def small_sizes(subject: Subject, size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield sizes of small images; the first is not square, and its sides are odd if ``subject.multiple`` is odd.

    The others leave the same remainder as ``size`` when they are divided by the usual strides of networks.
    """
    multiple = subject.multiple
    yield _side(subject, 2 * multiple, multiple, 80), _side(subject, 2 * multiple, multiple, 112)
    for divisor, least in ((32, (96, 64)), (32, (64, 128)), (64, (64, 192)), (64, (128, 64)), (128, (128, 256))):
        step = math.lcm(multiple, divisor)
        yield _side(subject, step, size[0], least[0]), _side(subject, step, size[1], least[1])


def _side(subject: Subject, step: int, like: int, least: int) -> int:
    """Return the smallest side of at least ``least`` with the same remainder as ``like`` when divided by ``step``."""
    least = max(subject.least, least)
    return least + (like - least) % step


def probe_planes(channels: int, size: tuple[int, int], images: int = 1) -> Tensor:
    """Return uniform noise (images, channels, *size), the same in every call."""
    return torch.rand(images, channels, *size, generator=torch.Generator().manual_seed(0))
