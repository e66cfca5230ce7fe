"""Scores and pictures of a network during training, by the protocol of its dataset."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.imaging.pictures import Row, save_sheet, show_input
from benchmark.metrics import METRICS, score_text
from benchmark.scoring.evaluation import as_picture, network_input, score_pair
from benchmark.training.losses import resize_target
from benchmark.training.recipe import Validation
from benchmark.types import Dataset, EvaluationProtocol, Sample, encode_number
from zoo.convention import InputSpec
from zoo.raw import apply_model


@dataclass(frozen=True)
class Validator:
    """Runs a network over the first images of a split. Raises UserError for unknown metrics when it is made."""

    dataset: Dataset
    spec: InputSpec
    protocol: EvaluationProtocol
    settings: Validation
    device: torch.device

    def __post_init__(self) -> None:
        """Look up every metric, so that a wrong name is found before the first step."""
        for id in self.settings.metrics:
            METRICS.get(id).check()

    def __call__(self, model: nn.Module, *, title: str = "", sheet: Path | None = None) -> dict[str, float]:
        """Return the mean of each metric; with ``sheet``, save the first images as a contact sheet.

        If the output has another size than the target (a coarse level), it is compared with the resized target.
        """
        scores: dict[str, list[float]] = {id: [] for id in self.settings.metrics}
        rows: list[Row] = []
        was_training = model.training
        model.eval()
        for index in range(self.count):
            sample = self.dataset[index]
            output = self._run(model, sample)
            sample = replace(sample, target=resize_target(sample.target, output))
            values = score_pair(output, sample.target, self.protocol, self.settings.metrics)
            for id, value in values.items():
                scores[id].append(value)
            if sheet is not None and len(rows) < self.settings.pictures:
                caption = ", ".join([str(sample.id), *(score_text(id, value) for id, value in values.items())])
                picture = as_picture(output).clip(0, 1)
                rows.append(Row(caption, show_input(sample), picture, as_picture(sample.target)))
        model.train(was_training)
        if sheet is not None and rows:
            save_sheet(sheet, title, rows)
        return {id: math.fsum(values) / len(values) for id, values in scores.items()}

    def _run(self, model: nn.Module, sample: Sample) -> Tensor:
        with torch.inference_mode():
            planes = network_input(sample, self.spec).to(self.device)
            return apply_model(model, planes, self.spec, red=sample.red).float().cpu()

    def record(self, scores: dict[str, float], step: int) -> dict[str, Any]:
        """Return scores with the data that they were measured on, as the weights' file stores them."""
        data = self.dataset
        values = {id: encode_number(value) for id, value in scores.items()}
        about = {
            "dataset": data.name,
            "split": data.split,
            "n": self.count,
            "step": step,
            "protocol": self.protocol.name,
        }
        return {**about, **({"part": self.part} if self.part else {}), "scores": values}

    @property
    def count(self) -> int:
        """The number of images that are scored."""
        return min(len(self.dataset.ids), self.settings.limit or len(self.dataset.ids))

    @property
    def part(self) -> str:
        """The available part of the split, as "3 of 2352"; empty for the whole split."""
        return str(self.dataset.provenance.get("part", ""))
