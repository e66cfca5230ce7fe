"""``zoo-bench score``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchmark.cli.options import comma_separated, json_option
from benchmark.cli.printing import echo, print_result, start
from benchmark.units import counted


@click.command("score")
@click.argument("output_dir")
@click.argument("target_dir", required=False)
@click.option(
    "--pairs",
    metavar="RULE",
    help="How the name of a target follows from that of its output, e.g. '*_out.* -> *_clean.*'; both may be in one"
    " folder.  [default: names that agree up to the extension]",
)
@click.option(
    "--task",
    metavar="TASK",
    help="Task of the images, which decides the protocol: raw2rgb (zrr), denoise_rgb (sidd), enhance_rgb or"
    " denoise_gray (pairs).",
)
@click.option(
    "--protocol",
    metavar="NAME",
    help="Protocol whose metrics are computed: zrr, sidd or pairs.  [default: that of --task, else pairs with --pairs,"
    " zrr without]",
)
@click.option("--all", "all_metrics", is_flag=True, help="Compute every metric.")
@click.option(
    "--metrics",
    callback=comma_separated,
    metavar="ID,..",
    help="Compute these metrics (see `zoo-bench list metrics`). `protocol` stands for those of the protocol, `error`"
    " for those that say what the error is made of.",
)
@click.option(
    "--white",
    type=float,
    metavar="COUNT",
    help="White level of 16-bit files that use fewer bits, e.g. 1023.  [default: 65535]",
)
@click.option(
    "--scene",
    metavar="REGEX",
    help="Finds in the name of an output which scene it shows, e.g. '^(scene[0-9]+)'; intervals are over scenes."
    "  [default: each image is a scene]",
)
@click.option(
    "--shift-plot", metavar="FILE.png", help="Also write a histogram of the shifts that the aligned metrics found."
)
@json_option
def score_command(output_dir: str, target_dir: str | None, shift_plot: str | None, **flags: Any) -> None:
    """Score the images of one folder against those of another.

    Images whose file names agree up to the extension belong together, or those that --pairs finds. They are RGB or
    gray, with 8 or 16 bits per channel.
    """
    reporter = start()
    from benchmark.replacing import refuse_inputs
    from benchmark.scoring.folders import pairs_of, score

    if shift_plot:
        # The folders of a rule may lie anywhere.
        by_rule = pairs_of(output_dir, target_dir, flags["pairs"]) if flags["pairs"] else []
        inside = [file for folder in (output_dir, target_dir) if folder for file in Path(folder).glob("*")]
        inputs = [*inside, *(file for _, *files in by_rule for file in files)]
        refuse_inputs(f"--shift-plot {shift_plot}", [shift_plot], inputs)
    document = score(output_dir, target_dir, **flags, reporter=reporter)
    if shift_plot:
        _plot_shifts(Path(shift_plot), document)
    print_result(document, _print_scores)


def _print_scores(document: dict[str, Any]) -> None:
    scenes = document["num_scenes"]
    few = "" if document["intervals"] else ": too few for intervals"
    images = counted(document["n"], "image")
    echo(f"{images}, {counted(scenes, 'scene')}{few}; protocol {document['protocol']}")
    for id, value in document["scores"].items():
        finite = ""
        if part := document.get("infinite", {}).get(id):
            others = _number(part["finite_mean"])
            finite = f" ({part['n_inf']} of {document['n']} images; {others} over the others)"
        low, high = document["intervals"].get(id, (None, None))
        interval = "" if low is None else f" [{_number(low)}, {_number(high)}]"
        echo(f"{id:40} {_number(value)}{interval}{finite}")
    if shares := document.get("error_shares"):
        parts = ", ".join(f"{part} {share:.1%}" for part, share in shares.items())
        echo(f"the squared error of all images is made of: {parts}")
    if shifts := _shifts_of(document):
        from benchmark.imaging.shift_plots import shifts_text

        echo(shifts_text(shifts))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6f}"


def _shifts_of(document: dict[str, Any]) -> list[Any]:
    from benchmark.imaging.alignment import Shift

    return [Shift(**image["shift"]) for image in document["per_image"] if "shift" in image]


def _plot_shifts(path: Path, document: dict[str, Any]) -> None:
    from benchmark.imaging.shift_plots import save_shift_histogram

    shifts = _shifts_of(document)
    if not shifts:
        raise click.UsageError("--shift-plot: no shifts were computed; use --all, or --metrics with an aligned one.")
    save_shift_histogram(path, "Shifts of the outputs against their targets", shifts)
