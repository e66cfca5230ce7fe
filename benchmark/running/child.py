"""The work of one model's process for a record: count its costs, run the images through it, score them.

It runs in a child process (or in the parent, for models that a child could not load). It sends each result at once, so
that a model that crashes half-way leaves its costs, and it writes the scores of each image to the store's journal.
"""

from __future__ import annotations

import hashlib
import socket
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.costs.prediction import predicted_of
from benchmark.costs.profiling import CostError, count_costs, meta_model, trace_card, trace_or_run
from benchmark.fullres.network import FullNetwork, reporting
from benchmark.fullres.subject import subject_of
from benchmark.host.calls import Emit, child_call
from benchmark.host.environment import code_of_tool
from benchmark.imaging.alignment import Shift
from benchmark.imaging.pictures import Row, save_pictures, save_sheet, show_input
from benchmark.imaging.shift_plots import save_shift_histogram, shifts_text
from benchmark.metrics import score_text
from benchmark.opening import card_at, open_split
from benchmark.placing import Placed
from benchmark.reporting import Relay
from benchmark.results.fingerprint import take_fingerprint
from benchmark.results.journal import Journal, Scores
from benchmark.results.store import Store
from benchmark.running.messages import Counted, Done, ImageDone, ImageScored, Same, Shard, Work
from benchmark.scoring.evaluation import Phases, as_picture, evaluate_images, run_sample, with_sigma
from benchmark.selection import Entry, entry_of
from benchmark.types import Dataset, DatasetCard, Fingerprint, Sample
from zoo.convention import InputSpec
from zoo.errors import OutputError, SizeError, UserError, in_one_line

SHEET_ROWS = 4
# The most bytes of a picture's name for the model and its options.
LONGEST_LABEL = 180
# These are the same for every image size and are listed once.
_SIZELESS = {"params", "weight_bytes"}


@child_call(Counted, ImageDone)
def count_and_evaluate(request: Work, emit: Emit) -> Done:
    """Count and evaluate one model; emits the costs, then each image that is done.

    Raises OutputError for a model that does not return one image.
    """
    entry = entry_of(request.model, request.weights, request.options, label=request.label)
    phases = Phases()
    if request.sizes:
        with phases.timing("costs"):
            counted, fault = count_at_sizes(entry, request.sizes)
            emit(counted)
        if fault:
            # Its costs are known, but it cannot be compared with networks that return an image.
            raise OutputError(fault)
    done = _Evaluation(request, entry, phases, emit).run() if request.evaluate else Done()
    return done.model_copy(update={"phases": dict(phases.seconds)})


@child_call(ImageScored)
def score_shard(request: Shard, emit: Emit) -> Done:
    """Score some of the images of one model, perhaps on another machine than the one where the run was started.

    Emits the scores of each image. Raises UserError if weights or images are not those of the run, and if code or torch
    are not, unless ``request.same.mixed`` allows it: then the scores say so.
    """
    work, phases = request.work, Phases()
    entry = entry_of(work.model, request.weights, work.options, label=work.label)
    by = check_same(request.same, entry)
    with tempfile.TemporaryDirectory() as folder:
        # Nothing is written there: the scores go to the journal of the run.
        part = _Evaluation(work.model_copy(update={"store": folder}), entry, phases, emit)
        _refuse(f"the content of the images in {work.root}", part.data.digest(request.limit), request.digest)
        chosen = {part.data.ids[index] for index in request.images}
        others = dict.fromkeys(set(part.data.ids[: work.count]) - chosen, "in another shard")
        part.score(part.network(), _Sending(emit, part.journal.path, by), leave_out=work.leave_out | others)
    return Done(phases=dict(phases.seconds))


def check_same(same: Same, entry: Entry) -> str:
    """Return in words what differs here from the machine where a run was started; empty if nothing does.

    Raises UserError for other weights, and for other code and another torch unless ``same.mixed`` allows them.
    """
    here = Same(
        weights=entry.weights_digest, code=entry.card.code_digest, tool=code_of_tool(), torch=str(torch.__version__)
    )
    what = {"torch": "torch", "tool": "the code of zoo-bench", "code": f"the code of {entry.card.name}"}
    differing = {name: text for name, text in what.items() if getattr(here, name) != getattr(same, name)}
    for name, text in ({} if same.mixed else differing).items():
        advice = "; --mixed-nodes uses such a node all the same, and names it in the record"
        _refuse(text, getattr(here, name), getattr(same, name), advice)
    _refuse(f"the weights of {entry.card.name}", here.weights, same.weights)
    words = [f"torch {here.torch}" if name == "torch" else f"other {text[4:]}" for name, text in differing.items()]
    return f"{socket.gethostname()}: {', '.join(words)}" if words else ""


