"""All registered pieces, as rows, documents and text for people; here are the models."""

from __future__ import annotations

import fnmatch
import inspect
import re
import sys
from dataclasses import asdict
from typing import Any

from benchmark.catalogue.cards import Lines, laid_out, plain
from benchmark.catalogue.listing import catalogue as catalogue
from benchmark.catalogue.weights import known_weights, weights_lines
from benchmark.costs.profiling import meta_model
from benchmark.counting.trace import incomplete_text
from benchmark.units import GIB, shape_text
from zoo.card import MODELS, ModelCard, get_card
from zoo.convention import InputSpec
from zoo.errors import BuildError
from zoo.official import official_files

_ABOUT_RECONSTRUCTIONS = """\
No source gives all the layers of these networks. What their papers leave open was chosen here, mostly so that
parameters, FLOPs and memory come near the printed ones; so digits that agree confirm nothing (`≈` in
`leaderboards/table1.md` and `table2.md`). Every choice is listed here and by `zoo-bench show MODEL`. This page is made
by `benchmark.catalogue.reconstructions_page` from the networks' files; do not edit."""


def card_document(name: str) -> dict[str, Any]:
    """Return a model's card as JSON-ready values."""
    card = get_card(name)

    def of(source: object, *keys: str) -> dict[str, Any]:
        return {key: getattr(source, key) for key in keys}

    convention = asdict(card.input) | {"channels": card.input.channels}
    if not card.input.is_raw:
        convention |= dict.fromkeys(("planes", "divisor", "black_level", "levels", "floor", "missing"))
    return {
        **of(card, "name", "summary", "task"),
        "params": card.params if (counted := _count(card)) is None else counted,
        "forms": card.forms,
        "options": {o.name: {"type": o.type_name, "default": o.default} for o in card.options.values()},
        "input": convention,
        **of(card, "paper", "licence", "official_weights", "reconstruction", "differences", "global_ops"),
        "weights": [row for row in known_weights() if row["name"] == name],
        "official_files": [asdict(file) for file in official_files() if file.model == name],
        "free_choices": free_choices(card),
        "exact_under_tiling": not card.global_ops,
        "unused_params": card.unused_params,
    }


def free_choices(card: ModelCard) -> list[str]:
    """Return what a network's file lists as chosen freely, where its paper leaves it open, one line for each choice.

    The lists stand in the docstring of the file, which no digest covers: below "Free choices:" for all its networks,
    or below "Free choices of NAME:", which may be a pattern.
    """
    text = inspect.getdoc(sys.modules[card.build.__module__]) or ""
    found = []
    for pattern, items in re.findall(r"^Free choices(?: of (\S+))?:\n\n((?:- .*\n?(?:  .*\n?)*)+)", text, re.MULTILINE):
        if fnmatch.fnmatch(card.name, pattern or "*"):
            found += [" ".join(item.split()) for item in re.split(r"^- ", items, flags=re.MULTILINE)[1:]]
    return found


def reconstructions_page() -> str:
    """Return ``docs/reconstructions.md``: the free choices of all reconstructions that are built in."""
    sections: dict[tuple[str, ...], list[str]] = {}
    for card in MODELS:
        if card.reconstruction and card.is_builtin:
            sections.setdefault((card.paper or "", *free_choices(card)), []).append(f"`{card.name}`")
    lines = ["# Reconstructions", "", _ABOUT_RECONSTRUCTIONS]
    for (paper, *choices), names in sections.items():
        lines += ["", f"## {', '.join(names)}", "", f"{paper}.", "", *(f"- {choice}" for choice in choices)]
    return "\n".join(lines) + "\n"


def card_text(name: str, room: int | None = None) -> str:
    """Return a model's card as text for people, in lines of at most ``room`` characters."""
    return laid_out(f"{name}: {plain(get_card(name).summary)}", card_lines(name), room)


def card_lines(name: str) -> Lines:
    """Return the lines of a model's card below its name: what each is about, and its text."""
    card = get_card(name)
    operations = "; ".join(card.global_ops)
    origin: Lines = [("paper", card.paper or "-"), ("code licence", card.licence or "not stated")]
    if card.is_builtin:
        origin.append(("layout", "reconstruction" if card.reconstruction else "as published"))
    return [
        ("task", card.task),
        ("parameters", _params_text(card)),
        *_form_lines(card),
        *(("option", option.describe()) for option in card.options.values()),
        *_input_lines(card.input),
        *(origin if card.is_builtin or card.paper or card.licence else [("origin", "a model of your own")]),
        *weights_lines(card),
        *(("differs", line) for line in card.differences),
        *(("free choice", line) for line in free_choices(card)),
        ("tiling", f"global operations: {operations}" if operations else "exact: no global operations"),
        *(("unused", line) for line in card.unused_params),
    ]


def _count(card: ModelCard) -> int | None:
    """Return the number of parameters with default options; None if the network cannot be built without its data."""
    try:
        return sum(parameter.numel() for parameter in meta_model(card, {}).parameters())
    except BuildError:
        return None


def _params_text(card: ModelCard) -> str:
    counted = _count(card)
    if counted is None:
        return "cannot be counted" if card.params is None else f"{card.params:,}, as stated; they cannot be counted"
    differs = card.params not in (None, counted)
    return f"{counted:,}" + (f" (counted; the card states {card.params:,})" if differs else "")


def _form_lines(card: ModelCard) -> Lines:
    others = " or ".join(f"form={form}" for form in card.forms[1:])
    lines = (
        f"deploy is counted, timed, scored and exported; {others} has the same output with more parameters",
        "train and sweep use form=training by themselves; its weights are converted when they are loaded",
    )
    return [("forms", line) for line in lines] if card.forms else []


