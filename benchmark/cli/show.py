"""``zoo-bench show``."""

from __future__ import annotations

import difflib

import click

from benchmark.cli.options import json_option
from benchmark.cli.printing import echo, echo_clean, print_result, start
from benchmark.cli.tables import room
from zoo.errors import UserError, nearest, shortened

KINDS = ("model", "metric", "loss", "dataset", "recipe", "suite", "sweep", "profiler")


@click.command("show")
@click.argument("names", nargs=-1, metavar="[KIND] NAME")
@json_option
def show_command(names: tuple[str, ...]) -> None:
    """Show the card of a model: input, parameters, paper, licence, weights; or that of something else.

    KIND is model, metric, loss, dataset, recipe, suite, sweep or profiler. It is only needed for a NAME that several
    have; a model goes first.
    """
    kind, name = _parsed(names)
    start()
    from benchmark.catalogue import card_document, card_text
    from benchmark.catalogue.cards import document_of, names_of, text_of
    from zoo.card import MODELS

    found = [kind] if kind else [one for one in KINDS if name in (MODELS if one == "model" else names_of(one))]
    if not found:
        others = {one for other in KINDS[1:] for one in names_of(other)}
        if difflib.get_close_matches(name[:100], others, n=1) and not difflib.get_close_matches(
            name[:100], MODELS.names()
        ):
            raise UserError(f"nothing called '{shortened(name)}' to show{nearest(name, others)}")
        MODELS.get(name)
    if found[0] == "model":
        print_result(lambda: card_document(name), lambda _: echo_clean(card_text(name, room()).split("\n")))
    elif len(found) > 1:
        raise UserError(f"show {name}: it is a {' and a '.join(found)}; write `zoo-bench show {found[0]} {name}`.")
    else:
        document = document_of(found[0], name)
        print_result(document, lambda _: echo_clean(text_of(document, room()).split("\n")))
    if not kind and len(found) > 1:
        echo(f"also a {', a '.join(found[1:])}: zoo-bench show {found[1]} {name}", err=True)


def _parsed(names: tuple[str, ...]) -> tuple[str, str]:
    """Return kind (empty: not given) and name; a kind may also be written as `list` has it, with an s."""
    if not names:
        raise click.UsageError("Missing argument 'MODEL', or KIND NAME", click.get_current_context())
    if len(names) == 1:
        return "", names[0]
    kind = names[0] if names[0] in KINDS else {"losses": "loss"}.get(names[0], names[0].removesuffix("s"))
    if len(names) > 2 or kind not in KINDS:
        raise UserError(f"show {shortened(' '.join(names))}: expected a NAME, or one of {', '.join(KINDS)} and a NAME.")
    return kind, names[1]
