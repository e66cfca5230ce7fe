"""Whether a measurement has enough memory: the predicted memory compared with the available memory."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from benchmark.conditions import Conditions, Limits
from benchmark.costs.prediction import Predicted
from benchmark.costs.profiling import meta_model
from benchmark.fullres.memory import least_need
from benchmark.fullres.subject import subject_of
from benchmark.host import machine
from benchmark.results.upkeep import parts_of_need
from benchmark.timing.messages import TILED_HEAP_FACTOR, Job
from benchmark.units import GIB, shape_text

# The memory of torch, its libraries and the interpreter in a child that has run one small pass.
PROCESS_BYTES = GIB * 6 // 10
# While a network is timed, the heap keeps freed blocks between those in use: 0.9 to 1.35 times the memory of one pass,
# measured on UNet, VDN, PyNET and plainunet_64.
HEAP_FACTOR = 1.4


def tiled_needs(job: Job, predicted: Mapping[str, Predicted]) -> dict[str, int]:
    """Return the counted bytes that a pass needs at least, for the sizes at which images run in pieces."""
    conditions = job.conditions
    if not conditions.is_tiled:
        return {}
    entry = job.entry()
    subject = subject_of(entry, meta_model(entry.card, entry.options))
    needs = {}
    for size, one in predicted.items():
        least = least_need(
            subject,
            one.shape,
            conditions.tile,
            memory_limit=job.memory_limit,
            approximate=conditions.approximate,
            by_torch=conditions.by_torch,
            exact_kernels=conditions.exact_kernels,
        )
        whole = one.need(conditions)
        if least is None:
            continue
        # An engine holds the weights once more, and torch's copy on the way to it.
        weights = one.weight_bytes * (1 if conditions.by_torch else 3)
        pieces = int(TILED_HEAP_FACTOR * least) + weights + 4 * math.prod(one.shape)
        if pieces < whole or conditions.tile != "auto":
            needs[size] = pieces
    return needs


def shortage(predicted: Predicted, conditions: Conditions, limits: Limits, in_pieces: int | None) -> str | None:
    """Say what is missing if the predicted memory (``in_pieces`` if images run in pieces) is more than is available."""
    need = predicted.need(conditions)
    parts = ""
    if conditions.device == "cuda":
        there: int | None = torch.cuda.mem_get_info()[0]
        where = "free on the GPU"
    else:
        # ``in_pieces`` already includes what the heap keeps.
        if in_pieces is None:
            parts = parts_of_need(need / GIB, HEAP_FACTOR, PROCESS_BYTES / GIB)
        need = (int(HEAP_FACTOR * need) if in_pieces is None else in_pieces) + PROCESS_BYTES
        there, where = machine.available_memory(), "available"
        if limits.memory_bytes is not None and (there is None or limits.memory_bytes < there):
            there, where = limits.memory_bytes, "allowed by --memory-limit"
    if there is None or need <= there:
        return None
    shape = shape_text(predicted.shape)
    least = "" if in_pieces is None else "at least "
    needs = f"{least}{need / GIB:.2f} GiB{parts}"
    return f"not run: input {shape} needs {needs} (predicted), {there / GIB:.2f} GiB are {where}"
