"""The command line: parse, call, print. Heavy imports stay inside the commands, so that --help is fast."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.errors import UserError, nearest

if TYPE_CHECKING:
    from benchmark.console import ConsoleReporter

_EXIT_USAGE = 2
_EXIT_INTERRUPTED = 130


class OneLineErrors(click.Group):
    """A group that turns a user's mistake into one line on stderr and exit status 2."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command; never a traceback for a user's mistake, unless ZOO_BENCH_DEBUG is set."""
        kwargs["standalone_mode"] = False
        debug = bool(os.environ.get("ZOO_BENCH_DEBUG"))
        try:
            sys.exit(super().main(*args, **kwargs) or 0)
        except click.UsageError as error:
            context = f" (see `{error.ctx.command_path} --help`)" if error.ctx else ""
            self._fail(f"{_sentence(error.format_message())}{context}", _EXIT_USAGE, debug)
        except UserError as error:
            self._fail(str(error), _EXIT_USAGE, debug)
        except (KeyboardInterrupt, click.Abort):
            self._fail("interrupted.", _EXIT_INTERRUPTED, False)
        except BrokenPipeError:
            # The reader (head, less) has gone; Python must not complain about that at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except OSError as error:
            self._fail(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "), 1, debug)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command; the nearest names are suggested for an unknown one."""
        if args and args[0] not in self.commands:
            raise click.UsageError(f"no command called '{args[0]}'{nearest(args[0], self.commands)}", ctx)
        return super().resolve_command(ctx, args)

    def _fail(self, message: str, status: int, debug: bool) -> None:
        if debug:
            raise
        click.echo(f"zoo-bench: {' '.join(message.split())}", err=True)
        sys.exit(status)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."


@click.group(cls=OneLineErrors, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="FILE.py",
    help="Register models, datasets or metrics of your own (repeatable).",
)
@click.option("--seed", type=int, default=None, help="Initialises untrained networks and other draws.  [default: 0]")
@click.option("-v", "--verbose", count=True, help="More detail.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors.")
@click.version_option(package_name="zoo-bench", prog_name="zoo-bench")
@click.pass_context
def cli(ctx: click.Context, plugins: tuple[str, ...], seed: int | None, verbose: int, quiet: bool) -> None:
    """Compare networks for RAW-to-RGB and denoising: quality, FLOPs, memory and time."""
    ctx.obj = {"seed": seed, "verbosity": -1 if quiet else verbose, "plugins": plugins}
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _start(ctx: click.Context) -> ConsoleReporter:
    """Load the plug-ins; return what reports to the user."""
    from benchmark.console import ConsoleReporter
    from zoo import plugins

    reporter = ConsoleReporter(ctx.obj["verbosity"])
    for failure in plugins.load_entry_points():
        reporter.note(f"warning: {failure}")
    for path in ctx.obj["plugins"]:
        plugins.load_file(path)
    return reporter


def _seed(ctx: click.Context) -> int:
    return ctx.obj["seed"] or 0


def _print_json(document: Any) -> None:
    click.echo(json.dumps(_strict(document), indent=2, allow_nan=False))