def _refuse(what: str, found: str | None, expected: str | None, advice: str = "") -> None:
    if found != expected:
        raise UserError(
            f"{what} is {found} here and {expected} where the run was started; install or copy the same to every node"
            f"{advice}."
        )


class _Sending(Journal):
    """A journal without a file: the scores are sent to the process that keeps them."""

    def __init__(self, emit: Emit, path: Path, by: str) -> None:
        super().__init__(path)
        self._emit, self._by = emit, by

    def append(
        self,
        id: str,
        scores: Scores,
        shift: tuple[float, float] | None = None,
        *,
        scene: str = "",
        sigma: float | None = None,
        by: str = "",
    ) -> None:
        """Send the scores of one image."""
        self._emit(ImageScored(id=id, scores=scores, shift=shift, scene=scene, sigma=sigma, by=by or self._by))


def count_at_sizes(entry: Entry, sizes: Mapping[str, list[int]]) -> tuple[Counted, str | None]:
    """Return a model's costs at ``sizes``, and a description of its output if that is not one image (else None)."""
    counted = Counted(costs={}, predicted={}, output_shapes={}, notes=[])
    fault: str | None = None
    model = meta_model(entry.card, entry.options)
    for suffix, (height, width) in sizes.items():
        try:
            if suffix:
                traced = trace_card(entry.card, entry.options, (height, width), model)
            else:
                traced, note = trace_or_run(entry.card, entry.options, (height, width), model)
                counted.notes.extend([note] if note else [])
        except (CostError, SizeError) as error:
            counted.notes.append(str(error))
            continue
        fault = fault or traced.output_fault
        counted.predicted[suffix] = predicted_of(traced, model)
        counted.output_shapes[suffix] = list(traced.output_shape)
        for id, cost in count_costs(model, traced).items():
            if id in _SIZELESS:
                counted.costs[id] = cost
            else:
                counted.costs[id + suffix] = cost.model_copy(update={"input_shape": list(traced.input_shape)})
    return counted, fault


def digest_of_ids(ids: Sequence[str]) -> str:
    """Return a digest of the ids of the images; the content of the files does not matter."""
    return hashlib.sha256("\n".join(ids).encode("utf-8", "surrogateescape")).hexdigest()


