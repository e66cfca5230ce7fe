"""OpenVINO's files with int8 weights and activations, written by NNCF: ranges at the inputs of its operations."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
from torch import Tensor

from benchmark.backends.capture import conversion_error
from benchmark.running.quantizing.graph import HEAVY, Layers, round_weights
from benchmark.running.quantizing.method import Method
from zoo.errors import UserError

# NNCF would report its use to its makers.
os.environ.setdefault("NNCF_CI", "1")
import nncf
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
from nncf.quantization.range_estimator import (
    AggregatorType,
    RangeEstimatorParameters,
    StatisticsCollectorParameters,
    StatisticsType,
)

# Heavy operations by ONNX's names.
_HEAVY = {"Convolution": "Conv", "GroupConvolution": "Conv", "MatMul": "MatMul"}
_HEAVY |= {"ConvolutionBackpropData": "ConvTranspose", "GroupConvolutionBackpropData": "ConvTranspose"}
# Operations that a range is moved through.
_MOVING = {"Concat", "Convert", "DepthToSpace", "MaxPool", "Multiply", "Reshape", "Slice", "Subtract", "Transpose"}


def write_int8(
    source: Path, target: Path, planes: Iterable[Tensor], method: Method, layers: Layers, asked: Sequence[str] = ()
) -> None:
    """Write ``source`` in int8 as ``target`` (.xml) and the file .bin beside it: see ``qdq.write_int8``.

    Of each layer the input has a range, and its output none: OpenVINO computes what follows a layer together with it.
    """
    logging.getLogger("nncf").setLevel(logging.ERROR)
    model = onnx.load(str(source))
    kept = {
        *asked,
        *layers.predicting,
        *layers.last,
        *(node.name for node in model.graph.node if node.op_type not in HEAVY),
    }
    round_weights(model, layers.predicting - set(asked))
    # What OpenVINO makes of one operation has its name, with an end where there are several, or that of its output.
    kept |= {name for node in model.graph.node if node.name in kept for name in node.output}
    scope = nncf.IgnoredScope(patterns=[f"^{re.escape(name)}(/.*)?$" for name in sorted(kept)], validate=False)
    images = list(planes)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            network = openvino.Core().read_model(model.SerializeToString())
            quantised = nncf.quantize(
                network,
                nncf.Dataset(images, lambda one: one.numpy()),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(images),
                ignored_scope=scope,
                advanced_parameters=AdvancedQuantizationParameters(
                    activations_range_estimator_params=_rule(method),
                    weights_range_estimator_params=_rule(Method()),
                ),
            )
            openvino.save_model(quantised, str(target), compress_to_fp16=False)
        except (UserError, MemoryError):
            raise
        except Exception as error:
            raise conversion_error(error, "OpenVINO in int8") from error


def _rule(method: Method) -> RangeEstimatorParameters:
    """Return the rule for ranges: of each image the extremes or a percentile, of all images the widest."""
    if method.percentile is None:
        ends = [StatisticsCollectorParameters(kind) for kind in (StatisticsType.MIN, StatisticsType.MAX)]
    else:
        beyond = (100 - method.percentile) / 200
        ends = [StatisticsCollectorParameters(StatisticsType.QUANTILE, quantile_outlier_prob=beyond) for _ in range(2)]
    ends[0].aggregator_type, ends[1].aggregator_type = AggregatorType.MIN, AggregatorType.MAX
    return RangeEstimatorParameters(*ends)


def left_in_float(file: Path) -> dict[str, int]:
    """Return how many of each heavy operation compute in float32: their input or their weights have no range."""
    counts = Counter[str]()
    for node in openvino.Core().read_model(str(file)).get_ops():
        if node.get_type_name() in _HEAVY and not all(_is_int8(node.input_value(place)) for place in (0, 1)):
            counts[_HEAVY[node.get_type_name()]] += 1
    return dict(counts)


def _is_int8(value: Any) -> bool:
    """Return whether a value has been rounded to 8 bits, perhaps before it was only moved or scaled."""
    node, kind = value.get_node(), value.get_node().get_type_name()
    if kind in _MOVING:
        return all(map(_is_int8, node.input_values() if kind == "Concat" else node.input_values()[:1]))
    return bool(kind == "FakeQuantize" or value.get_element_type().get_type_name() in ("i8", "u8"))


def ranges_of(file: Path) -> dict[str, tuple[float, float]]:
    """Return the range of values that each quantised activation can hold, by the names of its tensor in ONNX."""
    found: dict[str, tuple[float, float]] = {}
    for node in openvino.Core().read_model(str(file)).get_ops():
        if node.get_type_name() == "FakeQuantize":
            low, high = (node.input_value(place).get_node() for place in (1, 2))
            if all(one.get_type_name() == "Constant" and one.data.size == 1 for one in (low, high)):
                ends = float(np.ravel(low.data)[0]), float(np.ravel(high.data)[0])
                found |= dict.fromkeys(node.input_value(0).get_names(), ends)
    return found


def save(written: Path, target: Path, texts: Mapping[str, str]) -> None:
    """Copy the files with ``texts`` in their metadata."""
    network = openvino.Core().read_model(str(written))
    for key, value in texts.items():
        network.set_rt_info(value, ["zoo_bench", key])
    openvino.save_model(network, str(target), compress_to_fp16=False)


def named() -> str:
    """Return what writes the files, with its version."""
    return f"nncf {nncf.__version__}"
