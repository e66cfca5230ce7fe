"""The costs of a model without running it: parameters, MACs, and memory at any size."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from benchmark.costs.audit import COUNTERS, audit_counters
from benchmark.counting.trace import Trace, trace
from benchmark.profilers import PROFILERS
from benchmark.types import Measurement
from benchmark.units import shape_text
from zoo.card import ModelCard, Task, get_card
from zoo.convention import InputSpec
from zoo.creating import card_of_module
from zoo.errors import BuildError, SizeError, UserError, in_one_line, place_of, shortened, with_place
from zoo.forms import form_note
from zoo.options import resolve_options
from zoo.raw import padded_size

Size = tuple[int, int]
# The sizes of `run --sizes` by task: packed planes of a mosaic, or pixels of an image.
_OF_IMAGES = {"dataset": (256, 256), "1mpix": (1024, 1024), "12mp": (3072, 4096)}
_SIZES_OF_TASK = {"raw2rgb": {"dataset": (224, 224), "1mpix": (512, 512), "12mp": (1536, 2048)}} | dict.fromkeys(
    ("denoise_rgb", "denoise_gray", "enhance_rgb"), _OF_IMAGES
)
# An audit really runs the network; these limits mean about a second, and memory that any machine has.
AUDIT_PEAK_BYTES = 1 << 30
AUDIT_MACS = 50_000_000_000
_LEAST_AUDIT_SIDE = 32


class CostError(UserError):
    """The model cannot be traced; the message explains why, ``reason`` gives it in a few words."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def meta_model(card: ModelCard, options: Mapping[str, Any]) -> nn.Module:
    """Build a model without memory for its weights.

    Raises UserError for options that the model refuses, BuildError if its build function fails.
    """
    resolved = resolve_options(card.name, card.options, options)
    try:
        with torch.device("meta"):
            model = card.create(resolved)
    except UserError:
        raise
    except Exception:
        # A build function that reads values of its tensors needs real tensors; other errors are raised here again.
        model = _build(card, resolved)
    return model.to("meta")


def _build(card: ModelCard, options: Mapping[str, Any]) -> nn.Module:
    try:
        return card.create(options)
    except UserError:
        raise
    except Exception as error:
        raise BuildError(f"{card.name} cannot be built: {with_place(error)}") from error


def trace_card(card: ModelCard, options: Mapping[str, Any], size: Size, model: nn.Module | None = None) -> Trace:
    """Trace one image whose planes have ``size`` before padding.

    Raises SizeError if the size is too small, CostError if the model cannot run on meta tensors.
    """
    spec = card.input_for(options)
    height, width = padded_size(*size, spec)
    model = model or meta_model(card, options)
    planes = torch.empty(1, spec.channels, height, width, device="meta")
    try:
        return trace(model, planes)
    except Exception as error:
        # An exception in a user's forward is a fact about that model, not about the tool.
        raise CostError(
            f"costs of {card.name} at {height}x{width} not counted: {with_place(error)}",
            in_one_line(error),
        ) from error


def trace_or_run(
    card: ModelCard, options: Mapping[str, Any], size: Size, model: nn.Module | None = None
) -> tuple[Trace, str | None]:
    """Trace one image; a model that cannot run on meta tensors really runs, on an image of at most its patch.

    In that case the second value says why, and at which size. Raises SizeError if the size is too small, CostError if
    the model cannot really run either.
    """
    try:
        return trace_card(card, options, size, model), None
    except CostError as error:
        patch = size_for(card)
        small = size if size[0] * size[1] <= patch[0] * patch[1] else patch
        traced = _run_traced(card, options, small, error)
        why = f"{card.name} cannot be followed without running it ({error.reason})"
        return traced, f"{why}; its costs are of a run at {shape_text(traced.input_shape)}"


def _run_traced(card: ModelCard, options: Mapping[str, Any], size: Size, error: CostError) -> Trace:
    spec = card.input_for(options)
    network = _build(card, resolve_options(card.name, card.options, options))
    planes = torch.rand(1, spec.channels, *padded_size(*size, spec), generator=torch.Generator().manual_seed(0))
    try:
        with _plain_operations():
            return trace(network, planes)
    except Exception as failure:
        raise CostError(
            f"costs of {card.name} not counted: neither on meta tensors ({error.reason})"
            f" nor by a run at {size[0]}x{size[1]} ({in_one_line(failure)}){place_of(failure)}",
            in_one_line(failure),
        ) from failure


