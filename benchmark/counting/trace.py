"""Follow one forward pass operation by operation: what is computed, by which layer, which tensors are in use.

The pass runs on meta tensors, which have shapes but no data: a 12 MP image costs milliseconds and no memory.
Because the model's own code runs, functional convolutions count like modules, and tensors are freed exactly when
they would be in a real run.
"""

from __future__ import annotations

import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import HigherOrderOperator
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmark.counting.formulas import dense_parts, has_formula, macs_of, may_multiply, operator_name
from benchmark.units import listed
from zoo.errors import OutputError
from zoo.outputs import check_output

# Operators that only do bookkeeping: they move no data and compute nothing.
_FREE = {"aten.detach", "aten.alias", "aten.lift_fresh", "aten.empty", "aten.empty_like", "aten.new_empty"}


@dataclass(frozen=True)
class UncountedOp:
    """An executed operation without a formula: how often it ran, and on how many elements (inputs or outputs)."""

    op: str
    calls: int
    elements: int


@dataclass(frozen=True)
class Trace:
    """What one forward pass does; bytes are those of the traced dtype."""

    input_shape: tuple[int, ...]
    # Empty if the pass does not return one image; then ``output_fault`` says what it returned.
    output_shape: tuple[int, ...]
    output_fault: str | None
    macs: int
    # As ``macs``, but transposed convolutions are also counted per output pixel, as some counters do.
    output_pixel_macs: int
    layer_macs: dict[str, int]
    # By layer: the counted operators, and those without a formula that multiply and accumulate, or may do so.
    layer_ops: dict[str, tuple[str, ...]]
    layer_missing: dict[str, tuple[str, ...]]
    uncounted_ops: tuple[UncountedOp, ...]
    conv_output_bytes: int
    # Elements that convolutions with a bias return.
    conv_bias_elements: int
    peak_conv_bytes: int
    peak_conv_layer: str
    peak_activation_bytes: int
    peak_activation_layer: str
    # As ``peak_activation_bytes``, plus an estimate of what the CPU's convolution library needs beside the tensors.
    peak_workspace_bytes: int
    # Bytes that all operations read and write if no cache keeps data between them.
    moved_bytes: int

    @property
    def missing_ops(self) -> list[str]:
        """Operators missing in ``macs`` that multiply and accumulate, or may do so; empty: the count is complete."""
        return sorted({op for ops in self.layer_missing.values() for op in ops})


