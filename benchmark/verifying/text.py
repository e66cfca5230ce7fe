"""A comparison as lines for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from benchmark.cleaning import visible
from benchmark.units import listed, shape_text
from benchmark.verifying.hints import difference_text, names_of
from benchmark.verifying.layers import worst
from benchmark.verifying.messages import Layer, Rule, Transfer, Verdict

_RULES: dict[Rule, str] = {
    "name": "by name",
    "suffix": "by the end of the name",
    "shape": "by a shape that only they have",
    "order": "by shape and order",
}
_MOST_LAYERS, _BEFORE = 12, 3


def verdict_text(found: Verdict, *, details: bool) -> str:
    """Return a comparison as text; with ``details`` all layers and all pairs of names."""
    lines = [f"{found.model} against {found.against}"]
    for transfer in found.transfers:
        lines += _transfer_lines(transfer, details)
    lines += _layer_lines(found.layers, details)
    lines.append("  outputs, largest difference:")
    for one in found.passes:
        said = f"refused: {one.refused}" if one.output is None else difference_text(one.output)
        lines.append(f"    {shape_text(one.input_shape):16} {said}")
    if found.fingerprint:
        values = found.fingerprint.values
        apart = found.fingerprint_deviation
        beside = "" if apart is None else f"; the class's differs by {apart:.1e} of the spread" if apart else ", both"
        lines.append(
            f"  fingerprint       sha256 {found.fingerprint.sha256[:16]}, mean {values['mean']:.6f},"
            f" std {values['std']:.6f}{beside}"
        )
    lines += [f"  note: {note}" for note in found.notes]
    if found.first_difference:
        lines.append(f"  first difference  {found.first_difference}")
    if found.hint:
        lines.append(f"  hint              {found.hint}")
    verdict = "agrees" if found.agrees else "DIFFERS"
    lines.append(f"{verdict} within a relative {found.tolerance:g} ({found.precision})")
    # A class may give its modules any names.
    return "\n".join(map(visible, lines))


def _transfer_lines(transfer: Transfer, details: bool) -> Iterator[str]:
    counts = Counter(one.rule for one in transfer.mapped)
    said = [f"{counts[rule]} {_RULES[rule]}" for rule in _RULES if counts[rule]]
    how = "loaded as `weights import` does, every key and shape fits" if transfer.strictly else ", ".join(said)
    yield f"  weights           {transfer.source} -> {transfer.target}: {how or 'there are none'}"
    pairs = [one for one in transfer.mapped if details or one.rule in ("shape", "order")]
    for one in pairs if details else pairs[:3]:
        if one.source != one.target:
            yield f"    {one.source} -> {one.target}"
    if transfer.unused:
        yield f"    LEFT OVER in {transfer.source}: {listed(transfer.unused, len(transfer.unused) if details else 4)}"
    if transfer.unfilled:
        names = listed(transfer.unfilled, len(transfer.unfilled) if details else 4)
        yield f"    LEFT OVER in {transfer.target}, where they stay random: {names}"


def _layer_lines(layers: list[Layer], details: bool) -> Iterator[str]:
    """Yield the layers around the first that differs, or one line if all agree; with ``details`` all of them."""
    apart = [index for index, layer in enumerate(layers) if not layer.output.ok]
    if not layers or not (apart or details):
        largest = difference_text(worst(layer.output for layer in layers))
        yield f"  layers            {len(layers)} correspond" + (f", largest difference: {largest}" * bool(layers))
        return
    begin = max(0, min(apart[0] - _BEFORE, len(layers) - _MOST_LAYERS)) if apart else 0
    shown = layers if details else layers[begin : begin + _MOST_LAYERS]
    names = [names_of(one) for one in shown]
    width = max(map(len, names))
    yield f"  layers            largest difference of {len(shown)} of {len(layers)}{'' if details else ' (-v: all)'}"
    for name, layer in zip(names, shown):
        yield f"    {' ' if layer.output.ok else '!'} {name:{width}}  {difference_text(layer.output)}"
