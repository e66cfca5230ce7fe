"""A network in int8 without a run: for a user's own images, and for its time alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmark.conditions import Calibration, Conditions, Sigma, sigma_text
from benchmark.placing import check
from benchmark.reporting import Reporter
from benchmark.running.inputs import Levels
from benchmark.running.quantizing.calibration import Images, images_of
from benchmark.running.quantizing.for_run import in_cache
from benchmark.running.quantizing.method import method_of
from benchmark.selection import Entry, entry_of
from zoo.errors import UserError

NOISE = "noise"


def for_images(
    entry: Entry, conditions: Conditions, levels: Levels, sigma: Sigma | None, reporter: Reporter
) -> Conditions:
    """Write the network of ``entry`` in int8 into the cache folder, unless it is there; return the full conditions.

    ``conditions`` name what calibrates; ``levels`` describe mosaics of a folder, and its pictures get noise of
    ``sigma``. Raises UserError if nothing calibrates, or for images that cannot.
    """
    check(conditions)
    if not entry.scored:
        raise UserError(
            f"--precision int8: {entry.label} has random weights, whose ranges mean nothing; pass --weights."
        )
    asked = Calibration.of(conditions.calibrate or "")
    noise: dict[str, Any] = {"dataset": "awgn", "options": {"sigma": sigma_text(sigma)}}
    spec = entry.card.input_for(entry.options)
    source = images_of(asked.source, spec, levels, reporter=reporter, **(noise if isinstance(sigma, float) else {}))
    return _told(entry, source, asked, conditions, reporter)


def for_time(
    model: str, options: Mapping[str, Any], shape: Sequence[int], conditions: Conditions, reporter: Reporter
) -> Conditions:
    """Write a network with random weights in int8 for images of ``shape`` (N, C, H, W); return the full conditions.

    Noise gives its ranges, on which its time does not depend. Raises UserError if something else shall calibrate.
    """
    if conditions.calibrate is not None:
        raise UserError(f"--calibrate {conditions.calibrate}: profile runs random weights on noise; leave it out.")
    check(conditions.model_copy(update={"calibrate": NOISE}))

    def planes(index: int) -> torch.Tensor:
        return torch.rand(*shape, generator=torch.Generator().manual_seed(index))

    source = Images(NOISE, ["0", "1", "2"], lambda index: f"{index} {list(shape)}".encode(), planes)
    return _told(entry_of(model, None, options), source, Calibration(NOISE, images=2), conditions, reporter)


def _told(entry: Entry, source: Images, asked: Calibration, conditions: Conditions, reporter: Reporter) -> Conditions:
    chosen = source.chosen(asked.images)
    asked = replace(asked, images=len(chosen[0]), digest=source.digest(chosen[0]))
    conditions = conditions.model_copy(update={"calibrate": asked.text})
    for note in in_cache(
        entry, source, chosen, method_of(asked.method, conditions.backend), conditions, reporter
    ).notes:
        reporter.note(f"{entry.label}: {note}")
    return conditions
