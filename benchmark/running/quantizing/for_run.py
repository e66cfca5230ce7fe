"""The networks in int8 of a run: what calibrates them, and their files in the cache folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
from benchmark.running.quantizing.method import Method, method_of
from benchmark.running.quantizing.quantize import STEADY_DB, write_quantized
from benchmark.selection import Entry, entry_of
from benchmark.types import Dataset, DatasetCard, Measurement
from zoo.convention import InputSpec
from zoo.errors import UserError
from zoo.weights import file_digest


class ToQuantize(Record):
    """A network to write in int8 under ``conditions``; the dataset is opened as the run opens it."""

    model: str
    options: dict[str, Any]
    weights: str | None
    root: str | None
    dataset: str
    dataset_options: dict[str, str]
    conditions: Conditions


class Quantized(Record):
    """What is said of a network in int8: its files, notes, and a remark if its scores depend on what calibrated it."""

    sizes: dict[str, Measurement]
    notes: list[str]
    remark: str | None


def with_digest(
    conditions: Conditions, card: DatasetCard, options: Mapping[str, str], root: Path, spec: InputSpec, tested: Dataset
) -> Conditions:
    """Return the conditions with the digest of the calibration images, by default those of the run's own train split.

    Raises UserError for a digest that the user gave and the images do not have, an unknown method, a dataset without a
    train split, and a folder with images that are ``tested``.
    """
    if conditions.calibrate is None:
        if TRAIN not in card.splits:
            raise UserError(f"--precision int8: {card.name} has no train split; pass --calibrate FOLDER.")
        asked = Calibration(card.name)
    else:
        asked = Calibration.of(conditions.calibrate)
    method = method_of(asked.method, conditions.backend)
    source = _source(asked.source, card.name, options, root, spec)
    taken, _ = source.chosen(asked.images)
    if Path(asked.source).is_dir():
        _refuse_tested(asked, tested)
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
    asked, spec = Calibration.of(request.conditions.calibrate or ""), entry.card.input_for(entry.options)
    root = None if request.root is None else Path(request.root)
    source = _source(asked.source, request.dataset, request.dataset_options, root, spec)
    how, chosen = method_of(asked.method, request.conditions.backend), source.chosen(asked.images)
    return in_cache(entry, source, chosen, how, request.conditions, Relay(emit))


def in_cache(
    entry: Entry,
    source: Images,
    chosen: tuple[Sequence[int], Sequence[int]],
    how: Method,
    conditions: Conditions,
    reporter: Reporter,
) -> Quantized:
    """Write the network into the cache folder, unless it is there; return what is said of it."""
    file = entry.quantized_file(conditions)
    assert file is not None
    beside = file.with_suffix(".json")
    if not (file.is_file() and beside.is_file()):
        document = write_quantized(entry, source, chosen, how, file, conditions.backend, reporter)
        replace_text(beside, json.dumps(document))
    return _said(json.loads(beside.read_text(encoding="utf-8")))


def _source(name: str, dataset: str, options: Mapping[str, str], root: Path | None, spec: InputSpec) -> Images:
    own_root = root if name == dataset else None
    return images_of(name, spec, Levels(), data_root=own_root, dataset=dataset, options=options, reporter=Reporter())


def _refuse_tested(asked: Calibration, tested: Dataset) -> None:
    """Raise UserError if a file of the folder has the content of one that is tested."""
    paths = getattr(tested, "paths", None)
    there = {file.stat().st_size for file in Path(asked.source).iterdir() if file.is_file()}
    own = [file for id in tested.ids for file in paths(id)] if paths else []
    contents = {file_digest(file): file for file in own if file.stat().st_size in there}
    for file in sorted(Path(asked.source).iterdir()) if contents else ():
        if file.is_file() and file_digest(file) in contents:
            raise UserError(
                f"--calibrate {asked.source}: {file.name} is among the tested images; pass a folder of others."
            )


def _said(document: Mapping[str, Any]) -> Quantized:
    calibration, examined, spread = document["calibration"], document["examined"], document["spread_db"]
    loss = f", {examined['loss_db']:.2f} dB lost" if "loss_db" in examined else ""
    text = (
        f"int8: a file of {document['bytes']} bytes ({document['float_bytes']} in float32), by"
        f" {document['written_by']} with {calibration['images']} images of {calibration['source']}"
        f" ({calibration['method']}); on"
        f" {examined['images']} others {examined['psnr_to_fp32']:.1f} dB to the output in float32{loss}"
    )
    unsteady = spread is None or spread > STEADY_DB
    moves = "is not known: one image" if spread is None else f"moves the result by {spread:.2f} dB"
    plain = "an ExecuTorch program" if document["file"].endswith(".pte") else "an ONNX file"
    texts = {
        "file_bytes": (
            document["bytes"],
            f"bytes of the file in int8 that the engine reads, by {document['written_by']}",
        ),
        "float_file_bytes": (document["float_bytes"], f"bytes of the same network in float32 as {plain}"),
    }
    return Quantized(
        sizes={
            id: Measurement(value=value, unit="B", definition=text, kind="count", higher_is_better=False)
            for id, (value, text) in texts.items()
        },
        notes=[text, *document["notes"]],
        remark=f"int8: the choice of the calibration images {moves}" if unsteady else None,
    )