def _strict(value: Any) -> Any:
    """Return ``value`` with non-finite numbers as the strings "inf", "-inf", "nan"."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    return [_strict(item) for item in value] if isinstance(value, (list, tuple)) else value


def _pairs(flag: str, values: Sequence[str], expected: str) -> dict[str, str]:
    pairs = {}
    for text in values:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise UserError(f"{flag} {text}: expected {expected}.")
        pairs[key] = value
    return pairs


def _size(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, sign, width = text.lower().partition("x")
    if not sign or not height.isdecimal() or not width.isdecimal() or not int(height) or not int(width):
        raise UserError(f"--size {text}: expected HxW, for example 224x224.")
    return int(height), int(width)


_set_option = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of the model (repeatable)."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@cli.command("list")
@click.argument("what", type=click.Choice(["models", "datasets", "metrics", "profilers", "recipes"]))
@_json_option
@click.pass_context
def list_command(ctx: click.Context, what: str, as_json: bool) -> None:
    """List what is registered."""
    _start(ctx)
    from benchmark.catalogue import catalogue

    rows = catalogue(what)
    if as_json:
        _print_json(rows)
        return
    for row in rows:
        click.echo(f"{row['name']:32} {row.get('summary', '')}".rstrip())


@cli.command()
@click.argument("model")
@_json_option
@click.pass_context
def show(ctx: click.Context, model: str, as_json: bool) -> None:
    """Print the card of MODEL: input convention, parameters, paper, licence, differences."""
    _start(ctx)
    from benchmark.catalogue import card_document, card_text

    if as_json:
        _print_json(card_document(model))
    else:
        click.echo(card_text(model))


@cli.command()
@click.option("--dataset", help="Name of the dataset, see `zoo-bench list datasets`.")
@click.option(
    "--data-root",
    metavar="DIR",
    help="Folder of the dataset; default $ZOO_BENCH_DATA/NAME, else the embedded stand-in.",
)
@click.option(
    "--models",
    metavar="GLOB,..",
    help="Names or patterns; default: all of the dataset's task, those without weights by cost only.",
)
@click.option("--split", help="Split of the dataset.")
@click.option("--limit", type=int, metavar="N", help="Only the first N images.")
@click.option("--metrics", metavar="ID,..", help="Metric ids; default: those of the dataset's protocol.")
@click.option("--weights", multiple=True, metavar="MODEL=FILE", help="Weights of a model (repeatable).")
@click.option(
    "--set", "settings", multiple=True, metavar="[MODEL.]KEY=VALUE", help="An option of a model (repeatable)."
)
@click.option("--suite", metavar="FILE.yaml", help="These flags from a file; flags given here win.")
@click.option(
    "--out", default="zoo-bench-out", show_default=True, metavar="DIR", help="Where records, pictures and tables go."
)
@click.option(
    "--rerun",
    type=click.Choice(["never", "failed", "always"]),
    default="failed",
    show_default=True,
    help="Which records to measure again.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads that torch uses.")
@_json_option
@click.pass_context
def run(ctx: click.Context, out: str, rerun: str, suite: str | None, as_json: bool, **flags: Any) -> None:
    """Evaluate and profile models on a dataset, store the records, print the table."""
    reporter = _start(ctx)
    from benchmark import runner
    from benchmark.leaderboard import write_pages
    from benchmark.store import Store

    arguments = _run_arguments(ctx, suite, flags)
    try:
        results = runner.run(out=out, rerun=rerun, reporter=reporter, **arguments)
    except KeyboardInterrupt:
        count = len(Store(out).results())
        reporter.note(f"interrupted: {count} record(s) and the scores so far are in {out}; the same command continues.")
        ctx.exit(_EXIT_INTERRUPTED)
    pages = write_pages(Store(out).results(), Path(out) / "leaderboards")
    if as_json:
        _print_json({"results": [_with_paths(result.model_dump(mode="json"), Path(out)) for result in results]})
    else:
        _print_results(results, pages, Path(out))
    if any(result.status != "ok" for result in results):
        ctx.exit(1)


def _run_arguments(ctx: click.Context, suite: str | None, flags: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``runner.run``: the suite's, replaced by the flags that were given."""
    given = {
        "dataset": flags["dataset"],
        "data_root": flags["data_root"],
        "models": _comma_separated(flags["models"]),
        "split": flags["split"],
        "limit": flags["limit"],
        "metrics": _comma_separated(flags["metrics"]),
        "weights": _pairs("--weights", flags["weights"], "MODEL=FILE, for example unet=unet.safetensors") or None,
        "options": _pairs("--set", flags["settings"], "KEY=VALUE or MODEL.KEY=VALUE") or None,
        "threads": flags["threads"],
        "seed": ctx.obj["seed"],
    }
    arguments: dict[str, Any] = {}
    if suite:
        from benchmark.config import Suite, read_settings

        arguments = read_settings(suite, Suite).model_dump(exclude_none=True)
    arguments |= {key: value for key, value in given.items() if value is not None}
    if "dataset" not in arguments:
        raise UserError("run: no dataset named; pass --dataset NAME (see `zoo-bench list datasets`) or --suite FILE.")
    return arguments


def _comma_separated(text: str | None) -> list[str] | None:
    """Split at commas that are not inside brackets: metric ids have commas of their own."""
    if text is None:
        return None
    parts, depth = [""], 0
    for sign in text:
        depth += (sign == "[") - (sign == "]")
        if sign == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts if part.strip()]


def _with_paths(record: dict[str, Any], out: Path) -> dict[str, Any]:
    for name in ("per_image", "pictures"):
        if record[name]:
            record[name] = str((out / record[name]).resolve())
    return record


