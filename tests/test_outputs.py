"""Networks that return anything but one image: one line that says what it was, from every verb."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from zoo import UserError, list_models, register_model
from zoo.outputs import check_output, checked


class Pair(NamedTuple):
    """An image and something beside it."""

    image: Tensor
    mask: Tensor


X = torch.zeros(1, 3, 8, 6)
SHAPE = "(1, 3, 8, 6)"
# What a network returns, and how the line begins.
RETURNED: dict[str, tuple[Any, str]] = {
    "list": ([X[..., :4, :3], X], f"a list of (1, 3, 4, 3), {SHAPE}"),
    "list of one": ([X], f"a list of {SHAPE}"),
    "long list": ([X] * 6, f"a list of {', '.join([SHAPE] * 4)} and 2 more"),
    "tuple": ((X, None, 1.0), f"a tuple of {SHAPE}, NoneType, float"),
    "empty tuple": ((), "an empty tuple"),
    "dictionary": ({"out": X, "levels": [X]}, f"a dict of out {SHAPE}, levels list"),
    "named tuple": (Pair(X, X > 0), f"a Pair of image {SHAPE}, mask bool {SHAPE}"),
    "nothing": (None, "None"),
    "number": (3.0, "a float"),
    "vector": (X.mean((2, 3)), "a tensor (1, 3)"),
    "image without batch": (X[0], "a tensor (3, 8, 6)"),
    "integers": (X.to(torch.uint8), f"a tensor uint8 {SHAPE}"),
    "complex": (X.to(torch.complex64), f"a tensor complex64 {SHAPE}"),
    "no pixels": (X[..., :0], "a tensor (1, 3, 8, 0)"),
    "a strange key": ({"\x1b[31m" + "a" * 40: X}, f"a dict of ?[31maaaaaaaaaaaaaaaa... {SHAPE}"),
}


@pytest.mark.parametrize("name", RETURNED)
def test_what_was_returned_is_said_in_one_line(name: str) -> None:
    output, words = RETURNED[name]
    with pytest.raises(UserError) as caught:
        check_output(output)
    text = str(caught.value)
    assert text.startswith(f"the model returned {words}; expected one tensor (N, C, H, W)")
    assert "all_outputs" in text
    assert len(text) < 300
    assert text.isprintable()


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize("make", [torch.jit.script, lambda net: torch.jit.trace(net, X), lambda net: net])
def test_a_checked_network_still_runs(make: Callable[[nn.Module], nn.Module]) -> None:
    network = make(nn.Sequential(nn.ReLU()))
    assert checked(network)(X).shape == X.shape


class Coarse(nn.Module):
    """Two scales, the coarse one first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        y = self.conv(x)
        return [y[..., ::2, ::2], y]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Register a network that returns a list; go to a folder with an array and a picture."""
    from zoo.card import MODELS

    list_models()
    monkeypatch.setattr(MODELS, "_items", dict(MODELS._items))

    @register_model(task="denoise_rgb")
    def coarse() -> nn.Module:
        return Coarse()

    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X.numpy())
    Image.new("RGB", (6, 8)).save("p.png")


@pytest.mark.parametrize(
    "arguments",
    [
        "infer coarse x.npy -o o",
        "infer coarse p.png -o o --random-weights",
        "infer coarse x.npy -o o --tile off",
        "infer coarse x.npy -o o --backend onnxruntime",
        "export coarse -o c.onnx --size 8x6",
    ],
)
def test_every_verb_refuses_a_list_in_the_same_line(zoo_bench, folder, arguments: str) -> None:
    if "onnx" in arguments:
        pytest.importorskip("onnxruntime")
    outcome = zoo_bench(*arguments.split())
    assert outcome.code == 2
    line = outcome.err.strip().splitlines()[-1]
    assert line.startswith(f"zoo-bench: the model returned a list of (1, 3, 4, 3), {SHAPE}; expected one tensor (N, C")
    assert outcome.out == ""


def test_profile_counts_such_a_network_and_says_what_it_returned(zoo_bench, folder) -> None:
    document = json.loads(zoo_bench("profile", "coarse", "--size", "8x6", "--json").out)
    assert (document["macs"], document["output_shape"]) == (3 * 3 * 9 * 48, None)
    (note,) = document["notes"]
    assert note.startswith(f"the model returned a list of (1, 3, 4, 3), {SHAPE}; expected one tensor (N, C, H, W)")
    text = zoo_bench("profile", "coarse", "--size", "8x6").out
    assert "input 1x3x8x6, output not one image" in text
    assert f"note                   {note}" in text
