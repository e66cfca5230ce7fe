"""A network in int8 as ONNX Runtime's quantiser or NNCF writes it, from an ONNX file in float32."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.backends.capture import capture
from benchmark.running.exporting import open_sizes
from benchmark.running.quantizing.graph import clipped_shares, layers_of
from benchmark.running.quantizing.method import Method
from benchmark.selection import Entry
from zoo.errors import EngineError
from zoo.splitting import split

# What writes the file of an engine, by the engine's name.
_WRITERS = {"onnxruntime": "qdq", "openvino": "ir"}


class OnnxForm:
    """Writes and examines the int8 files of ``engine``, of any size if it can be; first in float32 (``plain``)."""

    def __init__(self, engine: str, network: nn.Module, planes: Tensor, plain: Path, entry: Entry) -> None:
        self._plain = plain
        self._writer: ModuleType = importlib.import_module(f"benchmark.running.quantizing.{_WRITERS[engine]}")
        self.dynamic = write_plain(network, entry, planes, plain)
        self._layers = layers_of(plain)

    def asked(self, in_float: Iterable[str]) -> set[str]:
        """Return the nodes that operations and layers name."""
        return self._layers.asked(in_float)

    def others(self, asked: set[str]) -> dict[str, str]:
        """Return the names of the layers that could be in float32 too, by their nodes."""
        layers = self._layers
        rest = layers.names.keys() - asked - layers.predicting - layers.last
        return {node: name for node, name in layers.names.items() if node in rest}

    def write(self, file: Path, planes: Iterable[Tensor], method: Method, in_float: Sequence[str]) -> None:
        """Write the file, with ranges from ``planes``; ``in_float`` are nodes."""
        self._writer.write_int8(self._plain, file, planes, method, self._layers, in_float)

    def facts(self, file: Path) -> dict[str, Any]:
        """Return how many heavy operations stay in float32."""
        return {"left_in_float": self._writer.left_in_float(file)}

    def clipped(self, file: Path, planes: Iterable[Tensor]) -> dict[str, float]:
        """Return for each activation the share of its values for ``planes`` in float32 that its int8 range clips."""
        return clipped_shares(self._plain, self._writer.ranges_of(file), planes, torch.get_num_threads())

    def save(self, written: Path, target: Path, texts: Mapping[str, str]) -> None:
        """Copy the file to its place with ``texts`` in it."""
        self._writer.save(written, target, texts)

    def named(self) -> str:
        """Return what writes the files, with its version."""
        return str(self._writer.named())


def write_plain(network: nn.Module, entry: Entry, planes: Tensor, file: Path) -> bool:
    """Write the network in float32; return whether it takes other sizes of images than that of ``planes``."""
    from benchmark.backends.onnxfiles import save_onnx, to_onnx

    spec = entry.card.input_for(entry.options)
    with torch.inference_mode(False), torch.no_grad():
        try:
            if split(network) is not None:
                # The maps of a hyper-network are slices of fixed positions.
                raise EngineError("one size")
            program, dynamic = capture(network, [planes], dynamic_shapes=[open_sizes(spec)]), True
            converted = to_onnx(program, inputs=["planes"], outputs=["image"])
        except (EngineError, ValueError):
            program, dynamic = capture(network, [planes]), False
            converted = to_onnx(program, inputs=["planes"], outputs=["image"])
    save_onnx(converted, file)
    return dynamic
