"""A plug-in for the tests: a dataset of four small RAW images and models that behave and misbehave."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark import register_dataset, register_metric
from benchmark.types import DatasetCard, EvaluationProtocol, Sample
from zoo import register_model

SIZE = 64
DELAY = float(os.environ.get("TINY_DELAY", "0"))


class TinySplit:
    """Four mosaics of 64x64 counts with 64x64 targets, the same every time."""

    def __init__(self, name: str, split: str) -> None:
        self.name, self.split = name, split
        self.ids = [str(index) for index in range(4)]
        self.provenance = {"standin": True, "generator": "tests", "sources": "none"}

    def __getitem__(self, index: int) -> Sample:
        generator = torch.Generator().manual_seed(index)
        counts = torch.randint(64, 1024, (1, 1, SIZE, SIZE), generator=generator).float()
        target = torch.rand(1, 3, SIZE, SIZE, generator=generator)
        return Sample(self.ids[index], counts, target, black=64.0, white=1023.0)

    def digest(self, limit: int | None = None) -> str:
        return hashlib.sha256(f"tiny {limit}".encode()).hexdigest()[:16]


register_dataset(
    DatasetCard(
        name="tiny",
        task="raw2rgb",
        summary="four small images for the tests",
        protocol=EvaluationProtocol(
            "tiny", 1, "clamped, not rounded", True, False, ("psnr[rgb]", "ssim[gaussian11,rgb]")
        ),
        splits=("test", "held"),
        default_split="test",
        plane_size=(SIZE // 2, SIZE // 2),
        full_size=(64, 96),
        open=lambda root, split: TinySplit("tiny", split),
        standin=lambda reporter: Path(),
    )
)


@register_metric("mae[rgb]", definition="mean absolute error over pixels and channels", higher_is_better=False)
def mae(output, target):
    return float(abs(output - target).mean())


class Stretch(nn.Module):
    """Nearest-neighbour RGB from the packed planes: parameter-free, so it may be scored."""

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(DELAY)
        print("a network that talks")
        rgb = torch.stack([x[:, 2], (x[:, 1] + x[:, 3]) / 2, x[:, 0]], dim=1)
        return nn.functional.interpolate(rgb, scale_factor=2)


def misbehave(how: str) -> None:
    """End or fill this process."""
    if how == "crash":
        ctypes.string_at(0)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "leave":
        os._exit(3)
    elif how == "hoard":
        hoard = [torch.ones(16 << 20) for _ in range(200)]
        del hoard
    elif how == "sleep":
        time.sleep(60)


class Broken(nn.Module):
    """A learned layer whose output is then spoilt."""

    def __init__(self, how: str) -> None:
        super().__init__()
        if how == "build":
            raise RuntimeError("cannot be made")
        self.how = how
        self.conv = nn.Conv2d(4, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "crash_when_traced":
            ctypes.string_at(0)
        if not x.is_meta:
            misbehave(self.how)
        y = nn.functional.pixel_shuffle(self.conv(x), 2)
        if self.how == "nan":
            return y * float("nan")
        if self.how == "memory" and not x.is_meta:
            raise MemoryError("as if")
        if self.how == "list":
            return [y[..., ::2, ::2], y]
        return y[..., :-1] if self.how == "shape" else y


@register_model(task="raw2rgb")
def tiny_free() -> nn.Module:
    """Nearest-neighbour demosaicing."""
    return Stretch()


@register_model(task="raw2rgb")
def tiny_net(width: int = 4) -> nn.Module:
    """Two convolutions."""
    return nn.Sequential(
        nn.Conv2d(4, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 12, 3, padding=1), nn.PixelShuffle(2)
    )


@register_model(task="raw2rgb")
def tiny_broken(how: str = "nan") -> nn.Module:
    """Returns NaN, a wrong shape, or runs out of memory."""
    return Broken(how)
