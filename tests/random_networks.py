"""Random networks of ordinary blocks, and whether an image in pieces equals the whole.

``network_of(seed)`` gives the same network for the same seed; seeds that follow each other have each kind of block in
turn, alone at first. As a script, ``python -m tests.random_networks --count 1000 --seed 7 --mode tile`` prints each
that differs.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.conditions import Conditions
from benchmark.fullres.bands.plan import BandSizes
from benchmark.fullres.deciding import decide
from benchmark.fullres.enginepass import EnginePass
from benchmark.fullres.memory import RESERVE_BYTES, USUAL, Thresholds
from benchmark.fullres.subject import Subject
from benchmark.host import machine
from tests.blocks import KINDS, conv
from zoo.errors import UserError

MODES = ("auto", "tile", "limit")
ENGINES = ("openvino", "onnxruntime")
# Of the largest value of the whole image's output; an engine adds in another order everywhere.
TOLERANCE, ENGINE_TOLERANCE = 1e-5, 1e-3
# How the text of an execution begins.
WAYS = ("whole image", "strips", "tiles", "operator by operator in bands")
# Input channels and sides just above 512x512 pixels, odd, with tiles that divide nothing.
LARGE = ((4, 601, 587), (3, 523, 1031), (4, 700, 413), (1, 517, 613))
SMALL = ((4, 151, 187), (3, 187, 149), (1, 173, 163))
TILES: tuple[tuple[int, int], ...] = ((160, 224), (97, 131), (256, 64))


class RandomNetwork(nn.Module):
    """A head, blocks with skips and changes of scale between them, and a tail; (N, C, H, W) to (N, C', sH, sW)."""

    def __init__(self, draw: Random, kinds: Sequence[str], channels: int) -> None:
        super().__init__()
        self.kinds = tuple(kinds)
        width = draw.choice([4, 6, 8])
        self.head = conv(channels, width, draw.choice([1, 3]))
        self.prepares, self.adds_input = draw.random() < 0.1, draw.random() < 0.5
        self.stages = nn.ModuleList()
        self.skips: list[str] = []
        for name in kinds:
            block = KINDS[name].build(draw, width)
            if KINDS[name].steps:
                self.skips.append("input")
                self.stages.append(nn.ModuleList([block, conv(channels * width, width, 1)]))
                continue
            skip = draw.choice(["", "", "", "add", "cat", "half", "twice"])
            self.skips.append(skip)
            joint = {"cat": lambda: conv(2 * width, width, 1), "twice": lambda: conv(width, 4 * width, 1)}
            self.stages.append(nn.ModuleList([block, joint.get(skip, nn.Identity)()]))
        self.scale = draw.choice(["same", "same", "same", "twice", "half"])
        out = draw.choice([1, 3])
        tails = {
            "same": lambda: conv(width, out, draw.choice([1, 3])),
            "twice": lambda: nn.Sequential(conv(width, 4 * out), nn.PixelShuffle(2)),
            "half": lambda: conv(width, out, stride=2),
        }
        # Some networks end in the block itself, whose views are then the output.
        self.tail = nn.Identity() if draw.random() < 0.25 else tails[self.scale]()

    def forward(self, x: Tensor) -> Tensor:
        if self.prepares:
            # The network's own input, written in place: it belongs to the network.
            x.sub_(0.1)
            x[:, :1].mul_(1.5)
        y = self.head(x)
        for skip, (block, joint) in zip(self.skips, self.stages):
            y = self._stage(skip, block, joint, x, y)
        result: Tensor = self.tail(y)
        return result + x if self.adds_input and result.shape == x.shape else result

    def _stage(self, skip: str, block: nn.Module, joint: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if skip == "input":
            # As many channels as the block was built for, each a multiple of the input's.
            wide = torch.cat([x * (1 + i / 8) for i in range(y.shape[1])], 1)
            result: Tensor = y + joint(block(wide))
        elif skip == "add":
            result = y + block(y)
        elif skip == "cat":
            result = joint(torch.cat([y, block(y)], 1))
        elif skip == "half":
            small = block(F.avg_pool2d(y, 2, ceil_mode=True))
            up = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
            result = 0.5 * y + up[:, :, : y.shape[2], : y.shape[3]]
        elif skip == "twice":
            result = F.pixel_unshuffle(block(F.pixel_shuffle(joint(y), 2)), 2).unflatten(1, (-1, 4)).mean(2)
        else:
            result = block(y)
        return result


def kinds_of(seed: int, draw: Random) -> list[str]:
    """Return the names of the blocks: one that the seed decides, among others; the first seeds have each kind alone."""
    first = list(KINDS)[seed % len(KINDS)]
    if draw.random() < 0.3 or seed < len(KINDS):
        return [first]
    ordinary = [one.name for one in KINDS.values() if one.group == "ordinary"]
    # Kinds that can only run whole stay alone among ordinary ones, or they would hide the others.
    special = [one.name for one in KINDS.values() if one.group not in ("ordinary", "untraceable")]
    names = [first, *(draw.choice(ordinary) for _ in range(draw.randint(0, 3)))]
    names += [draw.choice(special) for _ in range(draw.choice([0, 0, 1, 2]))]
    draw.shuffle(names)
    return names


def network_of(seed: int, channels: int = 4) -> RandomNetwork:
    """Return the network of a seed, in evaluation mode; its batch norms have statistics as after a training."""
    draw = Random(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = RandomNetwork(draw, kinds_of(seed, draw), channels)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d) and module.track_running_stats:
                module.running_mean.normal_(0, 0.2)  # type: ignore[union-attr, operator]
                module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr, operator]
    return network.eval()


@dataclass(frozen=True)
class Verdict:
    """How one network went: "equal", "refused", "different" or "failed"; the largest difference beside the scale."""

    status: str
    difference: float = 0.0
    text: str = ""
    name: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.status} by {self.difference:.1e}; {self.text}"


