"""Compare a file that `export` or `quantize` wrote earlier with the network that it holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmark.backends import ENGINES, require
from benchmark.backends.agreement import agreement
from benchmark.running.exporting import TARGETS, filters_file, noise, parity_of, part_times, subject_of
from benchmark.units import shape_text
from zoo.errors import UserError

_MODEL, _INT8 = "zoo_bench.model", ("zoo_bench.ranges", "zoo_bench.calibration")


def check_file(
    model: str,
    file: str | Path,
    *,
    size: tuple[int, int] | str | None = None,
    options: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    measure: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Run ``file`` (.onnx or .pte) and ``model`` on noise; return what ``export --check --json`` prints.

    A file that says its size is run at it (of an open program for ExecuTorch, the largest), others at ``size``. Of a
    file in int8 the errors are given without a verdict: ``parity.ok`` is None. ``measure`` times the parts of a program
    for ExecuTorch. Raises UserError for a file that holds another model, is damaged or of another version.
    """
    path = Path(file)
    engine = next((engine for engine, suffix in TARGETS.values() if suffix == path.suffix), None)
    if engine is None or not path.is_file():
        raise UserError(f"--check {file}: expected a file that `export` wrote, FILE.onnx or FILE.pte.")
    require(ENGINES[engine].packages, ENGINES[engine].extra, f"--check {file}")
    if measure and engine != "executorch":
        raise UserError("--measure: only programs for ExecuTorch have two parts to time; leave it out.")
    shape, stated = (_of_pte if engine == "executorch" else _of_onnx)(path)
    if stated.get(_MODEL) != model:
        raise UserError(f"--check {file}: holds {stated.get(_MODEL, 'no model of this tool')}, not {model}.")
    if shape and size is not None:
        raise UserError(f"--size {size}: {file} is for {shape_text(shape)}; leave it out.")
    subject = subject_of(model, (shape[0], shape[1]) if shape else size, options, weights, None, None, seed)
    filters = filters_file(path)
    files = [path, filters] if subject.halves is not None and filters.is_file() else [path]
    int8 = any(name in stated for name in _INT8)
    with torch.inference_mode(False), torch.no_grad():
        planes = noise(subject.shape, subject.spec, seed)
        found = agreement(subject.network, files, planes, engine, planes.shape)
    parity = parity_of([found], engine)
    document: dict[str, Any] = {
        "model": model,
        "file": str(path),
        "precision": "int8" if int8 else "fp32",
        "parity": {**parity, "ok": None} if int8 else parity,
        "notes": ["int8 rounds, more so values beyond its ranges: `quantize` says what it loses"] if int8 else [],
    }
    return document | ({"times_ms": part_times(path, [planes])} if measure and len(files) == 1 else {})


def _of_pte(file: Path) -> tuple[list[int], dict[str, str]]:
    """Return rows and columns of the input, and what the file says of itself."""
    from benchmark.backends.executorch import metadata_in, shape_in

    return shape_in(file)[-2:], metadata_in(file)


def _of_onnx(file: Path) -> tuple[list[int], dict[str, str]]:
    import onnx

    try:
        network = onnx.load(str(file), load_external_data=False)
    except Exception as error:
        raise UserError(f"--check {file}: is no ONNX file, or it is damaged; export it again.") from error
    sides = [one.dim_value for one in network.graph.input[0].type.tensor_type.shape.dim][-2:]
    return sides if all(sides) else [], {one.key: one.value for one in network.metadata_props}
