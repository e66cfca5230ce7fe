"""LPIPS and DISTS, by torchmetrics (``pip install 'zoo-bench[perceptual]'``) with the networks of torchvision.

torchmetrics holds the small learned layers of both. The networks below them are files of 230 and 530 MB. Nothing is
downloaded here: where a file is missing or damaged, the error says how to get it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.imaging.filters import check_pair
from benchmark.metrics import register_metric
from zoo.errors import UserError

_SMALLEST = 32


def _checked(id: str, model: str) -> Path:
    """Return the file of torchvision's network ``model``; raises UserError if it or a package is missing."""
    try:
        import torchmetrics.functional.image.dists  # noqa: F401
        from torchvision.models import get_model_weights
    except ImportError as error:
        raise UserError(
            f"{id} needs torchmetrics 1.8 or newer, and torchvision ({error}). Install them: pip install"
            " 'zoo-bench[perceptual]'."
        ) from None
    from torch import hub

    url = get_model_weights(model)["DEFAULT"].url
    file = Path(hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    how = f"Download {url} to that place, or copy the file from a machine that has it."
    if not file.is_file():
        raise UserError(f"{id} needs the weights of {model}, and there is no file {file}. {how}")
    # The published name ends with the beginning of the file's sha256.
    if not _digest(file, file.stat().st_mtime_ns).startswith(file.stem.rpartition("-")[2]):
        raise UserError(f"{id}: {file} is damaged, its sha256 does not begin as its name ends. {how}")
    return file


@functools.cache
def _digest(file: Path, changed: int) -> str:
    digest = sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _check_lpips() -> None:
    _checked("lpips[alex]", "alexnet")


def _check_dists() -> None:
    _checked("dists", "vgg16")


@functools.cache
def _lpips() -> Callable[..., Any]:
    _check_lpips()
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    network: Any = LearnedPerceptualImagePatchSimilarity(net_type="alex").net.eval()
    return functools.partial(network, normalize=True)


@functools.cache
def _dists() -> Callable[..., Any]:
    _check_dists()
    from torchmetrics.functional.image.dists import DISTSNetwork

    network: Any = DISTSNetwork().eval()
    return network


@register_metric(
    "lpips[alex]",
    higher_is_better=False,
    least=0.0,
    check=_check_lpips,
    definition="LPIPS version 0.1 (Zhang et al. 2018) of one image with the features of AlexNet, as torchmetrics "
    "computes it in float32, values mapped to [-1, 1], images at their own size, sides of at least 32",
)
def lpips_alex(output: np.ndarray, target: np.ndarray) -> float:
    """Return the LPIPS distance of RGB images (H, W, 3) in [0, 1], at least 32 pixels a side."""
    return _distance(_lpips, output, target)


@register_metric(
    "dists",
    higher_is_better=False,
    # Rounding makes it slightly negative for images that are equal, or nearly so.
    least=-1e-3,
    most=1.0,
    check=_check_dists,
    definition="DISTS (Ding et al. 2020) of one image with the features of VGG16, as torchmetrics computes it in "
    "float32, images at their own size (not resized to 256), sides of at least 32",
)
def dists(output: np.ndarray, target: np.ndarray) -> float:
    """Return the DISTS distance of RGB images (H, W, 3) in [0, 1], at least 32 pixels a side."""
    return _distance(_dists, output, target)


def _distance(network: Callable[[], Callable[..., Any]], output: np.ndarray, target: np.ndarray) -> float:
    import torch

    output, target = check_pair(output, target, smallest_side=_SMALLEST)
    first, second = (
        torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), np.float32))[None] for image in (output, target)
    )
    with torch.inference_mode():
        return float(network()(first, second))
