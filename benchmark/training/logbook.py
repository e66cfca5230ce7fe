"""The output of a run for people: JSON lines, progress lines, curves, and TensorBoard's files if requested."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmark.replacing import replacing
from benchmark.reporting import Reporter
from benchmark.results.jsonl import append_line, read_lines, replace_lines, to_json
from benchmark.units import clock
from zoo.errors import UserError

LOG, CURVES = "log.jsonl", "curves.png"
# Seconds between two progress lines.
_PAUSE = 10.0


class Logbook:
    """Appends to ``log.jsonl`` and reports progress; it has no influence on the weights."""

    def __init__(self, folder: Path, reporter: Reporter, *, total_steps: int, tensorboard: bool) -> None:
        self.path = folder / LOG
        self.reporter = reporter
        self.total_steps = total_steps
        self._last_line = -_PAUSE
        self._board = _board(folder) if tensorboard else None

    def rewind(self, step: int) -> None:
        """Remove the lines after the checkpoint of ``step``, because a resumed run writes them again.

        The checkpoint's own line may be missing, because a run can be killed right after it saved.
        """
        lines = read_lines(self.path)
        kept = [line for line in lines if line.get("step", 0) <= step]
        if kept and not any(line["kind"] == "checkpoint" and line["step"] == step for line in kept):
            kept.append({"kind": "checkpoint", "step": step})
        if kept == lines:
            return
        if not kept:
            # The run was killed before its first checkpoint, so it begins again.
            self.path.unlink()
            return
        replace_lines(self.path, map(to_json, kept))

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Append one line; its kind is start, train, validation, checkpoint or end."""
        append_line(self.path, {"kind": kind, "step": step, **values})
        if self._board is not None:
            for key, value in values.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{kind}/{key}", value, step)

    def progress(self, step: int, *, loss: float, epoch: int, lr: float, rate: float, seconds_left: float) -> None:
        """Report the progress of the run, at most every ten seconds."""
        now = time.monotonic()
        if now - self._last_line < _PAUSE and step != self.total_steps:
            return
        self._last_line = now
        self.reporter.note(
            f"step {step}/{self.total_steps}  epoch {epoch}  loss {loss:.5g}  lr {lr:.3g}"
            f"  {rate:.1f} images/s  {clock(seconds_left)} left"
        )

    def scored(self, step: int, scores: dict[str, float]) -> None:
        """Report the scores of a validation."""
        text = "  ".join(f"{id} {value:.4f}" for id, value in scores.items())
        self.reporter.note(f"step {step}/{self.total_steps}  validation  {text}")

    def draw_curves(self) -> None:
        """Draw the training loss and each score of the log over the steps as a PNG, atomically."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        lines = read_lines(self.path)
        train = [line for line in lines if line["kind"] == "train"]
        scored = [line for line in lines if line["kind"] == "validation"]
        ids = list(scored[0]["scores"]) if scored else []
        figure = Figure(figsize=(7, 2.6 * (1 + len(ids))), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1 + len(ids), 1, sharex=True, squeeze=False)[:, 0]
        axes[0].plot([line["step"] for line in train], [line["loss"] for line in train], color="#2a6fbb", lw=1)
        if train and min(line["loss"] for line in train) > 0:
            axes[0].set_yscale("log")
        axes[0].set_ylabel("training loss")
        for axis, id in zip(axes[1:], ids):
            points = [(line["step"], line["scores"][id]) for line in scored if not isinstance(line["scores"][id], str)]
            axis.plot(*zip(*points), color="#b5482a", marker="o", ms=3, lw=1)
            axis.set_ylabel(id)
        for axis in axes:
            axis.grid(alpha=0.3)
        axes[-1].set_xlabel("step")
        with replacing(self.path.with_name(CURVES)) as partial:
            figure.savefig(partial, dpi=110, format="png")

    def close(self) -> None:
        """Finish TensorBoard's file."""
        if self._board is not None:
            self._board.close()


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "recipe: tensorboard: the package is not installed; pip install tensorboard, or leave the key out."
        ) from None
    return SummaryWriter(str(folder / "tensorboard"))
