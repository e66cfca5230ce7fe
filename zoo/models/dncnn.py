"""DnCNN, the denoiser of Gaussian noise that everybody cites, in its published sizes and forms.

Paper: K. Zhang, W. Zuo, Y. Chen, D. Meng, L. Zhang, "Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for
Image Denoising", IEEE TIP 2017, arXiv 1608.03981. Written from a layer-by-layer specification for this project
(Apache-2.0); nothing is copied from cszn/DnCNN (no licence file), cszn/KAIR (MIT) or SaoYan/DnCNN-PyTorch (GPL-3.0).
Key names are those of the two PyTorch repositories.

The input is the noisy image as it is, not clipped. The stack of convolutions predicts the noise, and ``forward``
returns the input minus that noise, not clipped. ``dncnn_17`` and ``dncnn_20`` have no batch norm: it is merged into the
convolutions, which is the form to deploy. ``dncnn_17_bn`` and ``dncnn_20_bn`` have it, which is the form to train.
Checkpoints of any form can be imported into the merged one.

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

Form = Literal["merged", "saoyan", "kair"]

# The two repositories differ in it, and it is visible: up to 6e-4 of the output.
_EPS = {"saoyan": 1e-5, "kair": 1e-4}
_NAMES = {"merged": "model", "saoyan": "dncnn", "kair": "model"}


class DnCNN(nn.Module):
    """Noisy image (N, C, H, W) in about [0, 1] to the denoised image (N, C, H, W), not clipped; any H and W.

    ``channels``, the C, is 1 (gray) or 3.
    """

    def __init__(self, depth: int, channels: int, form: Form, width: int) -> None:
        super().__init__()
        bias = form != "saoyan"
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=bias), nn.ReLU()]
        for _ in range(depth - 2):
            layers.append(nn.Conv2d(width, width, 3, padding=1, bias=bias))
            if form != "merged":
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


def merge_batch_norms(state: dict[str, Any]) -> dict[str, Any]:
    """Return a published state under the keys of the merged form; a state in that form is not changed.

    Takes convolutions with batch norm under SaoYan's keys (``dncnn.*``, eps 1e-5) or KAIR's (``model.*``, eps 1e-4),
    and what ``read_matconvnet`` returns. Batch norms become a part of the convolution before them.
    """
    if all(key.startswith(f"{PREFIX}.") for key in state):
        return {f"model.{2 * int(key.split('.')[1])}.{key.split('.')[2]}": value for key, value in state.items()}
    form = next((form for form in _EPS if any(key.startswith(f"{_NAMES[form]}.") for key in state)), None)
    if form is None or not any(key.endswith(".running_var") for key in state):
        return state
    name, merged = _NAMES[form], {}
    kernels = {key: value for key, value in state.items() if key.endswith(".weight") and value.ndim == 4}
    numbers = sorted(int(key.split(".")[1]) for key in kernels)
    for position, number in enumerate(numbers):
        kernel = kernels[f"{name}.{number}.weight"].double()
        bias = state.get(f"{name}.{number}.bias", torch.zeros(len(kernel))).double()
        norm = f"{name}.{number + 1}"
        if f"{norm}.running_var" in state:
            scale, shift, mean, variance = (
                state[f"{norm}.{leaf}"].double() for leaf in ("weight", "bias", "running_mean", "running_var")
            )
            factor = scale / torch.sqrt(variance + _EPS[form])
            kernel, bias = kernel * factor[:, None, None, None], (bias - mean) * factor + shift
        merged[f"model.{2 * position}.weight"] = kernel.float()
        merged[f"model.{2 * position}.bias"] = bias.float()
    return merged


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
    convert_checkpoint=merge_batch_norms,
)
def dncnn_17(width: int = 64) -> nn.Module:
    """DnCNN-S for gray images and one noise level, 17 convolutions with batch norm merged, 0.56 M parameters."""
    return DnCNN(17, 1, "merged", width)


@register_model(
    task="denoise_gray",
    params=665_921,
    paper=_PAPER,
    licence=_LICENCE,
    official_weights=f"GD_Gray_Blind.mat {_CSZN}; DnCNN-B {_SAOYAN}",
    convert_checkpoint=merge_batch_norms,
)
def dncnn_20(width: int = 64) -> nn.Module:
    """DnCNN-B for gray images and any noise level, 20 convolutions with batch norm merged, 0.67 M parameters."""
    return DnCNN(20, 1, "merged", width)


@register_model(
    task="denoise_rgb",
    params=668_227,
    paper=_PAPER,
    licence=_LICENCE,
    official_weights=f"GD_Color_Blind.mat {_CSZN}",
    convert_checkpoint=merge_batch_norms,
)
def dncnn_20_color(width: int = 64) -> nn.Module:
    """DnCNN for colour images and any noise level, 20 convolutions with batch norm merged, 0.67 M parameters."""
    return DnCNN(20, 3, "merged", width)


@register_model(
    task="denoise_gray",
    params=556_032,
    paper=_PAPER,
    licence=_LICENCE,
    official_weights=f"DnCNN-S-15|25|50 {_SAOYAN}",
    differences=(_NOISE,),
)
def dncnn_17_bn(form: Literal["saoyan", "kair"] = "saoyan", width: int = 64) -> nn.Module:
    """DnCNN-S with its batch norms: SaoYan's form, without biases, or KAIR's, with biases and another epsilon."""
    return DnCNN(17, 1, form, width)


@register_model(
    task="denoise_gray",
    params=667_008,
    paper=_PAPER,
    licence=_LICENCE,
    official_weights=f"DnCNN-B {_SAOYAN}",
    differences=(_NOISE,),
)
def dncnn_20_bn(form: Literal["saoyan", "kair"] = "saoyan", width: int = 64) -> nn.Module:
    """DnCNN-B with its batch norms: SaoYan's form, without biases, or KAIR's, with biases and another epsilon."""
    return DnCNN(20, 1, form, width)


@register_model(task="denoise_rgb", params=669_312, paper=_PAPER, licence=_LICENCE, differences=(_NOISE,))
def dncnn_20_color_bn(form: Literal["saoyan", "kair"] = "saoyan", width: int = 64) -> nn.Module:
    """DnCNN for colour images with its batch norms, the form to train; as ``dncnn_20_bn``."""
    return DnCNN(20, 3, form, width)
