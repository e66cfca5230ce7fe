"""``zoo-bench run``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.cli.conditions import condition_options, given_conditions, sigma_option
from benchmark.cli.errors import EXIT_INTERRUPTED
from benchmark.cli.options import (
    address_option,
    comma_separated,
    data_root_option,
    json_option,
    mapping_option,
    noise_options,
    own_data_options,
    partial_option,
    trust_option,
    weights_given,
)
from benchmark.cli.printing import echo, given_seed, print_result, start, wants_json
from benchmark.cli.tables import check_columns, print_tables, table_options
from zoo.errors import UserError

if TYPE_CHECKING:
    from benchmark.types import Result


@click.command("run")
@click.option("--dataset", metavar="NAME", help="Name of the dataset (see `zoo-bench list datasets`).")
@data_root_option
@own_data_options
@sigma_option
@noise_options
@click.option("--name", metavar="LABEL", help="For `pairs`, `raw-pairs`, `awgn`: a name for the data: pairs (LABEL).")
@click.option(
    "--remark",
    metavar="TEXT",
    help="For `pairs`, `raw-pairs`, `awgn`: a line above each table of the data, for example that a network may have"
    " been trained on it.",
)
@click.option(
    "--task", metavar="TASK", help="For the dataset `pairs`: denoise_rgb or enhance_rgb.  [default: denoise_rgb]"
)
@click.option(
    "--models",
    callback=comma_separated,
    metavar="GLOB,..",
    help="Names or patterns of models. Without this option, all models of the dataset's task are taken; those without"
    " weights get costs but no scores.",
)
@click.option("--split", metavar="NAME", help="Split of the dataset.  [default: the one for evaluation]")
@click.option("--limit", type=int, metavar="N", help="Use only the first N images.")
@click.option(
    "--metrics",
    callback=comma_separated,
    metavar="ID,..",
    help="Metrics to compute (see `zoo-bench list metrics`). `protocol` stands for those of the dataset's protocol,"
    " `error` for those that say what the error is made of.  [default: protocol]",
)
@mapping_option(
    "--weights",
    "weights",
    "File with the weights of a model, its address (hf:// or https://, with a digest), or `shipped` for those of this"
    " package (repeatable; see `zoo-bench list weights`). Several weights of one model need labels: their rows read"
    " MODEL (LABEL). Only seeds of one recipe may do without.",
    metavar="MODEL[@LABEL]=FILE",
    expected="MODEL=FILE or MODEL@LABEL=FILE, for example unet=unet.safetensors",
    several=True,
)
@trust_option
@mapping_option(
    "--set",
    "options",
    "Set an option of a model (repeatable). MODEL@LABEL stands for the weights with that label alone.",
    metavar="[MODEL[@LABEL].]KEY=VALUE",
    expected="KEY=VALUE or MODEL.KEY=VALUE",
)
@click.option(
    "--suite",
    metavar="SUITE.yaml",
    help="File that sets these options, or the name of one that `zoo-bench list suites` shows; the command line"
    " overrides it.",
)
@click.option(
    "-o",
    "--out",
    default="zoo-bench-out",
    show_default=True,
    metavar="DIR",
    help="Folder for records, pictures and tables.",
)
@click.option(
    "--rerun",
    type=click.Choice(["never", "failed", "always"]),
    default="failed",
    show_default=True,
    help="Which of the records in the folder to measure again.",
)
@click.option(
    "--sizes",
    callback=comma_separated,
    metavar="SIZE,..",
    help="Sizes at which time and memory are measured: dataset, 1mpix, 12mp; or all or none.  [default: dataset]",
)
@click.option(
    "--exact",
    is_flag=True,
    help="Compute the scores as defined, in float64, instead of in one float32 pass that differs by up to 1e-5.",
)
@click.option(
    "--skip-bad", is_flag=True, help="Leave out images with defective files. Without this option they are refused."
)
@partial_option
@condition_options
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    help="Score the images in processes of this machine, or with Ray. The records are the same.  [default: local]",
)
@address_option
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of processes among which the images of a model are divided.  [default: 1; Ray: all that fit]",
)
@click.option(
    "--cpus-per-worker",
    type=click.IntRange(min=1),
    metavar="K",
    help="Cores that Ray reserves for a worker.  [default: as many as --threads]",
)
@click.option(
    "--gpus", type=click.FloatRange(min=0, min_open=True), metavar="G", help="GPUs that Ray reserves for a worker."
)
@click.option(
    "--timings",
    type=click.Choice(["none", "here", "each"]),
    help="Where time is measured: on this machine, nowhere, or on each machine of the Ray cluster, one after the other,"
    " into records of its own in DIR/machines.  [default: here]",
)
@click.option(
    "--mixed-nodes",
    is_flag=True,
    help="Use also nodes with other code or another torch; the record names them. Without it they are refused.",
)
@table_options
@json_option
def run_command(
    out: str, rerun: str, suite: str | None, wide: bool, columns: list[str] | None, trust: bool, **flags: Any
) -> None:
    """Evaluate and profile models on a dataset, and print the table."""
    reporter = start()
    check_columns(columns, wide=wide)
    from benchmark.leaderboard import write_pages
    from benchmark.results.store import Store
    from benchmark.running.run import run as evaluate

    arguments = _run_arguments(suite, flags)
    if "weights" in arguments:
        arguments["weights"] = _fetched(arguments["weights"], reporter, trust=trust)
    table = _Tables(columns, wide=wide)
    try:
        results = evaluate(out=out, rerun=rerun, reporter=reporter, on_costs=table.print_costs, **arguments)
    except KeyboardInterrupt:
        count = len(Store(out).results())
        kept = f"{count} record(s) and the scores so far are in {out}"
        reporter.note(f"interrupted: {kept}; the same command continues the run.")
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    pages = write_pages(Store(out).results(), Path(out) / "leaderboards")
    for machine in sorted(Path(out).glob("machines/*/results.jsonl")) if arguments.get("timings") == "each" else ():
        pages += write_pages(Store(machine.parent).results(), machine.parent / "leaderboards")
    print_result(
        lambda: {"results": [_with_paths(result.model_dump(mode="json"), Path(out)) for result in results]},
        lambda _: _print_results(results, pages, Path(out), table),
    )
    if any(result.status != "ok" for result in results):
        raise click.exceptions.Exit(1)


def _fetched(weights: Mapping[str, Any], reporter: Any, *, trust: bool) -> dict[str, list[Any]]:
    """Return weights with files in place of addresses."""
    lists = {key: [one] if isinstance(one, str) else one for key, one in weights.items()}
    return {
        key: [weights_given(key.partition("@")[0], file, reporter, trust=trust) for file in files]
        for key, files in lists.items()
    }


def _run_arguments(suite: str | None, flags: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``benchmark.running.run.run``: the suite's, replaced by the flags that were given."""
    arguments: dict[str, Any] = {}
    how: dict[str, Any] = {}
    if suite:
        from benchmark.running.suite import load_suite

        settings = load_suite(suite)
        arguments, how = settings.arguments(), settings.how()
    arguments |= given_conditions(flags, how)
    for name, value in (flags | {"seed": given_seed()}).items():
        # A flag that was not given is None, False or an empty mapping; 0 was given.
        if value is not None and value is not False and value != {}:
            arguments[name] = value
    if "dataset" not in arguments:
        raise UserError("run: no dataset is named; use --dataset NAME (see `zoo-bench list datasets`) or --suite FILE.")
    return arguments


