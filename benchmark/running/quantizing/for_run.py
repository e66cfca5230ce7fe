"""The networks in int8 of a run: what calibrates them, and their files in the cache folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.conditions import Calibration, Conditions
from benchmark.host.calls import Emit, child_call
from benchmark.record import Record
from benchmark.replacing import replace_text
from benchmark.reporting import Relay, Reporter
from benchmark.running.inputs import Levels
from benchmark.running.quantizing.calibration import TRAIN, Images, images_of
from benchmark.running.quantizing.method import method_of
from benchmark.running.quantizing.quantize import STEADY_DB, write_quantized
from benchmark.selection import entry_of
from benchmark.types import DatasetCard
from zoo.convention import InputSpec
from zoo.errors import UserError


class ToQuantize(Record):
    """A network to write in int8 under ``conditions``; the dataset is opened as the run opens it."""

    model: str
    options: dict[str, Any]
    weights: str | None
    root: str | None
    dataset: str
    dataset_options: dict[str, str]
    calibrate: str


class Quantized(Record):
    """What is said of a network in int8: notes, and a remark on its scores if they depend on the calibration images."""

    notes: list[str]
    remark: str | None


def with_digest(
    conditions: Conditions, card: DatasetCard, options: Mapping[str, str], root: Path, spec: InputSpec
) -> Conditions:
    """Return the conditions with the digest of the calibration images, by default those of the run's own train split.

    Raises UserError for a digest that the user gave and the images do not have, an unknown method, and a dataset
    without a train split.
    """
    if conditions.calibrate is None:
        if TRAIN not in card.splits:
            raise UserError(f"--precision int8: {card.name} has no train split; pass --calibrate FOLDER.")
        asked = Calibration(card.name)
    else:
        asked = Calibration.of(conditions.calibrate)
    method = method_of(asked.method)
    source = _source(asked.source, card.name, options, root, spec)
    taken, _ = source.chosen(asked.images)
    digest = source.digest(taken)
    if asked.digest not in (None, digest):
        raise UserError(
            f"--calibrate {asked.text}: the images have the digest {digest}; leave the digest out, or restore them."
        )
    found = replace(asked, method=method.text, images=len(taken), digest=digest)
    return conditions.model_copy(update={"calibrate": found.text})


@child_call()
def quantize_for_run(request: ToQuantize, emit: Emit) -> Quantized:
    """Write the network into the cache folder, unless it is there; return what is said of it."""
    entry = entry_of(request.model, request.weights, request.options)
    file = entry.quantized_file(request.calibrate)
    assert file is not None
    beside = file.with_suffix(".json")
    if not (file.is_file() and beside.is_file()):
        asked, spec = Calibration.of(request.calibrate), entry.card.input_for(entry.options)
        root = None if request.root is None else Path(request.root)
        source = _source(asked.source, request.dataset, request.dataset_options, root, spec)
        chosen = source.chosen(asked.images)
        document = write_quantized(entry, source, chosen, method_of(asked.method), file, Relay(emit))
        replace_text(beside, json.dumps(document))
    return _said(json.loads(beside.read_text(encoding="utf-8")))


def _source(name: str, dataset: str, options: Mapping[str, str], root: Path | None, spec: InputSpec) -> Images:
    own = {"data_root": root, "options": options} if name == dataset else {}
    return images_of(name, spec, Levels(), reporter=Reporter(), **own)  # type: ignore[arg-type]


def _said(document: Mapping[str, Any]) -> Quantized:
    calibration, examined, spread = document["calibration"], document["examined"], document["spread_db"]
    loss = f", {examined['loss_db']:.2f} dB lost" if "loss_db" in examined else ""
    text = (
        f"int8: a file of {document['bytes']} bytes ({document['float_bytes']} in float32), calibrated with"
        f" {calibration['images']} images of {calibration['source']} ({calibration['method']}); on"
        f" {examined['images']} others {examined['psnr_to_fp32']:.1f} dB to the output in float32{loss}"
    )
    unsteady = spread is None or spread > STEADY_DB
    moves = "is not known: one image" if spread is None else f"moves the result by {spread:.2f} dB"
    return Quantized(
        notes=[text, *document["notes"]],
        remark=f"int8: the choice of the calibration images {moves}" if unsteady else None,
    )