class _Evaluation:
    """One model over the images of one record."""

    def __init__(self, task: Work, entry: Entry, phases: Phases, emit: Emit) -> None:
        self.task, self.entry, self.phases, self.emit = task, entry, phases, emit
        self.card: DatasetCard = card_at(task.dataset, task.root, **task.dataset_options)
        flags = {"skip_bad": task.skip_bad, "partial": task.partial}
        self.data: Dataset = open_split(self.card, Path(task.root), task.split, **flags)
        if digest_of_ids(self.data.ids[: task.count]) != task.images:
            raise UserError(
                f"{self.data.name}: the images in {task.root} are not those with which this run began. Wait until"
                " nothing is added or removed there and run again."
            )
        self.spec: InputSpec = entry.card.input_for(entry.options)
        self.store = Store(task.store)
        self.journal = self.store.journal(task.key, again=task.again)

    def run(self) -> Done:
        task = self.task
        with self.phases.timing("build"):
            model = self.network()
        shown = {self.data.ids[index] for index in _shown(task.count)}
        kept: dict[str, tuple[Sample, Tensor]] = {}

        def keep(sample: Sample, output: Tensor) -> None:
            if sample.id in shown:
                kept[sample.id] = (sample, output)

        # The steps after the images are not reported.
        with reporting(model, Relay(self.emit)):
            advance = lambda: self.emit(ImageDone())  # noqa: E731
            scores, skipped = self.score(model, self.journal, leave_out=task.leave_out, advance=advance, keep=keep)
            # Neither is a time of the network, and both are spent at the first image of a size.
            before = {"compile": model.compile_seconds} if isinstance(model, (Placed, FullNetwork)) else {}
            before |= {"tiles": model.deciding_seconds} if isinstance(model, FullNetwork) else {}
            self.phases.seconds.update(before)
            self.phases.seconds["forward"] -= sum(before.values())
            with self.phases.timing("pictures"):
                pictures, gallery = self._save_pictures(self._rows(model, scores, kept))
        tilings = model.tilings("scores") if isinstance(model, FullNetwork) else []
        shift_plot, shifts = self._plot_shifts()
        fingerprint, without = self._fingerprint(model)
        return Done(
            n=len(scores),
            skipped=skipped,
            tilings=tilings,
            pictures=pictures,
            gallery=gallery,
            shift_plot=shift_plot,
            fingerprint=fingerprint,
            notes=[note for note in (shifts, self._estimates(), without) if note],
        )

    def _fingerprint(self, model: nn.Module) -> tuple[Fingerprint | None, str | None]:
        """Return the network's fingerprint, or the reason why there is none: some networks take no image this small."""
        with self.phases.timing("fingerprint"):
            try:
                return take_fingerprint(model, self.spec, seed=self.task.seed), None
            except Exception as error:
                # The images have run through the network, so an error here is not a failure of the record.
                return None, f"no output fingerprint: {in_one_line(error)}"

    def _plot_shifts(self) -> tuple[str | None, str | None]:
        """Draw the shifts that aligned scores found; return the path and a summary, or None if there are no shifts."""
        shifts = [Shift(*shift) for shift in self.journal.shifts().values()]
        if not shifts:
            return None, None
        label = self.entry.label
        path = self.store.root / "images" / self.data.name / f"{self._picture_name()}_shifts.png"
        save_shift_histogram(path, f"{label} on {self.data.name} {self.data.split}", shifts)
        return str(path.relative_to(self.store.root)), shifts_text(shifts)

    def _estimates(self) -> str | None:
        """Return a summary of the estimated levels of noise, or None if there are none."""
        found = sorted(self.journal.sigmas().values())
        if not found:
            return None
        return (
            f"sigma estimated by scikit-image, mean over channels: median {statistics.median(found):.2f},"
            f" {found[0]:.2f} to {found[-1]:.2f}"
        )

    def score(
        self,
        model: nn.Module,
        journal: Journal,
        *,
        leave_out: Mapping[str, str],
        advance: Callable[[], None] = lambda: None,
        keep: Callable[[Sample, Tensor], None] = lambda sample, output: None,
    ) -> tuple[dict[str, Scores], dict[str, str]]:
        """Score the images but those in ``leave_out`` (see ``evaluate_images``)."""
        task = self.task
        return evaluate_images(
            model,
            self.spec,
            self.data,
            task.count,
            protocol=self.card.protocol,
            metrics=task.metrics,
            scoring=task.scoring,
            sigma=task.conditions.sigma,
            skip_bad=task.skip_bad,
            leave_out=leave_out,
            journal=journal,
            phases=self.phases,
            note=Relay(self.emit).note,
            advance=advance,
            keep=keep,
        )

    def network(self) -> nn.Module:
        """Return the network with its weights, under the conditions of the record."""
        conditions = self.task.conditions
        model = self.entry.build(seed=self.task.seed)
        if conditions.is_tiled:
            return FullNetwork(subject_of(self.entry, model), conditions, self.task.memory_limit).eval()
        if conditions.is_plain:
            return model
        return Placed(model, conditions, self.entry.quantized_file(conditions)).eval()

    def _rows(
        self, model: nn.Module, scores: Mapping[str, Scores], kept: dict[str, tuple[Sample, Tensor]]
    ) -> list[Row]:
        rows = []
        for index in _shown(self.task.count):
            id = self.data.ids[index]
            if id not in scores:
                continue
            # After a resumed run the output for the picture is computed again.
            if id not in kept:
                sample = with_sigma(self.data[index], self.spec, self.task.conditions.sigma)
                kept[id] = (sample, run_sample(model, sample, self.spec))
            sample, output = kept[id]
            values = (score_text(name, value) for name, value in scores[id].items())
            pictures = (show_input(sample), as_picture(output), as_picture(sample.target))
            rows.append(Row(", ".join([f"image {id}", *values]), *pictures, id=str(id), scores=scores[id]))
        return rows

    def _save_pictures(self, rows: Sequence[Row]) -> tuple[str | None, str | None]:
        """Write the contact sheet and, in a folder that the record's key names, the separate pictures; return both."""
        if not rows:
            return None, None
        label = self.entry.label
        folder = self.store.root / "images" / self.data.name
        pictures = folder / self._picture_name()
        sheet = pictures.with_name(f"{pictures.name}.png")
        save_sheet(sheet, f"{label} on {self.data.name} {self.data.split}: {self.entry.evidence}", rows)
        save_pictures(pictures, rows)
        root = self.store.root
        return str(sheet.relative_to(root)), str(pictures.relative_to(root))

    def _picture_name(self) -> str:
        """Return the name of the record's pictures, with its key: those of another record stay as they are."""
        return f"{_file_name(self.entry.label)}_{self.task.key[:8]}"


def _shown(count: int) -> list[int]:
    """Return the indices of the images on the contact sheet: first, last and evenly between."""
    rows = min(SHEET_ROWS, count)
    return [index * (count - 1) // max(rows - 1, 1) for index in range(rows)]


def _file_name(label: str) -> str:
    name = "".join(sign if sign.isalnum() or sign in "._-" else "_" for sign in label)
    if len(name.encode()) <= LONGEST_LABEL:
        return name
    # With many options the name is too long: file systems take 255 bytes.
    return f"{name[:40]}_{hashlib.sha256(label.encode(errors='backslashreplace')).hexdigest()[:12]}"
