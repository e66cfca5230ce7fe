"""DnCNN, the denoiser of Gaussian noise that everybody cites, in its published sizes and forms.

Paper: K. Zhang, W. Zuo, Y. Chen, D. Meng, L. Zhang, "Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for
Image Denoising", IEEE TIP 2017, arXiv 1608.03981. Written from a layer-by-layer specification for this project
(Apache-2.0); nothing is copied from cszn/DnCNN (no licence file), cszn/KAIR (MIT) or SaoYan/DnCNN-PyTorch (GPL-3.0).
Key names are those of the two PyTorch repositories.

The input is the noisy image as it is, not clipped. The stack of convolutions predicts the noise, and ``forward``
returns the input minus that noise, not clipped. The deploy form has no batch norms: they are merged into the
convolutions. The training form has them as SaoYan's code does (no biases, epsilon 1e-5), ``training_kair`` as KAIR's
does (biases, epsilon 1e-4), which shows in the output.

Differences: SaoYan's network returns the noise, this one the image. Free in training: convolutions begin as He et al.
draw them, scales of batch norms as SaoYan's code draws them.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.card import register_model
from zoo.matconvnet import PREFIX
from zoo.merging import folded

Form = Literal["deploy", "training", "training_kair"]

# The two repositories differ in it, and it is visible: up to 6e-4 of the output.
_EPS = {"training": 1e-5, "training_kair": 1e-4}
_NAMES = {"deploy": "model", "training": "dncnn", "training_kair": "model"}


class DnCNN(nn.Module):
    """Noisy image (N, C, H, W) in about [0, 1] to the denoised image (N, C, H, W), not clipped; any H and W.

    ``channels``, the C, is 1 (gray) or 3.
    """

    def __init__(self, depth: int, channels: int, form: Form, width: int) -> None:
        super().__init__()
        self.depth, self.channels, self.width = depth, channels, width
        bias = form != "training"
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=bias), nn.ReLU()]
        for _ in range(depth - 2):
            layers.append(nn.Conv2d(width, width, 3, padding=1, bias=bias))
            if form != "deploy":
                layers.append(nn.BatchNorm2d(width, eps=_EPS[form]))
            layers.append(nn.ReLU())
        layers.append(nn.Conv2d(width, channels, 3, padding=1, bias=bias))
        self.name = _NAMES[form]
        self.add_module(self.name, nn.Sequential(*layers))
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, std=math.sqrt(2 / (9 * module.num_features)))
                with torch.no_grad():
                    module.weight.clamp_(-0.025, 0.025)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` minus the predicted noise."""
        stack = self.get_submodule(self.name)
        return x - stack(x)


def deployed(network: nn.Module) -> DnCNN:
    """Return a network in deploy form with the outputs that ``network`` has in evaluation mode; ``network`` is kept."""
    assert isinstance(network, DnCNN)
    result = DnCNN(network.depth, network.channels, "deploy", network.width).to(next(network.parameters()))
    stack = [layer for layer in network.get_submodule(network.name).children() if not isinstance(layer, nn.ReLU)]
    norms = [layer if isinstance(layer, nn.BatchNorm2d) else None for layer in [*stack[1:], None]]
    merged = [folded(layer, norm) for layer, norm in zip(stack, norms) if isinstance(layer, nn.Conv2d)]
    keys = result.state_dict()
    result.load_state_dict(dict(zip(keys, (tensor for pair in merged for tensor in pair), strict=True)))
    return result.train(network.training)


def from_matconvnet(state: dict[str, Any]) -> dict[str, Any]:
    """Return what ``read_matconvnet`` returns under the keys of the deploy form; any other state is not changed."""
    if not all(key.startswith(f"{PREFIX}.") for key in state):
        return state
    return {f"model.{2 * int(key.split('.')[1])}.{key.split('.')[2]}": value for key, value in state.items()}


_PAPER = "Zhang et al. 2017, IEEE TIP 26, arXiv 1608.03981"
_LICENCE = "Apache-2.0 (written from a specification)"
_CSZN = "of cszn/DnCNN (no licence file; free for education and research)"
_SAOYAN = "of SaoYan/DnCNN-PyTorch (GPL-3.0)"
_NOISE = "forward returns the denoised image; SaoYan's network returns the noise"


@register_model(
    task="denoise_gray",
    params=555_137,
    paper=_PAPER,
    licence=_LICENCE,
    official_weights=f"dncnn_25.pth of cszn/KAIR (MIT); sigma=15|25|50.mat {_CSZN}; DnCNN-S-15|25|50 {_SAOYAN}",
    differences=(_NOISE,),
    convert_checkpoint=from_matconvnet,
    deploy=deployed,
)
def dncnn_17(form: Form = "deploy", width: int = 64) -> nn.Module:
    """DnCNN-S for gray images and one noise level: 17 convolutions, 0.56 M parameters; trained with batch norms."""
    return DnCNN(17, 1, form, width)


@register_model(
    task="denoise_gray",
    params=665_921,
    paper=_PAPER,
    licence=_LICENCE,
    official_weights=f"GD_Gray_Blind.mat {_CSZN}; DnCNN-B {_SAOYAN}",
    differences=(_NOISE,),
    convert_checkpoint=from_matconvnet,
    deploy=deployed,
)
def dncnn_20(form: Form = "deploy", width: int = 64) -> nn.Module:
    """DnCNN-B for gray images and any noise level: 20 convolutions, 0.67 M parameters; trained with batch norms."""
    return DnCNN(20, 1, form, width)


@register_model(
    task="denoise_rgb",
    params=668_227,
    paper=_PAPER,
    licence=_LICENCE,
    official_weights=f"GD_Color_Blind.mat {_CSZN}",
    differences=(_NOISE,),
    convert_checkpoint=from_matconvnet,
    deploy=deployed,
)
def dncnn_20_color(form: Form = "deploy", width: int = 64) -> nn.Module:
    """DnCNN for colour images and any noise level: 20 convolutions, 0.67 M parameters; trained with batch norms."""
    return DnCNN(20, 3, form, width)