def check(
    seed: int,
    mode: str,
    sizes: Sequence[tuple[int, int, int]] = LARGE,
    tile: tuple[int, int] | None = None,
    small: int = USUAL.small_pixels,
) -> Verdict:
    """Compare the network of ``seed`` in pieces with the whole image, on one of ``sizes`` (C, H, W).

    Images of up to ``small`` pixels go whole.
    """
    draw = Random(-seed - 1)
    channels, height, width = draw.choice(sizes)
    planes = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = network_of(seed, channels)
    random = any(KINDS[name].runs for name in network.kinds)
    found = compare(network, planes, mode, tile or draw.choice(TILES), random=random, small=small)
    return replace(found, name=f"seed {seed} [{', '.join(network.kinds)}] at {channels}x{height}x{width}")


def compare(
    network: nn.Module,
    planes: Tensor,
    mode: str = "auto",
    tile: tuple[int, int] = (64, 72),
    *,
    random: bool = False,
    small: int = USUAL.small_pixels,
) -> Verdict:
    """Compare ``network`` on ``planes`` (N, C, H, W) in pieces with the whole; ``random``: only the shapes."""
    with warnings.catch_warnings():
        # What a network's own operators warn of is no matter of ours.
        warnings.simplefilter("ignore")
        with torch.inference_mode():
            whole = network.eval()(planes.clone())
        try:
            pieces, text = _run(network, planes.clone(), mode, tile, small)
        except UserError as error:
            refusable = mode != "auto" and str(error).strip()
            return Verdict("refused" if refusable else "failed", text=f"UserError: {error}")
        except Exception as error:
            return Verdict("failed", text=f"{type(error).__name__}: {error}"[:300])
    if pieces.shape != whole.shape:
        return Verdict("different", float("inf"), f"{tuple(pieces.shape)} for {tuple(whole.shape)} {text}")
    difference = 0.0 if random else relative_difference(pieces, whole)
    same = difference <= (ENGINE_TOLERANCE if mode in ENGINES else TOLERANCE)
    return Verdict("equal" if same else "different", difference, text)


def relative_difference(pieces: Tensor, whole: Tensor) -> float:
    """Return the largest difference beside the largest value; NaN in the same places are equal, elsewhere infinite."""
    if not torch.equal(pieces.isnan(), whole.isnan()):
        return float("inf")
    pieces, whole = pieces.double().nan_to_num(0.0), whole.double().nan_to_num(0.0)
    return float((pieces - whole).abs().max()) / (float(whole.abs().max()) or 1.0)


def _run(network: nn.Module, planes: Tensor, mode: str, tile: tuple[int, int], small: int) -> tuple[Tensor, str]:
    """Return the output and the text of how it went."""
    # Bands are a few rows high on images of this size, too, and no operator runs whole for being small.
    thresholds = Thresholds(small_pixels=small, band_sizes=BandSizes(strip_bytes=100_000, small_bytes=0))
    subject = Subject(network, planes.shape[1])
    if mode in ENGINES:
        subject = replace(subject, engine=EnginePass(subject, Conditions(backend=mode)))
    way = partial(decide, subject, planes, thresholds=thresholds)
    if mode in ENGINES:
        try:
            how = way(tile=tile)
        except UserError:
            # What cannot go in tiles goes as ``infer`` decides.
            how = way()
    elif mode == "tile":
        how = way(tile=tile)
    else:
        how = way(memory_limit=_limit(planes) if mode == "limit" else None)
    return how.run(planes), f"{tile if mode == 'tile' else mode}: {how.text}"


def _limit(planes: Tensor) -> int:
    """Return a limit of this process's memory that leaves about as much as forty planes of the image take."""
    return (machine.resident_bytes() or 0) + RESERVE_BYTES + 40 * 4 * planes.shape[-2] * planes.shape[-1]


def main() -> None:
    """Check as many networks as asked for and print those that differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="the first; the others follow it")
    parser.add_argument(
        "--mode", choices=(*MODES, *ENGINES), action="append", help="may be given several times; default: all"
    )
    parser.add_argument("--verbose", action="store_true", help="print those that are equal, too")
    parser.add_argument("--small", action="store_true", help="images of about 150x190, and a threshold below them")
    arguments = parser.parse_args()
    images = {"sizes": SMALL, "tile": (64, 72), "small": 1} if arguments.small else {}
    for mode in arguments.mode or MODES:
        found, ways = Counter[str](), Counter[str]()
        for seed in range(arguments.seed, arguments.seed + arguments.count):
            verdict = check(seed, mode, **images)
            found[verdict.status] += 1
            ways.update(way for way in WAYS if f": {way}" in verdict.text)
            if arguments.verbose or verdict.status in ("different", "failed"):
                print(f"{mode}: {verdict}", flush=True)
        counts = ", ".join(f"{found[status]} {status}" for status in ("equal", "refused", "different", "failed"))
        print(f"{mode}: {counts} ({', '.join(f'{ways[way]} {way}' for way in WAYS)})", flush=True)


if __name__ == "__main__":
    main()