def _print_results(results: Sequence[Any], pages: Sequence[Path], out: Path) -> None:
    from benchmark.console import print_board
    from benchmark.leaderboard import boards

    for dataset in dict.fromkeys(result.dataset for result in results):
        for board in boards(results, dataset):
            print_board(board)
    pictures = [out / result.pictures for result in results if result.pictures]
    click.echo("\n".join([f"records    {out / 'results.jsonl'}", *(f"table      {path}" for path in pages)]))
    click.echo("\n".join(f"pictures   {path}" for path in pictures))


@cli.command()
@click.argument("model")
@click.option(
    "--size",
    callback=_size,
    metavar="HxW",
    help="Size of the planes the network receives; default: its dataset's patch.",
)
@click.option("--layers", is_flag=True, help="MACs per layer.")
@_set_option
@_json_option
@click.pass_context
def profile(
    ctx: click.Context, model: str, size: tuple[int, int] | None, layers: bool, settings: tuple[str, ...], as_json: bool
) -> None:
    """Print what MODEL costs at a size, without running it."""
    _start(ctx)
    from benchmark.catalogue import profile_text
    from benchmark.profiling import profile as measure

    document = measure(model, size=size, options=_pairs("--set", settings, "KEY=VALUE"), layers=layers)
    if as_json:
        _print_json(document)
    else:
        click.echo(profile_text(document))


@cli.command()
@click.argument("output_dir")
@click.argument("target_dir")
@click.option("--protocol", default="zrr", show_default=True, help="Whose metrics: zrr or sidd.")
@click.option("--all", "all_metrics", is_flag=True, help="Every metric id.")
@click.option("--metrics", metavar="ID,..", help="These metric ids.")
@_json_option
@click.pass_context
def score(
    ctx: click.Context,
    output_dir: str,
    target_dir: str,
    protocol: str,
    all_metrics: bool,
    metrics: str | None,
    as_json: bool,
) -> None:
    """Score the images in OUTPUT_DIR against those in TARGET_DIR, paired by stem."""
    reporter = _start(ctx)
    from benchmark.scoring import score as compare

    document = compare(
        output_dir,
        target_dir,
        protocol=protocol,
        all_metrics=all_metrics,
        metrics=_comma_separated(metrics),
        reporter=reporter,
    )
    if as_json:
        _print_json(document)
        return
    click.echo(f"{document['n']} images")
    for id, value in document["scores"].items():
        click.echo(f"{id:40} {'-' if value is None else f'{value:.6f}'}")


@cli.group()
def data() -> None:
    """Make datasets."""


@data.command("make")
@click.argument("name")
@click.option("--out", required=True, metavar="DIR", help="An empty or new folder.")
@click.option("--seed", type=int, default=None, help="Seed of the draws.  [default: 0]")
@click.pass_context
def data_make(ctx: click.Context, name: str, out: str, seed: int | None) -> None:
    """Write the stand-in of dataset NAME into DIR, in the real on-disk layout."""
    reporter = _start(ctx)
    from benchmark.catalogue import make_standin

    make_standin(name, Path(out), seed=_seed(ctx) if seed is None else seed, reporter=reporter)
    click.echo(f"wrote {out}")


@cli.command()
@click.option(
    "--results",
    multiple=True,
    metavar="DIR",
    help="Folders or files of records (repeatable).  [default: leaderboards/results]",
)
@click.option("--out", default="leaderboards", show_default=True, metavar="DIR", help="Where the tables go.")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a table is stale.")
@click.pass_context
def leaderboard(ctx: click.Context, results: tuple[str, ...], out: str, check: bool) -> None:
    """Regenerate the Markdown tables from the records."""
    _start(ctx)
    from benchmark.leaderboard import stale_pages, write_pages
    from benchmark.store import read_folders

    records = read_folders([Path(folder) for folder in results or ("leaderboards/results",)])
    published = Path(out) / "published"
    has_papers = any(published.glob("*.yaml"))
    if has_papers:
        from benchmark.paper_tables import stale_paper_tables, write_paper_tables
    if not check:
        written = write_pages(records, Path(out))
        written += write_paper_tables(published, records, Path(out)) if has_papers else []
        for path in written:
            click.echo(f"wrote {path}")
        return
    stale = stale_pages(records, Path(out))
    stale += stale_paper_tables(published, records, Path(out)) if has_papers else []
    for path in stale:
        click.echo(f"stale: {path}; run `zoo-bench leaderboard` and commit the result.", err=True)
    if stale:
        ctx.exit(1)
    click.echo("all tables are up to date")


def main() -> None:
    """Entry point of the ``zoo-bench`` script."""
    cli()


if __name__ == "__main__":
    main()
