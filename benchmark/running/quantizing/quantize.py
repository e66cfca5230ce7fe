"""Write a network in int8; say what gave its ranges, what it loses, and how much that depends on the images."""

from __future__ import annotations

import json
import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.backends import ENGINES, require
from benchmark.backends.capture import capture
from benchmark.backends.compiled import Quantized
from benchmark.conditions import DEFAULT_IMAGES, DEFAULT_METHOD
from benchmark.host import machine
from benchmark.replacing import refuse_inputs
from benchmark.reporting import Reporter
from benchmark.running.exporting import open_sizes, target_of
from benchmark.running.inputs import Levels
from benchmark.running.quantizing.calibration import Images, images_of
from benchmark.running.quantizing.method import Method, method_of
from benchmark.scoring.evaluation import network_input, run_sample
from benchmark.selection import Entry, entry_of, jsonable_options
from zoo.errors import EngineError, UserError
from zoo.splitting import split

# A result that moves by more than this with the choice of the calibration images depends on luck.
STEADY_DB = 0.1
# Instructions that multiply 8-bit integers; without them int8 is slower than float32.
_INT8 = {"avx512_vnni", "avx_vnni", "avx512vnni", "amx_int8", "asimddp", "i8mm"}
# More of an activation's values than this beyond its range are told.
CLIPPED = 1e-3


