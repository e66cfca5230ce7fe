"""Write a network in int8; say what gave its ranges, what it loses, and how much that depends on the images."""

from __future__ import annotations

import json
import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchmark.backends import ENGINES, check_backend
from benchmark.backends.compiled import Quantized
from benchmark.conditions import DEFAULT_IMAGES, DEFAULT_METHOD, Sigma, sigma_text
from benchmark.host import machine
from benchmark.metrics import METRICS
from benchmark.replacing import refuse_inputs
from benchmark.reporting import Reporter
from benchmark.running.exporting import convention_of, target_of
from benchmark.running.inputs import Levels
from benchmark.running.quantizing.calibration import Images, images_of
from benchmark.running.quantizing.method import Method, method_of
from benchmark.scoring.evaluation import as_picture, network_input, run_sample
from benchmark.selection import Entry, entry_of, jsonable_options
from benchmark.types import Sample
from zoo.convention import InputSpec
from zoo.errors import UserError

if TYPE_CHECKING:
    from benchmark.running.quantizing.onnxfile import OnnxForm
    from benchmark.running.quantizing.pte import PteForm

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
    sigma: Sigma | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Write ``model`` in int8 to ``file``; return what ``zoo-bench quantize --json`` prints.

    ``file`` ends with .onnx for ONNX Runtime, whose quantiser writes it, or with .xml for OpenVINO; then NNCF writes it
    and a file .bin beside it; or with .pte for ExecuTorch, by torchao.

    ``calibrate`` is a folder of images, or a dataset whose train split gives them; ``images`` of them, spread over all,
    give the ranges by ``method`` ("min-max" or "percentile=P"). Others examine the result: the difference from float32
    and, where the data have targets, the loss in dB. The same is done with the images in another order and with half of
    them. ``in_float``: operations (ONNX's names) or layers (names of their weights) that stay in float32; with
    ``explain`` the result is also examined with each layer in float32 in turn. With ``sigma`` the pictures of a folder
    get noise of that level, as by the dataset awgn. Raises UserError for bad input, for an untrained network and for
    images with NaN, and EngineError for a network that ONNX cannot hold.
    """
    engines = {engine.int8_file: engine.name for engine in ENGINES.values()}
    engine = engines.get(Path(file).suffix, "onnxruntime")
    check_backend(engine, "int8")
    how, reporter = method_of(method, engine), reporter or Reporter()
    if images < 1:
        raise UserError(f"--images {images}: expected at least 1.")
    target = target_of(file, ENGINES[engine].int8_file)
    refuse_inputs(f"quantize: -o {file}", [target], [weights])
    entry = entry_of(model, weights, options or {})
    if not entry.scored:
        raise UserError(f"quantize {model}: has random weights, whose ranges mean nothing; pass --weights FILE.")
    spec = entry.card.input_for(entry.options)
    noise: dict[str, Any] = {"dataset": "awgn", "options": {"sigma": sigma_text(sigma)}} if sigma is not None else {}
    source = images_of(calibrate, spec, levels or Levels(), data_root=data_root, reporter=reporter, **noise)
    chosen = source.chosen(images)
    return write_quantized(entry, source, chosen, how, target, engine, reporter, in_float=in_float, explain=explain)


def write_quantized(
    entry: Entry,
    source: Images,
    chosen: tuple[Sequence[int], Sequence[int]],
    how: Method,
    target: Path,
    engine: str,
    reporter: Reporter,
    *,
    in_float: Sequence[str] = (),
    explain: bool = False,
) -> dict[str, Any]:
    """Write the network of ``entry`` in int8 for ``engine`` and return what is known of it, as ``quantize`` does.

    ``chosen``: the numbers of the images that give the ranges, and of those that examine the result.
    """
    taken, held_out = chosen
    own = not held_out
    held_out = held_out or taken
    network, spec = entry.build(), entry.card.input_for(entry.options)
    compared = _Comparison(network, source, held_out, spec)
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as folder:
        plain = Path(folder, "plain.pte" if engine == "executorch" else "plain.onnx")
        form = _form(engine, network, next(source.finite(taken[:1])), plain, entry)
        asked = form.asked(in_float)

        def examined(name: str, indices: Sequence[int], in_float: set[str]) -> dict[str, float]:
            written = Path(folder, f"{name}{target.suffix}")
            form.write(written, source.finite(indices), how, sorted(in_float))
            return compared.of(Quantized(network, engine, written))

        ways = {"as asked": taken}
        ways |= {"another order": taken[::-1], "half of them": taken[::2]} if len(taken) > 1 else {}
        found: dict[str, dict[str, float]] = {}
        with reporter.progress(f"{entry.label}: int8", len(ways)) as advance:
            for number, (way, indices) in enumerate(ways.items()):
                found[way] = examined(str(number), indices, asked)
                advance()
        first = Path(folder, f"0{target.suffix}")
        alone: dict[str, dict[str, float]] = {}
        others = form.others(asked) if explain else {}
        with reporter.progress(f"{entry.label}: without one layer", len(others)) as advance:
            for part, name in others.items():
                alone[name] = examined("without", taken, asked | {part})
                advance()
        clipped = form.clipped(first, source.finite(held_out))
        document: dict[str, Any] = {
            "model": entry.card.name,
            "options": jsonable_options(entry.options),
            "weights": entry.weights_record(),
            "file": str(target),
            "written_by": form.named(),
            "bytes": sum(one.stat().st_size for one in (first, first.with_suffix(".bin")) if one.is_file()),
            "float_bytes": plain.stat().st_size,
            "dynamic": form.dynamic,
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
            "with_one_layer_in_float": alone,
            **form.facts(first),
            "clipped": {name: share for name, share in sorted(clipped.items(), key=lambda one: -one[1]) if share},
        }
        document["notes"] = _notes(document)
        told = ("model", "options", "weights", "written_by", "calibration", "examined", "spread_db")
        texts = {key: one if isinstance(one := document[key], str) else json.dumps(one) for key in told}
        texts["input"] = json.dumps(convention_of(spec))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            form.save(first, target, texts)
        except OSError as error:
            raise UserError(f"-o {target}: cannot be written ({error.strerror}).") from None
    return document


def _form(engine: str, network: nn.Module, planes: Tensor, plain: Path, entry: Entry) -> OnnxForm | PteForm:
    """Return what writes files for ``engine``; it has written the network in float32 as ``plain``."""
    if engine == "executorch":
        from benchmark.running.quantizing.pte import PteForm

        return PteForm(network, planes, plain)
    from benchmark.running.quantizing.onnxfile import OnnxForm

    return OnnxForm(engine, network, planes, plain, entry)


class _Comparison:
    """The outputs of a network in float32 for some images, with which those in int8 are compared."""

    def __init__(self, network: nn.Module, source: Images, indices: Sequence[int], spec: InputSpec) -> None:
        self.network, self.source, self.indices, self.spec = network, source, indices, spec
        self._plain: dict[int, Tensor] = {}

    def of(self, quantised: nn.Module) -> dict[str, float]:
        """Return the mean PSNR in dB against the output in float32, and where there are targets, the loss."""
        to_plain, losses = [], []
        for index in self.indices:
            sample = self._sample(index)
            if index not in self._plain:
                self._plain[index] = self._output(self.network, index, sample)
            plain, output = self._plain[index], self._output(quantised, index, sample)
            to_plain.append(_psnr(plain, output))
            if sample is not None:
                losses.append(_psnr(plain, sample.target) - _psnr(output, sample.target))
        found = {"psnr_to_fp32": statistics.fmean(to_plain)}
        return found | ({"loss_db": statistics.fmean(losses)} if losses else {})

    def _sample(self, index: int) -> Sample | None:
        """Return an image with its target, if it is not larger than the planes that calibrate."""
        sample = self.source.sample(index) if self.source.sample else None
        if sample is None or network_input(sample, self.spec).shape[-2:] > self.source.planes(index).shape[-2:]:
            return None
        return sample

    def _output(self, model: nn.Module, index: int, sample: Sample | None) -> Tensor:
        """Return an output (1, C, H, W) in [0, 1], not clipped."""
        if sample is not None:
            return run_sample(model, sample, self.spec)
        low, high = self.spec.output_range
        with torch.inference_mode():
            output: Tensor = (model(self.source.planes(index)) - low) / (high - low)
        return output


def _psnr(one: Tensor, other: Tensor) -> float:
    """Return the PSNR in dB over all channels of two pictures in [0, 1], which are clipped; infinite if equal."""
    pictures = [as_picture(image.clamp(0, 1)) for image in (one, other)]
    return float(METRICS.get("psnr[gray]" if one.shape[1] == 1 else "psnr[rgb]").function(*pictures))


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
        notes.append(f"left in float32: {counts} (the last layers, computed filters, what predicts them, no int8 form)")
    if portable := document.get("placement", {}).get("portable", {}).get("operators"):
        counts = ", ".join(f"{name} {count}" for name, count in portable.items())
        notes.append(f"left to portable kernels of ExecuTorch: {counts}")
    if not document["dynamic"]:
        notes.append("the file takes images of one size only")
    if not _INT8 & set(machine.instruction_sets()):
        notes.append("this processor has no instructions for 8-bit products: int8 is slower than float32 here")
    return notes
