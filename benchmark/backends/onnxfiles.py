"""A captured network as an ONNX file: conversion, names, metadata, and the operations it uses."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.onnx import ONNXProgram

from benchmark.backends.capture import conversion_error, quiet

# The format's own limit for one file is 2 GiB.
MOST_INLINE_BYTES = 1_900_000_000


def to_onnx(
    program: ExportedProgram, *, inputs: Sequence[str], outputs: Sequence[str], opset: int | None = None
) -> ONNXProgram:
    """Convert a captured network with names for its inputs and outputs; raises EngineError for missing operations."""
    names: dict[str, Any] = {"input_names": list(inputs), "output_names": list(outputs)}
    with torch.inference_mode(False), torch.no_grad(), quiet():
        try:
            converted = torch.onnx.export(program, dynamo=True, verbose=False, opset_version=opset, **names)
        except MemoryError:
            raise
        except Exception as error:
            raise conversion_error(error, "ONNX") from error
    assert converted is not None
    # Every node records the source lines that led to it: they contain paths of this machine and fill half a small file.
    for node in converted.model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
    converted.model.graph.metadata_props.clear()
    return converted


def weights_beside(file: Path) -> Path:
    """Return where the weights of ``file`` go if they are too large for it."""
    return file.with_name(f"{file.name}.data")


def save_onnx(converted: ONNXProgram, file: Path, metadata: Mapping[str, str] | None = None) -> Path | None:
    """Write the file; return the path of its weights, ``<file>.data``, if they are too large for one file.

    The file refers to the weights by that name only, so both must be moved together. Existing files are kept until
    both new ones are complete.
    """
    converted.model.metadata_props.update(metadata or {})
    constants = (value.const_value for value in converted.model.graph.initializers.values())
    weights = sum(constant.nbytes for constant in constants if constant is not None)
    beside, data = weights > MOST_INLINE_BYTES, weights_beside(file)
    with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
        whole = Path(folder, file.name)
        with quiet():
            converted.save(str(whole), external_data=beside)
        if beside:
            weights_beside(whole).replace(data)
        whole.replace(file)
    if not beside:
        # These are weights of an earlier export; no file refers to them any more.
        data.unlink(missing_ok=True)
    return data if beside else None


def operations_of(converted: ONNXProgram) -> dict[str, int]:
    """Return how often each operation is used, the most frequent first."""
    counts = Counter(
        f"{node.domain}.{node.op_type}" if node.domain else node.op_type for node in converted.model.graph.all_nodes()
    )
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def opset_of(converted: ONNXProgram) -> int:
    """Return the version of the operator set."""
    return int(converted.model.opset_imports[""])