@contextlib.contextmanager
def _plain_operations() -> Iterator[None]:
    """Let torch run attention and recurrent layers as operations that have formulas, not as fused ones."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            # Some versions warn about missing hardware when a flag is set.
            warnings.simplefilter("ignore")
            with torch.backends.mkldnn.flags(enabled=False):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def count_costs(model: nn.Module, result: Trace) -> dict[str, Measurement]:
    """Return the measurements of every exact profiler by id."""
    measurements: dict[str, Measurement] = {}
    for card in PROFILERS:
        if card.kind == "count":
            measurements |= card.measure(model, result)
    return measurements


def size_for(card: ModelCard, size: Size | str | None = None) -> Size:
    """Return the size of a network's planes: ``size``, or what a name of `run --sizes` means for the network's task.

    By default that is "dataset", the patch of the task's dataset: ZRR 224x224 packed, SIDD 256x256.
    """
    if size is not None and not isinstance(size, str):
        return size
    named = _SIZES_OF_TASK[card.task]
    if (name := size or "dataset") not in named:
        raise UserError(f"no size called '{shortened(name)}'; expected (height, width) or one of {', '.join(named)}.")
    return card.input.plane_size(named[name])


def audit_card(card: ModelCard, options: Mapping[str, Any], size: Size) -> dict[str, Any]:
    """Return what other counters say about a model, and why; keys as in ``audit.audit_counters``.

    They run the network, so the image has ``size`` only if that takes at most AUDIT_PEAK_BYTES and AUDIT_MACS; else it
    is the dataset's patch, halved until it is within both limits or a side would be below 32. ``audit_input_shape`` is
    the size used, ``zoo-bench`` the count of record at that size. Raises what ``trace_card`` raises at ``size``.
    """
    network = meta_model(card, options)
    record = _audit_record(card, options, size, network)
    return audit_counters(record, network, lambda: _build(card, resolve_options(card.name, card.options, options)))


def _audit_record(card: ModelCard, options: Mapping[str, Any], size: Size, network: nn.Module) -> Trace:
    record = trace_card(card, options, size, network)
    height, width = size_for(card)
    while record.peak_activation_bytes > AUDIT_PEAK_BYTES or record.macs > AUDIT_MACS:
        if min(height, width) < _LEAST_AUDIT_SIDE:
            break
        if height * width < size[0] * size[1]:
            try:
                record = trace_card(card, options, (height, width), network)
            except (CostError, SizeError):
                # A network that accepts no smaller image is audited at the smallest size that it accepted.
                break
        height, width = height // 2, width // 2
    return record


def profile(
    model: str | nn.Module,
    *,
    size: Size | str | None = None,
    options: Mapping[str, Any] | None = None,
    task: Task | None = None,
    input: InputSpec | None = None,
    layers: bool = False,
    audit: bool = False,
) -> dict[str, Any]:
    """Return the costs of a model as JSON-ready values; keys as in ``zoo-bench profile --json``.

    ``model`` is a registered name, with ``options``, or your own module, with its ``task`` (raw2rgb, denoise_rgb, ...)
    or its ``input`` convention; a module that ``create_model`` built needs neither. ``size`` is the size of the planes
    that the network receives, or one of the names "dataset" (the default: the patch of the dataset of its task),
    "1mpix" and "12mp"; nothing is run and no memory of that size is needed. A note says where planes are padded.
    ``layers`` adds the MACs per layer; ``audit`` adds the results of other counters, which run the network on a small
    image. A model that cannot run on meta tensors is run on an image of at most its dataset's patch; ``input_shape``
    and ``notes`` say so. ``incomplete`` lists operators without a formula that multiply and accumulate, or may do so:
    without them MACs and FLOPs are too low. A model that does not return one image has no ``output_shape``, and a note
    says what it returned. Raises UserError for unknown names, options and sizes that are too small, for a module of
    which nothing says what it receives, and for a model that does not run at all.
    """
    if isinstance(model, str):
        if task is not None or input is not None:
            raise UserError(f"profile: task and input are for a module; the card of {model} says them.")
        card = get_card(model)
    elif options:
        raise UserError("profile: options are for a model by name; a module is built already.")
    else:
        card = card_of_module(model, task=task, input=input, asked_by="profile")
    given = options or {}
    network = meta_model(card, given)
    size = size_for(card, size)
    result, note = trace_or_run(card, given, size, network)
    costs = count_costs(network, result)
    document: dict[str, Any] = {
        "model": card.name,
        "options": dict(resolve_options(card.name, card.options, given)),
        "input_shape": list(result.input_shape),
        "output_shape": list(result.output_shape) or None,
        **{name: measurement.value for name, measurement in costs.items()},
        "peak_conv_layer": result.peak_conv_layer,
        "peak_activation_layer": result.peak_activation_layer,
        "uncounted_ops": [
            {"op": item.op, "calls": item.calls, "elements": item.elements} for item in result.uncounted_ops
        ],
        "incomplete": result.missing_ops,
        "definitions": {name: measurement.definition for name, measurement in costs.items()},
        "notes": [
            text
            for text in (form_note(card, given), _padding_note(card, given, size), note, result.output_fault)
            if text
        ],
    }
    if layers:
        document["layers"] = [
            {"layer": name, "macs": (macs := result.layer_macs.get(name, 0)), "flops": 2 * macs}
            | ({"incomplete": list(result.layer_missing[name])} if name in result.layer_missing else {})
            for name in result.layer_macs | result.layer_missing
        ]
    if audit:
        document |= _audit_part(card, given, size, document["notes"])
    return document


def _padding_note(card: ModelCard, options: Mapping[str, Any], size: Size) -> str | None:
    spec = card.input_for(options)
    padded = padded_size(*size, spec)
    if padded == size:
        return None
    return f"planes of {shape_text(size)} are padded to {shape_text(padded)}, a multiple of {spec.multiple}"


def _audit_part(card: ModelCard, options: Mapping[str, Any], size: Size, notes: list[str]) -> dict[str, Any]:
    try:
        details = audit_card(card, options, size)
    except CostError as error:
        notes.append(f"no audit, which needs the layers of a pass on meta tensors ({error.reason})")
        return {"audit": dict.fromkeys(COUNTERS)}
    return {"audit": {counter: details[counter] for counter in COUNTERS}, "audit_details": details}
