"""The work of the comparing process: build both networks, give them the same weights, run both, compare.

It is a process of its own because the user's code may print, crash or leave. The comparison is in float64, where
rounding is far below any mistake; a class that takes only float32 is compared in that, with a wider tolerance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.host.calls import Emit, child_call
from benchmark.regression.comparing import deviation
from benchmark.reporting import Relay, Reporter
from benchmark.results.fingerprint import take_fingerprint
from benchmark.selection import Entry, entry_of, jsonable_options
from benchmark.types import Fingerprint
from benchmark.verifying.against import Against, built, call, reason
from benchmark.verifying.comparing import Comparison, Float32OnlyError, Pair, shapes_for
from benchmark.verifying.hints import first_difference
from benchmark.verifying.layers import have_same_weights
from benchmark.verifying.messages import Precision, Request, Transfer, Verdict
from benchmark.verifying.sharing import Side, share_file, share_random
from zoo.errors import UserError, in_one_line, line_of, shortened
from zoo.weights import Checkpoint, read_checkpoint

# Relative to the largest value of an output. Copied weights are equal; converted ones were rounded to float32.
COPIED, CONVERTED, IN_FLOAT32 = 1e-6, 1e-5, 1e-4
# With copied weights in float64: what rounding alone does stays below the first, a constant that was rounded to float32
# changes a layer by less than the second.
EQUAL, ROUNDED = 1e-9, 2e-7
_LEFT_OVER = "not all weights have a counterpart; see to that first, with --init, --set or --map"


@child_call()
def compare(request: Request, emit: Emit) -> Verdict:
    """Compare a model with the user's class; raises UserError for bad input, and for code of the user that fails."""
    try:
        return _compare(request, Relay(emit))
    except UserError as error:
        # The parent knows its subclasses only by name, and what they tell apart does not matter here.
        raise UserError(str(error)) from error
    except Exception as error:
        # A class may replace methods of nn.Module that are called everywhere.
        if line_of(error) is None:
            raise
        raise UserError(f"--against {shortened(request.against)} fails: {reason(error)}.") from error


def _compare(request: Request, reporter: Reporter) -> Verdict:
    entry, file, refusal = _entry(request)
    spec = entry.card.input_for(entry.options)
    ours = entry.build(seed=request.seed)
    shapes = shapes_for(spec, request.size)
    with built(request.against, request.init) as network:
        name = request.against.rpartition(":")[2]
        name = f"{name} (theirs)" if name == entry.label else name
        theirs = Against(name, network, request.convention, spec)
        pair = Pair(entry.label, ours, theirs, spec, request.seed)
        transfers = _share(pair, pair.planes(shapes[0]), entry, file, refusal, request)
        fingerprint, deviates, notes = _fingerprints(pair)
        copied = have_same_weights(ours, network)
        precision: Precision = "float64"
        tolerance = request.tolerance or (COPIED if copied else CONVERTED)
        of_layers = EQUAL if copied and not request.tolerance else tolerance
        try:
            found = Comparison(pair, torch.float64, tolerance, of_layers).run(shapes, reporter)
        except Float32OnlyError as error:
            precision, tolerance = "float32", request.tolerance or IN_FLOAT32
            notes.append(f"compared in float32, because in float64 {error}")
            of_layers = tolerance
            found = Comparison(pair, torch.float32, tolerance, of_layers).run(shapes, reporter)
    layers = list(found.layers.values())
    apart = max(one.output.relative or 0.0 for one in found.passes if one.output)
    agrees = all(one.output is None or one.output.ok for one in found.passes)
    if agrees and apart > of_layers:
        # A small mistake in one layer may fade on the way to the output.
        agrees = not any(
            layer.input.ok and (layer.output.relative or 0.0) > max(of_layers, ROUNDED) for layer in layers
        )
        notes.append(
            f"the outputs differ by a relative {apart:.1e}, which is more than rounding in float64: a constant was"
            " rounded, or a small one (an epsilon) is another"
        )
    left_over = any(one.unused or one.unfilled for one in transfers)
    return Verdict(
        model=entry.card.name,
        options=jsonable_options(entry.options),
        evidence=entry.evidence,
        weights=entry.weights_record(),
        against=request.against,
        agrees=agrees,
        precision=precision,
        tolerance=tolerance,
        transfers=transfers,
        passes=found.passes,
        layers=layers,
        first_difference=None if agrees else first_difference(layers, ours, network),
        hint=found.hint or (_LEFT_OVER if left_over and not agrees else None),
        fingerprint=fingerprint,
        fingerprint_deviation=deviates,
        notes=[*([refusal] if refusal else []), *notes, *found.notes],
    )


def _entry(request: Request) -> tuple[Entry, Checkpoint | None, str | None]:
    """Return the model, the file as it is and, if the file does not fit the model, the reason."""
    if request.weights is None:
        return entry_of(request.model, None, request.options), None, None
    file = read_checkpoint(request.weights, take=request.take)
    try:
        return entry_of(request.model, request.weights, request.options, take=request.take), file, None
    except UserError as error:
        if "model" in file.metadata:
            raise
        refusal = str(error)
    except Exception as error:
        # The conversion is code of the model, which a contributor may be writing just now.
        refusal = f"{request.model}: {request.weights} cannot be converted: {in_one_line(error)}."
    return entry_of(request.model, None, request.options), file, refusal


def _share(
    pair: Pair, planes: Tensor, entry: Entry, file: Checkpoint | None, refusal: str | None, request: Request
) -> list[Transfer]:
    """Give both networks the same weights; raises UserError if with them the model shows nothing."""
    advice = "" if request.size else " If it needs another size, give one with --size HxW."
    ours = Side(pair.name, pair.ours, lambda: call(pair.name, pair.ours, planes, advice=advice))
    network, name = pair.theirs.network, pair.theirs.name
    theirs = Side(name, network, lambda: call(name, pair.theirs, planes, advice=advice), request.renames)
    theirs.check_renames()
    generator = torch.Generator().manual_seed(request.seed)
    if file is None:
        transfers = share_random(entry, ours, theirs, generator)
    else:
        transfers = share_file(file, refusal, ours, theirs, generator)
    output = call(pair.name, pair.ours, planes)
    if bool((output == output.flatten()[0]).all()):
        raise UserError(
            f"{pair.name} returns the same value everywhere with these weights, so that any network would seem to"
            f" agree; try other ones with --weights or `zoo-bench --seed {request.seed + 1} verify`."
        )
    return transfers


def _fingerprints(pair: Pair) -> tuple[Fingerprint | None, float | None, list[str]]:
    """Return the model's fingerprint, how far the class is from it, and notes on what is missing."""
    try:
        mine = take_fingerprint(pair.ours, pair.spec, seed=pair.seed)
    except Exception as error:
        return None, None, [f"no fingerprint of {pair.name}: {reason(error)}"]
    if pair.theirs.takes_level:
        note = "no fingerprint of the class: its level of noise is one number, in fingerprints it is a map"
        return mine, None, [note]
    try:
        other = take_fingerprint(pair.theirs, pair.spec, seed=pair.seed)
    except Exception as error:
        return mine, None, [f"no fingerprint of {pair.theirs.name}: {reason(error)}"]
    return mine, deviation(mine, other), []