def _with_paths(record: dict[str, Any], out: Path) -> dict[str, Any]:
    for name in ("per_image", "pictures", "gallery", "timings", "shift_plot"):
        if record[name]:
            record[name] = str((out / record[name]).resolve())
    return record


class _Tables:
    """The tables of a run: the costs as soon as they are counted, the rest at the end."""

    def __init__(self, columns: Sequence[str] | None, *, wide: bool) -> None:
        self.columns, self.wide = columns, wide
        self._has_costs = False

    def print_costs(self, results: Sequence[Result]) -> None:
        """Print the costs before the images run, unless they are asked for with what is measured later."""
        if self.columns is None and not self.wide and not wants_json():
            self._print(results, final=False)
            self._has_costs = True

    def print_rest(self, results: Sequence[Result]) -> None:
        """Print what was measured."""
        self._print(results, final=True)

    def _print(self, results: Sequence[Result], *, final: bool) -> None:
        from benchmark.leaderboard.rows import rows_of
        from benchmark.leaderboard.tables import grouped, tables_of

        by_dataset = grouped(results, lambda result: result.dataset)
        tables = [table for own in by_dataset.values() for table in tables_of(rows_of(own))]
        if final and self._has_costs and not any(_is_large(result) for result in results):
            # The first table had them: only times at larger sizes are new.
            tables = [table for table in tables if table.kind != "costs"] or tables
        print_tables(tables, self.columns, wide=self.wide, hint=final)


def _is_large(result: Result) -> bool:
    return any(id.startswith("latency_ms@") for id in result.measurements)


def _print_results(results: Sequence[Result], pages: Sequence[Path], out: Path, table: _Tables) -> None:
    table.print_rest(results)
    pictures = [out / result.pictures for result in results if result.pictures]
    echo(f"records    {out / 'results.jsonl'}")
    for what, paths in (("table", pages), ("pictures", pictures)):
        for path in paths:
            echo(f"{what:10} {path}")
    for what, step in zip(("next", ""), _next_steps(results, out)):
        echo(f"{what:10} {step}")


def _next_steps(results: Sequence[Result], out: Path) -> list[str]:
    """Return what a user would do now: mend what failed, or look at the page and measure larger images."""
    if failed := [result.name for result in results if result.status != "ok"]:
        return [f"mend {failed[0]} and run the same again: what is measured is kept"]
    page = f"zoo-bench leaderboard --results {out} --html (a page with plots and pictures)"
    larger = "the same command with --sizes all (time and memory at 1 and 12 MPix)"
    return [page] if any(map(_is_large, results)) else [page, larger]