class _Tracer(TorchDispatchMode):
    # Loops and branches are followed, not refused.
    supports_higher_order_operators = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.layers = LayerNames(model)
        self.macs: Counter[str] = Counter()
        self.counted: dict[str, set[str]] = {}
        self.missing: dict[str, set[str]] = {}
        self.calls: Counter[str] = Counter()
        self.elements: Counter[str] = Counter()
        self.conv_output_bytes = 0
        self.moved_bytes = 0
        self.conv_bias_elements = 0
        self.excess_macs = 0
        self.peak_conv: tuple[int, str] = (0, "")
        self.live_bytes = 0
        self.peak: tuple[int, str] = (0, "")
        self.peak_workspace = 0
        tensors = _tensors([*model.parameters(), *model.buffers()])
        # Weights are not activations, whatever operation returns them.
        self._known = {tensor.untyped_storage()._cdata for tensor in tensors}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not has_formula(func):
            if isinstance(func, HigherOrderOperator):
                return self._follow(func, args, kwargs)
            if is_composite(func):
                # Composite operations (linear, matmul) are counted by the parts that they run.
                with self:
                    return func.decompose(*args, **kwargs)
        output = func(*args, **kwargs)
        self._count(func, args, kwargs, output)
        self.watch(_tensors(output))
        return output

    def _follow(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a loop or a branch; the operations of the functions passed to it are counted."""

        def entered(function: Any) -> Any:
            def run(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return function(*args, **kwargs)

            return run if callable(function) and not isinstance(function, Tensor) else function

        output = func(*map(entered, args), **kwargs)
        if not any(map(callable, args)):
            self._count(func, args, kwargs, output)
            self.watch(_tensors(output))
        return output

    def _count(self, func: Any, args: Any, kwargs: Any, output: Any) -> None:
        layer, name = self.layers.current, operator_name(func)
        idle = getattr(func, "is_view", False) or name in _FREE
        if not idle:
            self.moved_bytes += sum(_touched_bytes(tensor) for tensor in _tensors((args, kwargs, output)))
        macs = macs_of(func, args, kwargs, output)
        if macs is not None:
            self.macs[layer] += macs
            self.counted.setdefault(layer, set()).add(name)
        elif not idle:
            inputs = [tensor.numel() for tensor in _tensors((args, kwargs))]
            outputs = sum(tensor.numel() for tensor in _tensors(output))
            label = str(getattr(func, "_overloadpacket", func))
            self.calls[label] += 1
            self.elements[label] += max([outputs, *inputs])
            if may_multiply(func):
                self.missing.setdefault(layer, set()).add(name)
        if macs is not None and name == "aten.convolution":
            out_bytes = output.nbytes
            self.conv_output_bytes += out_bytes
            weight, bias = args[1:3]
            held = self.live_bytes + out_bytes + _workspace_bytes(args[0], output, transposed=args[6], groups=args[8])
            self.peak_workspace = max(self.peak_workspace, held)
            self.conv_bias_elements += 0 if bias is None else output.numel()
            self.excess_macs += weight.numel() * (output.numel() // output.shape[1]) - macs
            self.peak_conv = max(
                self.peak_conv, (args[0].nbytes + args[1].nbytes + out_bytes, layer), key=itemgetter(0)
            )

    def watch(self, tensors: Iterable[Tensor]) -> None:
        """Count the storages of ``tensors`` as live until they are freed."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            pointer, size = storage._cdata, storage.nbytes()
            if pointer not in self._known:
                self._known.add(pointer)
                self.live_bytes += size
                weakref.finalize(storage, self._free, pointer, size)
        self.peak = max(self.peak, (self.live_bytes, self.layers.current), key=itemgetter(0))

    def _free(self, pointer: int, size: int) -> None:
        self._known.discard(pointer)
        self.live_bytes -= size


class _Leaving(TorchFunctionMode):
    """Record when a pass gives tensors to numpy, because torch's dispatcher does not see numpy's arithmetic."""

    def __init__(self, tracer: _Tracer) -> None:
        super().__init__()
        self.tracer = tracer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.numpy:
            self.tracer.missing.setdefault(self.tracer.layers.current, set()).add("Tensor.numpy")
        return func(*args, **(kwargs or {}))


class LayerNames:
    """The name of the running module: global hooks maintain a stack of qualified names."""

    def __init__(self, model: nn.Module) -> None:
        self._names = {module: name or type(model).__name__ for name, module in model.named_modules()}
        self._stack: list[str] = []

    @property
    def current(self) -> str:
        """The running module's name; empty outside of all modules."""
        return self._stack[-1] if self._stack else ""

    @contextmanager
    def following(self) -> Iterator[None]:
        """Maintain the stack while the block runs."""

        def enter(module: nn.Module, args: Any) -> None:
            self._stack.append(self._names.get(module, self.current))

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            self._stack.pop()

        hooks = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def incomplete_text(operators: Sequence[str]) -> str | None:
    """Return what a reader must know about a count that lacks ``operators``; None if there are none."""
    return f"incomplete: without {listed(operators, 4)} (no formula)" if operators else None


def trace(model: nn.Module, planes: Tensor, forward: Callable[[Tensor], Any] | None = None) -> Trace:
    """Trace ``forward(planes)`` (default: the model itself) in evaluation mode, without gradients.

    ``planes`` (N, C, H, W) and the model's weights should be on the meta device; on another device the pass
    really runs. An output that is not one image is not an error here: ``output_fault`` describes it. Raises every
    exception of the model.
    """
    # A frozen TorchScript network has no training or evaluation mode.
    was_training = getattr(model, "training", False)
    model.eval()
    tracer = _Tracer(model)
    try:
        with torch.no_grad(), uncompiled(), tracer.layers.following():
            tracer.watch([planes])
            with _Leaving(tracer), tracer:
                output = (forward or model)(planes)
    finally:
        model.train(was_training)
    fault = _fault(output)
    uncounted = [UncountedOp(op, calls, tracer.elements[op]) for op, calls in tracer.calls.items()]
    return Trace(
        input_shape=tuple(planes.shape),
        output_shape=() if fault else tuple(output.shape),
        output_fault=fault,
        macs=sum(tracer.macs.values()),
        output_pixel_macs=sum(tracer.macs.values()) + tracer.excess_macs,
        layer_macs=dict(tracer.macs),
        layer_ops={layer: tuple(sorted(ops)) for layer, ops in tracer.counted.items()},
        layer_missing={layer: tuple(sorted(ops)) for layer, ops in tracer.missing.items()},
        uncounted_ops=tuple(sorted(uncounted, key=lambda item: (-item.elements, item.op))),
        conv_output_bytes=tracer.conv_output_bytes,
        conv_bias_elements=tracer.conv_bias_elements,
        peak_conv_bytes=tracer.peak_conv[0],
        peak_conv_layer=tracer.peak_conv[1],
        peak_activation_bytes=tracer.peak[0],
        peak_activation_layer=tracer.peak[1],
        peak_workspace_bytes=max(tracer.peak_workspace, tracer.peak[0]),
        moved_bytes=tracer.moved_bytes,
    )


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run code that a network compiles with torch.compile as written, operation by operation, without warnings."""
    set_stance = getattr(torch.compiler, "set_stance", None)  # since torch 2.6
    with set_stance("force_eager") if set_stance else nullcontext(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using `torch.compile|flex_attention called without", UserWarning)
        yield


def _fault(output: Any) -> str | None:
    try:
        check_output(output)
    except OutputError as error:
        return str(error)
    return None


def is_composite(func: Any) -> bool:
    """Whether torch has no kernel of its own for ``func`` but runs other operations instead."""
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"))


def _tensors(value: Any) -> list[Tensor]:
    """Return the tensors in a value; sparse tensors are replaced by their dense parts."""
    return [part for leaf in tree_leaves(value) if isinstance(leaf, Tensor) for part in dense_parts(leaf)]


def _workspace_bytes(planes: Tensor, output: Tensor, *, transposed: bool, groups: int) -> int:
    """Estimate the bytes that oneDNN needs beside the tensors of a convolution in the plain memory format.

    Measurements show: it copies the input into blocks of 16 channels, computes into such blocks and copies them into
    the output, which takes memory only then, after the input's copy was freed. Transposed convolutions hold two copies
    of the output. Up to 4 channels are read and written without copies, except in depthwise convolutions.
    """
    fewest = 4 if groups == 1 else 0
    source, target = _blocked_bytes(planes, fewest), _blocked_bytes(output, fewest)
    if transposed:
        return 2 * target
    return max(source + target - output.nbytes, target)


def _blocked_bytes(tensor: Tensor, fewest: int) -> int:
    channels = tensor.shape[1]
    return tensor.nbytes // max(channels, 1) * -(-channels // 16) * 16 if channels > fewest else 0


def _touched_bytes(tensor: Tensor) -> int:
    # An expanded tensor has more elements than its memory holds.
    return min(tensor.nbytes, tensor.untyped_storage().nbytes())
