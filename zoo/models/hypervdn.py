"""HyperVDN: VDN whose hidden convolutions have filters that depend on their input.

Paper: L. K. Muller, "Overparametrization of HyperNetworks at Fixed FLOP-Count Enables Fast Neural Image
Enhancement", CVPRW 2021, arXiv 2105.08470. No official code is known; written from the paper's text and
from the specification of VDN for this project (Apache-2.0).

The layout is a reconstruction, chosen because it reproduces the printed parameters, FLOPs and convolution
memory: VDN's two networks at width 21 (64/3) or 32 (64/2), with HyperConvs in place of the 16 hidden 3x3
convolutions (13 in D-net, 3 in S-net). ``hypervdn_C`` has C channels at full resolution, in both nets.

Free choices:

- width: 21 (64/3) and 32 (64/2) channels, the same in the noise net, chosen by the printed 55.0 M and 119.6 M
  parameters; width 32 has 121.04 M. hypervdn_8 is ours, for machines and tests.
- which filters are predicted: those of the 16 hidden 3x3 convolutions. The first, the last and the transposed
  convolutions of both networks stay plain. Predicted convolutions have no bias.
- what filters depend on: each convolution's own input, through three 3x3 convolutions with stride 2, padding 1 and
  ReLU, of 32, 64 and 128 channels (hypervdn_8: 4, 8, 16).
- pool: the embedding's maxima on a grid of 5x5 (hypervdn_8: 2x2); of a smaller embedding, values are repeated.
- MLP: two hidden layers of 64 units (hypervdn_8: 5) with ReLU, and no activation at its end. Pool and hidden width were
  chosen by the printed parameters.
- normalisation: W' = W / ||W||_1 * 2 sqrt(n / pi) per output channel, with n = 9 C_in and eps 1e-12, which gives
  filters He's variance 2/n (Eqs. 3-5). The constant is 13.54 for n = 144, 27.08 for n = 576. An L1 norm of 1, as the
  equation says literally, kills the signal: 20 such layers with ReLU leave about 1e-21 of it at 8 channels, 1e-29 at
  64. An L2 norm of sqrt(2) would keep it as well.
- initialisation: the MLP's last layer has normal weights with deviation 1 / sqrt(hidden units) and zero bias, so
  that filters have zero mean; its hidden biases are one, because its input is never negative, and a unit that starts
  off would be off for every image. Convolutions have He's initialisation and zero biases, as in VDN's code.
- the loss and the learning-rate decay are in the recipes, where what is assumed is marked.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn

from zoo.card import register_model
from zoo.convention import InputSpec
from zoo.hyper import HyperConv2d, embedding_for
from zoo.layers import VariationalDenoiser

# Embeddings may be smaller than the pooling grid, because adaptive pooling then repeats cells.
_INPUT = InputSpec(layout="rgb", output_scale=1.0, multiple=8, min_size=8)
_DIFFERENCES = (
    "which layers are HyperConvs, the S-net's width and the embeddings' padding are reconstructed from the printed"
    " parameters, FLOPs and memory, not from the figure",
    "121.04 M parameters at width 32 where the paper prints 119.6 M",
    "the initialisation is ours: hidden biases of the filter networks start at one",
    "sizes that are no multiples of 8 are refused (the adapter pads)",
    "the denoised image is not clipped to [0, 1] by the network",
)
_GLOBAL = ("hyper-network: filters depend on global max-pools of the embeddings",)


class Embedding(nn.Sequential):
    """3x3 convolutions with stride 2, each with ReLU: (N, C, H, W) to (N, channels[-1], h, w).

    Each layer rounds half the size up, so any H and W are possible.
    """

    def __init__(self, in_channels: int, channels: tuple[int, ...]) -> None:
        layers: list[nn.Module] = []
        for before, after in pairwise((in_channels, *channels)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        super().__init__(*layers)


class SelfHyperConv2d(nn.Module):
    """A HyperConv, 3x3, padding 1, no bias, whose filters are predicted from its own forward input."""

    def __init__(
        self, in_channels: int, out_channels: int, *, embedding_channels: tuple[int, ...], hidden: int, pool: int
    ) -> None:
        super().__init__()
        self.embed = Embedding(in_channels, embedding_channels)
        self.conv = HyperConv2d(
            in_channels,
            out_channels,
            embedding_channels=embedding_channels[-1],
            hidden=hidden,
            pool=pool,
            activation=nn.ReLU,
        )
        # Its input is never negative, so a ReLU unit that starts off is off for every image; with few
        # hidden units a whole layer would be, and its filters zero.
        for layer in self.conv.mlp[:-1]:
            if isinstance(layer, nn.Linear):
                nn.init.ones_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H, W)."""
        return self.conv(x, embedding_for(self.embed, x, self.conv))


def _build(width: int, embedding_channels: tuple[int, ...], pool: int, hidden: int) -> nn.Module:
    def hyper(in_channels: int, out_channels: int) -> nn.Module:
        return SelfHyperConv2d(
            in_channels, out_channels, embedding_channels=embedding_channels, hidden=hidden, pool=pool
        )

    return VariationalDenoiser(width, width, hyper)


def _register(params: int, *extra: str) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    return register_model(
        task="denoise_rgb",
        input=_INPUT,
        params=params,
        paper="arXiv 2105.08470, CVPRW 2021",
        licence="Apache-2.0 (written from a specification)",
        differences=(*_DIFFERENCES, *extra),
        reconstruction=True,
        global_ops=_GLOBAL,
    )


@_register(params=54_969_532)
def hypervdn_21(
    width: int = 21, embedding_channels: tuple[int, ...] = (32, 64, 128), pool: int = 5, hidden: int = 64
) -> nn.Module:
    """HyperVDN with 21 channels at full resolution, 55 M parameters (both nets)."""
    return _build(width, embedding_channels, pool, hidden)


@_register(params=121_038_700)
def hypervdn_32(
    width: int = 32, embedding_channels: tuple[int, ...] = (32, 64, 128), pool: int = 5, hidden: int = 64
) -> nn.Module:
    """HyperVDN with 32 channels at full resolution, 121 M parameters (both nets)."""
    return _build(width, embedding_channels, pool, hidden)


@_register(721_556, "8 channels and small filter networks: for machines and tests")
def hypervdn_8(
    width: int = 8, embedding_channels: tuple[int, ...] = (4, 8, 16), pool: int = 2, hidden: int = 5
) -> nn.Module:
    """HyperVDN with 8 channels and small filter networks; for machines and tests."""
    return _build(width, embedding_channels, pool, hidden)