def _input_lines(spec: InputSpec) -> Lines:
    shape = f"(N, {spec.channels}, H, W)"
    low, high = spec.output_range
    scale = "" if spec.output_scale == 1 else f"{spec.output_scale:g}"
    multiples = f"multiples of {spec.multiple} (padded by reflection, cropped back)"
    sizes = "any" if spec.multiple == 1 else multiples
    return [
        *(_raw_lines(spec, shape) if spec.is_raw else _image_lines(spec, shape)),
        ("output", f"(N, {spec.out_channels}, {scale}H, {scale}W) in [{low:g}, {high:g}]"),
        ("sizes", f"{sizes}, at least {spec.min_size}"),
    ]


def profile_text(document: dict[str, Any]) -> str:
    """Return the costs from ``profiling.profile`` as text for people."""
    incomplete = incomplete_text(document["incomplete"])
    beside = f" ({incomplete})" if incomplete else ""
    output = shape_text(document["output_shape"]) if document["output_shape"] else "not one image"
    lines = [
        f"{document['model']}: input {shape_text(document['input_shape'])}, output {output}",
        f"  params                 {document['params']:,}",
        f"  MACs                   {document['macs']:,}{beside}",
        f"  FLOPs (2 per MAC)      {document['flops']:,}{beside}",
        f"  weights                {document['weight_bytes'] / GIB:.3f} GiB",
        f"  conv outputs, sum      {document['conv_output_bytes'] / GIB:.3f} GiB",
        f"  largest convolution    {document['peak_conv_bytes'] / GIB:.3f} GiB in {document['peak_conv_layer'] or '-'}",
        f"  peak of live tensors   {document['peak_activation_bytes'] / GIB:.3f} GiB"
        f" in {document['peak_activation_layer'] or '-'}",
        f"  a pass adds, predicted {document['predicted_rss_bytes'] / GIB:.3f} GiB (CPU, plain memory format)",
        *(f"  note                   {note}" for note in document["notes"]),
        "  executed without a formula (not in MACs):",
    ]
    lines += [f"    {o['op']:42} {o['calls']:6} calls {o['elements']:16,} elements" for o in document["uncounted_ops"]]
    if "layers" in document:
        lines.append(f"  {'per layer':44} {'MACs':>20} {'FLOPs':>20}")
        lines += [
            f"    {o['layer']:42} {o['macs']:20,} {o['flops']:20,}{'  incomplete' if 'incomplete' in o else ''}"
            for o in document["layers"]
        ]
    if "audit_details" in document:
        lines += _audit_lines(document["audit_details"])
    return "\n".join(lines)


def _audit_lines(audit: dict[str, Any]) -> list[str]:
    record = audit["zoo-bench"]
    missing = [f"; {r['because']}" for r in audit["reasons"] if r["counter"] == "zoo-bench"]
    lines = [
        f"  other counters at input {shape_text(audit['audit_input_shape'])}:",
        f"    {'counter':14} {'MACs':>20} {'ratio':>10}  why: difference in MACs",
        f"    {'zoo-bench':14} {record:20,} {1:10.4f}  the count in records{''.join(missing)}",
    ]
    for counter in ("thop", "ptflops", "ptflops-2021"):
        value = audit[counter]
        ratio = f"{value / record:.4f}" if value is not None and record else "-"
        whys = [
            r["because"] if r["difference"] is None else f"{r['difference']:+,} {r['because']}"
            for r in audit["reasons"]
            if r["counter"] == counter
        ] or ["the same"]
        lines.append(f"    {counter:14} {'-' if value is None else f'{value:,}':>20} {ratio:>10}  {whys[0]}")
        lines += [f"    {'':14} {'':20} {'':10}  {why}" for why in whys[1:]]
    return lines


def _raw_lines(spec: InputSpec, shape: str) -> Lines:
    if spec.layout == "bayer_packed":
        places = " ".join(f"({row},{column})" for row, column in spec.planes)
        planes = f"packed RAW {shape}; planes from red at {places}"
    else:
        planes = f"RAW as planes red, green, blue {shape}; {spec.missing:g} where the mosaic has another colour"
    if spec.black_level is None and spec.divisor is None:
        levels = "black and white of the sensor"
    else:
        black, white = (f"{level:g}" for level in spec.levels)
        levels = f"for counts with black {black} and white {white}; others are mapped to these"
    return [("input", planes), ("values", formula(spec)), ("levels", levels)]


def formula(spec: InputSpec) -> str:
    """Return how the value of a plane follows from counts, as arithmetic; several numbers are those of the planes."""
    black, divisor = _of_planes(spec.black_level, "black"), _of_planes(spec.divisor, "(white - black)")
    value = f"{'counts' if spec.black_level == 0 else f'(counts - {black})'} / {divisor}"
    value = value if spec.floor is None else f"max({value}, {spec.floor:g})"
    low, high = spec.input_range
    return value if (low, high) == (0, 1) else f"{low:g} + {high - low:g} * {value}"


def _of_planes(value: float | tuple[float, ...] | None, own: str) -> str:
    if value is None:
        return own
    return f"({', '.join(f'{one:g}' for one in value)})" if isinstance(value, tuple) else f"{value:g}"


def _image_lines(spec: InputSpec, shape: str) -> Lines:
    image = "gray" if spec.layout == "gray" else "sRGB"
    low, high = spec.input_range
    mapped = "" if (low, high) == (0, 1) else f", mapped from [0, 1] to [{low:g}, {high:g}]"
    rounded = ", clipped to [0, 1] and rounded to 8 bits" if spec.quantised else ""
    noise = [("noise", "the last plane is the standard deviation of the noise, / 255")] if spec.noise_level else []
    return [("input", f"{image} {shape}{rounded}{mapped}"), *noise]
