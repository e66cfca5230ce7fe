"""Compare other counters with the count of record, layer by layer, and explain the differences.

Counters that hook modules see only layers of classes they know, and they count more than multiply-accumulates.
Each difference is explained by this network itself: the counter's tally of a layer, the operations that the layer
runs, and the elements that it returns. The differences of a counter sum to its distance from the count of record.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils._pytree import tree_leaves

from benchmark.counting.conventions import ptflops_2021
from benchmark.counting.trace import Trace, incomplete_text, uncompiled
from benchmark.units import listed
from zoo.errors import in_one_line

COUNTERS = ("thop", "ptflops", "ptflops-2021")
Parts = list[tuple[str, int]]
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)


@dataclass
class _Tally:
    """A counter's results: in total, per layer whose module it knows, and through functions that it replaced."""

    total: int | None = None
    layers: dict[str, int] = field(default_factory=dict)
    functions: int = 0
    failure: str = ""


@dataclass(frozen=True)
class _Evidence:
    """What is known of each layer of a network: its module, and the number of elements it returns."""

    modules: Mapping[str, nn.Module]
    elements: Mapping[str, int]


def audit_counters(record: Trace, model: nn.Module, build: Callable[[], nn.Module]) -> dict[str, Any]:
    """Return what thop, ptflops and the convention ``ptflops-2021`` count as MACs, beside ``record.macs``.

    ``model`` is the traced network on the meta device; counters get copies of it, or what ``build()`` returns.
    thop only reads shapes; ptflops really runs the network, so ``record`` should be traced with a small image. A
    counter that is not installed or fails is None. ``reasons`` lists each difference; its ``because`` names the layers.
    An incomplete count of record is a reason without a difference, for "zoo-bench" and for each counter.
    """
    planes = torch.empty(record.input_shape, device="meta")
    with uncompiled():
        evidence = _examine(model, planes)
        thop, ptflops = _run(_count_thop, lambda: copy.deepcopy(model), planes), _run_ptflops(build, planes)
    tallies = {"thop": thop, "ptflops": ptflops}
    reasons = [
        {"counter": counter, "difference": difference, "because": because}
        for counter, tally in tallies.items()
        for because, difference in _explain(tally, record, evidence)
    ]
    reasons += [
        {"counter": "ptflops-2021", "difference": difference, "because": because}
        for because, difference in _explain_convention(record, evidence)
    ]
    totals = {counter: tally.total for counter, tally in tallies.items()} | {"ptflops-2021": ptflops_2021(record)}
    if text := incomplete_text(record.missing_ops):
        known = [counter for counter, total in totals.items() if total is not None]
        reasons.append({"counter": "zoo-bench", "difference": None, "because": text})
        reasons += [{"counter": c, "difference": None, "because": f"the count of record is {text}"} for c in known]
    return {
        "audit_input_shape": list(record.input_shape),
        "zoo-bench": record.macs,
        **totals,
        "reasons": reasons,
    }


class _Watched(nn.Module):
    """Run a network, then read a counter's tally of every layer before the counter clears it."""

    def __init__(self, network: nn.Module, attribute: str, tally: _Tally) -> None:
        super().__init__()
        self.network = network
        self._attribute = attribute
        self._tally = tally

    def forward(self, planes: Tensor) -> Any:
        """Run the network."""
        try:
            output = self.network(planes)
        except Exception as error:
            # ptflops prints the exceptions that it catches, and returns None.
            self._tally.failure = in_one_line(error)
            raise
        for name, module in _named(self.network).items():
            self._tally.layers[name] = int(getattr(module, self._attribute, 0))
        # ptflops replaces functions by objects that collect counts; thop does not.
        for function in (F.relu, torch.matmul):
            self._tally.functions += int(sum(getattr(function, "collector", ())))
        return output


def _count_thop(network: nn.Module, planes: Tensor, tally: _Tally) -> None:
    if sys.version_info >= (3, 12):
        import setuptools  # noqa: F401  # thop imports distutils, which lives there now
    import thop

    tally.total = int(thop.profile(_Watched(network, "total_ops", tally), inputs=(planes,), verbose=False)[0])


def _count_ptflops(network: nn.Module, planes: Tensor, tally: _Tally) -> None:
    from ptflops import get_model_complexity_info

    counted, _ = get_model_complexity_info(
        _Watched(network, "__flops__", tally),
        tuple(planes.shape[1:]),
        print_per_layer_stat=False,
        as_strings=False,
        input_constructor=lambda _: planes,
    )
    tally.total = None if counted is None else int(counted)


def _run_ptflops(build: Callable[[], nn.Module], planes: Tensor) -> _Tally:
    # Meta tensors cannot be used: their kernels are Python code that calls the functions which ptflops replaces.
    with torch.random.fork_rng(devices=[]):
        return _run(_count_ptflops, build, torch.zeros(planes.shape))


def _run(count: Callable[[nn.Module, Tensor, _Tally], None], make: Callable[[], nn.Module], planes: Tensor) -> _Tally:
    """Count on a separate network and print nothing; a failure of the counter becomes part of the tally."""
    tally = _Tally()
    try:
        with _silence(), torch.no_grad():
            count(make().eval(), planes, tally)
    except ImportError as error:
        tally.failure = f"not available ({error}); it comes with pip install 'zoo-bench[audit]'"
    except Exception as error:
        tally.failure = tally.failure or in_one_line(error)
    if tally.total is None and not tally.failure:
        tally.failure = "the counter returned nothing"
    return tally


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Discard a counter's prints, warnings and logs, and remove the log handler that it adds."""
    handlers = logging.root.handlers[:]
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.root.handlers[:] = handlers


