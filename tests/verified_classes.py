"""Copies of ``tiny_net`` as users may bring them to ``zoo-bench verify``: other names, other conventions, mistakes."""

from __future__ import annotations

import atexit
import ctypes
import os
import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

print("an import that talks")
torch.set_num_threads(1)


class Twin(nn.Module):
    """The same network: other names, in another order than it runs, activations and padding without modules."""

    def __init__(self, width: int = 4, slope: float = 0.0, padding: str = "constant") -> None:
        super().__init__()
        self.last = nn.Conv2d(width, 12, 3)
        self.first = nn.Conv2d(4, width, 3)
        self.slope, self.padding = slope, padding

    def features(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.first(F.pad(x, (1, 1, 1, 1))), self.slope, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.last(F.pad(self.features(x), (1, 1, 1, 1), mode=self.padding)), 2)


class Square(nn.Module):
    """Layers of one shape each, named by numbers that mean other layers in ``square_net``."""

    def __init__(self, slope: float = 0.0) -> None:
        super().__init__()
        self.net = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(4))
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.net[:3]:
            x = F.leaky_relu(layer(x), self.slope, inplace=True)
        return self.net[3](x)


class Backwards(Square):
    """Registers the layers in the opposite order to that in which they run."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in list(self.net)[:0:-1]:
            x = layer(x).relu_()
        return self.net[0](x)


class Ranged(Twin):
    """Takes and returns [-1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward((x + 1) / 2) - 1


class Nested(Twin):
    """Returns more than the image."""

    def __init__(self, how: str = "tuple") -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> object:
        image = super().forward(x)
        side = image.mean(dim=1)
        if self.how == "one":
            return {"image": image, "size": 5}
        return {"out": [side, image]} if self.how == "dict" else (image, side)


class Clipped(Twin):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).clamp(0, 1)


class Turned(Twin):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).flip(1)


class Dropping(Twin):
    """Forgets that dropout is for training."""

    def features(self, x: Tensor) -> Tensor:
        return F.dropout(super().features(x), 0.5)


class Single(Twin):
    """Computes in float32 whatever comes."""

    def forward(self, x: Tensor) -> Tensor:
        bias = [layer.bias.float() for layer in (self.first, self.last)]
        x = F.conv2d(x.float(), self.first.weight.float(), bias[0], padding=1).relu()
        return F.pixel_shuffle(F.conv2d(x, self.last.weight.float(), bias[1], padding=1), 2)


class Even(Twin):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] % 2:
            raise ValueError("only even sizes")
        return super().forward(x)


class Headed(Twin):
    """Has a part for training that evaluation does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.auxiliary = nn.Conv2d(4, 7, 1)


class Stubborn(Twin):
    """Changes its input, and stays in training mode if it is asked nicely."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def eval(self) -> None:
        """Do nothing, and return nothing."""

    def forward(self, x: Tensor) -> Tensor:
        image = super().forward(self.drop(x))
        x.zero_()
        return image


class Loud(Twin):
    """Writes everywhere, and once more at the end."""

    def forward(self, x: Tensor) -> Tensor:
        print("a forward that talks")
        os.write(1, b"a descriptor that talks\n")
        atexit.register(print, "an end that talks")
        sys.stdout = sys.stderr
        return super().forward(x)


class Faulty(Twin):
    """Fails in the way that it is told."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        if how == "build":
            raise RuntimeError("cannot be made")

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "cuda":
            raise AssertionError("Torch not compiled with CUDA enabled")
        if self.how == "leave":
            os._exit(0)
        if self.how == "exit":
            sys.exit("done")
        if self.how == "crash":
            ctypes.string_at(0)
        if self.how == "nan":
            return super().forward(x) * float("nan")
        return super().forward(x)[..., :-2]


class Normed(nn.Module):
    """``norm_net`` with its batch norm."""

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8, eps=eps), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.first(x)).relu())


class Unnormed(Normed):
    def __init__(self) -> None:
        super().__init__()
        del self.norm

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu())


class Faint(nn.Module):
    """Changes its input by a millionth, through an activation of its own."""

    def __init__(self, slope: float = 0.25) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.activation = nn.LeakyReLU(slope)

    def forward(self, x: Tensor) -> Tensor:
        return x + 1e-6 * self.activation(self.conv(x))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Narrow(nn.Module):
    """Another network, with no shape that ``tiny_net`` has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 12, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(x), 2)


def made(width: int = 4) -> nn.Module:
    """A function is as good as a class."""
    return Twin(width)


def nothing() -> int:
    return 5


ready = Twin()