def quantize(
    model: str,
    file: str | Path,
    *,
    calibrate: str,
    weights: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    data_root: str | Path | None = None,
    images: int = DEFAULT_IMAGES,
    method: str = DEFAULT_METHOD,
    in_float: Sequence[str] = (),
    explain: bool = False,
    levels: Levels | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Write ``model`` in int8 as ONNX to ``file``; return what ``zoo-bench quantize --json`` prints.

    ``calibrate`` is a folder of images, or a dataset whose train split gives them; ``images`` of them, spread over all,
    give the ranges by ``method`` ("min-max" or "percentile=P"). Others examine the result: the difference from float32
    and, where the data have targets, the loss in dB. The same is done with the images in another order and with half of
    them. The operations ``in_float`` (ONNX's names) stay in float32; with ``explain`` the result is also examined with
    each operation in float32 in turn. Raises UserError for bad input, for an untrained network and for images with NaN,
    and EngineError for a network that ONNX cannot hold.
    """
    require(ENGINES["onnxruntime"].packages, ENGINES["onnxruntime"].extra, "quantize")
    how, reporter = method_of(method), reporter or Reporter()
    if images < 1:
        raise UserError(f"--images {images}: expected at least 1.")
    target = target_of(file, ".onnx")
    refuse_inputs(f"quantize: -o {file}", [target], [weights])
    entry = entry_of(model, weights, options or {})
    if not entry.scored:
        raise UserError(f"quantize {model}: has random weights, whose ranges mean nothing; pass --weights FILE.")
    spec = entry.card.input_for(entry.options)
    source = images_of(calibrate, spec, levels or Levels(), data_root=data_root, reporter=reporter)
    chosen = source.chosen(images)
    return write_quantized(entry, source, chosen, how, target, reporter, in_float=in_float, explain=explain)


def write_quantized(
    entry: Entry,
    source: Images,
    chosen: tuple[Sequence[int], Sequence[int]],
    how: Method,
    target: Path,
    reporter: Reporter,
    *,
    in_float: Sequence[str] = (),
    explain: bool = False,
) -> dict[str, Any]:
    """Write the network of ``entry`` in int8 to ``target`` and return what is known of it, as ``quantize`` does.

    ``chosen``: the numbers of the images that give the ranges, and of those that examine the result.
    """
    from benchmark.running.quantizing import qdq

    taken, held_out = chosen
    own = not held_out
    held_out = held_out or taken
    network = entry.build()
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as folder:
        plain = Path(folder, "plain.onnx")
        dynamic = _write_plain(network, entry, next(source.finite(taken[:1])), plain)
        ways = {"as asked": taken}
        ways |= {"another order": taken[::-1], "half of them": taken[::2]} if len(taken) > 1 else {}
        found: dict[str, dict[str, float]] = {}
        with reporter.progress(f"{entry.label}: int8", len(ways)) as advance:
            for number, (way, indices) in enumerate(ways.items()):
                written = Path(folder, f"{number}.onnx")
                qdq.write_int8(plain, written, source.finite(indices), how, in_float)
                found[way] = _compared(network, written, source, held_out, entry)
                advance()
        first = Path(folder, "0.onnx")
        alone: dict[str, dict[str, float]] = {}
        operations = qdq.operations_of(first) if explain else []
        with reporter.progress(f"{entry.label}: without one operation", len(operations)) as advance:
            for operation in operations:
                written = Path(folder, "without.onnx")
                qdq.write_int8(plain, written, source.finite(taken), how, [*in_float, operation])
                alone[operation] = _compared(network, written, source, held_out, entry)
                advance()
        clipped = qdq.clipped_shares(plain, first, source.finite(held_out), torch.get_num_threads())
        document: dict[str, Any] = {
            "model": entry.card.name,
            "options": jsonable_options(entry.options),
            "weights": entry.weights_record(),
            "file": str(target),
            "bytes": first.stat().st_size,
            "float_bytes": plain.stat().st_size,
            "dynamic": dynamic,
            "calibration": {
                "source": source.source,
                "images": len(taken),
                "of": len(source.names),
                "names": [source.names[index] for index in taken],
                "digest": source.digest(taken),
                "method": how.text,
            },
            "examined": {"images": len(held_out), "also_calibrated_with": own, **found["as asked"]},
            "sensitivity": found,
            "spread_db": _spread(found),
            "in_float": list(in_float),
            "with_one_operation_in_float": alone,
            "left_in_float": qdq.left_in_float(first),
            "clipped": {name: share for name, share in sorted(clipped.items(), key=lambda one: -one[1]) if share},
        }
        document["notes"] = _notes(document)
        _save(first, target, document)
    return document


def _write_plain(network: nn.Module, entry: Entry, planes: Tensor, file: Path) -> bool:
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


def _compared(network: nn.Module, file: Path, source: Images, indices: Sequence[int], entry: Entry) -> dict[str, float]:
    """Return the mean PSNR in dB of the int8 output against that of float32, and where there are targets, the loss."""
    spec, quantised = entry.card.input_for(entry.options), Quantized(network, "onnxruntime", file)
    low, high = spec.output_range
    to_plain, losses = [], []
    for index in indices:
        with torch.inference_mode():
            planes = source.planes(index)
            outputs = [(model(planes) - low) / (high - low) for model in (network, quantised)]
        to_plain.append(_psnr(*outputs))
        if source.sample is not None:
            sample = source.sample(index)
            if network_input(sample, spec).shape[-2:] > planes.shape[-2:]:
                continue
            scores = [_psnr(run_sample(model, sample, spec), sample.target) for model in (network, quantised)]
            losses.append(scores[0] - scores[1])
    found = {"psnr_to_fp32": statistics.fmean(to_plain)}
    return found | ({"loss_db": statistics.fmean(losses)} if losses else {})


def _psnr(one: Tensor, other: Tensor) -> float:
    """Return the PSNR in dB over all channels of two pictures in [0, 1], which are clipped; infinite if equal."""
    error = float(torch.mean((one.clamp(0, 1).double() - other.clamp(0, 1).double()) ** 2))
    return math.inf if error == 0 else -10 * math.log10(error)


def _spread(found: Mapping[str, Mapping[str, float]]) -> float | None:
    """Return by how many dB the result differs between the choices of images: the loss, else the PSNR to float32."""
    if len(found) < 2:
        return None
    id = "loss_db" if "loss_db" in found["as asked"] else "psnr_to_fp32"
    values = [one[id] for one in found.values()]
    return max(values) - min(values) if all(map(math.isfinite, values)) else None


def _notes(document: Mapping[str, Any]) -> list[str]:
    notes = []
    spread = document["spread_db"]
    if spread is None:
        notes.append("calibrated with one image: nothing shows how much the result depends on it; use --images 32")
    elif spread > STEADY_DB:
        notes.append(f"the result moves by {spread:.2f} dB with the order and the number of the calibration images")
    if document["examined"]["also_calibrated_with"]:
        notes.append("examined on the images that it was calibrated with, because there are no others")
    far = {name: share for name, share in document["clipped"].items() if share > CLIPPED}
    if far:
        name, share = next(iter(far.items()))
        notes.append(
            f"{len(far)} activations have values beyond the ranges of the calibration images, most of all {name}"
            f" ({100 * share:.2g} % of its values are clipped): calibrate with brighter or more images"
        )
    if left := document["left_in_float"]:
        counts = ", ".join(f"{name} {count}" for name, count in left.items())
        notes.append(f"left in float32: {counts} (their filters are computed, or ONNX Runtime has no int8 form)")
    if not document["dynamic"]:
        notes.append("the file takes images of one size only")
    if not _INT8 & set(machine.instruction_sets()):
        notes.append("this processor has no instructions for 8-bit products: int8 is slower than float32 here")
    return notes


def _save(written: Path, target: Path, document: Mapping[str, Any]) -> None:
    """Write the file to its place with the calibration in its metadata."""
    import onnx

    network = onnx.load(str(written))
    for key in ("model", "options", "weights", "calibration", "examined", "spread_db"):
        value = document[key]
        network.metadata_props.add(key=f"zoo_bench.{key}", value=value if isinstance(value, str) else json.dumps(value))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(network, str(target))
    except OSError as error:
        raise UserError(f"-o {target}: cannot be written ({error.strerror}).") from None