def _examine(model: nn.Module, planes: Tensor) -> _Evidence:
    modules = _named(model)
    names = {module: name for name, module in modules.items()}
    elements: Counter[str] = Counter()

    def note(module: nn.Module, args: Any, output: Any) -> None:
        if module in names:
            elements[names[module]] += sum(leaf.numel() for leaf in tree_leaves(output) if isinstance(leaf, Tensor))

    modes = {module: getattr(module, "training", False) for module in model.modules()}
    hook = register_module_forward_hook(note)
    try:
        with torch.no_grad():
            model.eval()(planes)
    finally:
        hook.remove()
        for module, training in modes.items():
            module.training = training
    return _Evidence(modules, elements)


def _kinds(record: Trace, layer: str) -> str:
    """Describe in words the counted operations that a layer itself runs."""
    return " and ".join(sorted({_kind(op) for op in record.layer_ops.get(layer, ())}))


def _kind(op: str) -> str:
    if "conv" in op:
        return "convolutions"
    return "attention" if "attention" in op else "linear layers and matrix products"


def _explain(tally: _Tally, record: Trace, evidence: _Evidence) -> Sequence[tuple[str, int | None]]:
    """Return (because, difference) pairs that sum to the counter's total minus the count of record."""
    if tally.total is None:
        return [(f"not counted: {tally.failure}", None)]
    differences: Counter[str] = Counter()
    layers: dict[str, list[str]] = {}
    for name in {**record.layer_macs, **tally.layers}:
        for cause, difference in _parts(name, tally.layers.get(name, 0), record, evidence):
            differences[cause] += difference
            layers.setdefault(cause, []).append(name or "(no module)")
    # All missed layers are named, because a reader who doubts the count has to look at each of them.
    named = {cause: listed(names, 100 if "missed" in cause else 8) for cause, names in layers.items()}
    parts = [(f"{cause}: {named[cause]}", difference) for cause, difference in differences.items()]
    if tally.functions:
        parts.append(("functions that it replaces (activations, pooling, resizing, sums, products)", tally.functions))
    rest = tally.total - record.macs - sum(difference for _, difference in parts)
    if rest:
        parts.append(("not explained by the trace (modules that are nested or shared, as it adds them up)", rest))
    return sorted(parts, key=lambda part: -abs(part[1]))


def _parts(name: str, counted: int, record: Trace, evidence: _Evidence) -> Parts:
    """Split one layer's difference into causes that its module and its output show."""
    module, macs = evidence.modules.get(name), record.layer_macs.get(name, 0)
    rest = counted - macs
    if not rest:
        return []
    if not counted:
        functional = "" if isinstance(module, (*_CONVOLUTIONS, nn.Linear)) else "functional "
        where = f"in {type(module).__name__}, a class it does not know," if module is not None else "outside modules"
        return [(f"{functional}{_kinds(record, name) or 'operations'} {where} are missed", rest)]
    if not macs:
        return [(f"operations without multiply-accumulates are counted, {type(module).__name__}", rest)]
    parts: Parts = []
    elements = evidence.elements.get(name, 0)
    if isinstance(module, _TRANSPOSED):
        excess = module.weight.numel() * (elements // module.out_channels) - macs
        if excess and rest - excess in (0, elements):
            times = (macs + excess) / macs
            parts.append((f"transposed convolutions are counted on output pixels, {times:.3g} times too many", excess))
            rest -= excess
    if rest:
        parts.append((_other_cause(module, rest, macs, elements), rest))
    return parts


def _other_cause(module: nn.Module | None, difference: int, macs: int, elements: int) -> str:
    if getattr(module, "bias", None) is not None and difference == elements:
        return "biases are counted, one per output element"
    if difference > 0 and difference % macs == 0:
        return f"layers are counted {difference // macs + 1} times, as those with several names are"
    return f"{type(module).__name__} has a formula of its own"


def _explain_convention(record: Trace, evidence: _Evidence) -> Parts:
    """Return the parts of ``ptflops-2021``, which is a function of the same trace."""
    excess = record.output_pixel_macs - record.macs
    norms = 2 * sum(item.elements for item in record.uncounted_ops if "batch_norm" in item.op)
    activations = ptflops_2021(record) - record.output_pixel_macs - record.conv_bias_elements - norms
    names = [name for name in record.layer_macs if isinstance(evidence.modules.get(name), _TRANSPOSED)]
    macs = sum(record.layer_macs[name] for name in names)
    # Transposed convolutions outside of modules have no name here, and would distort the ratio.
    functional = any(
        "convolutions" in _kinds(record, name) and not isinstance(evidence.modules.get(name), _CONVOLUTIONS)
        for name in record.layer_ops
    )
    ratio = f", {(macs + excess) / macs:.3g} times too many" if macs and not functional else ""
    where = f": {listed(names, 8)}" if names else ""
    parts = [
        (f"transposed convolutions are counted on output pixels{ratio}{where}", excess),
        ("biases of convolutions are counted, one per output element", record.conv_bias_elements),
        ("norms are counted, two per element", norms),
        ("ReLU-like activations are counted, one per element", activations),
    ]
    return [part for part in parts if part[1]]


def _named(model: nn.Module) -> dict[str, nn.Module]:
    """Return modules by the names that traces give them."""
    return {name or type(model).__name__: module for name, module in model.named_modules()}
