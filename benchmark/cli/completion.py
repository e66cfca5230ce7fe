"""``zoo-bench completion``: click's own scripts for shells."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from zoo.errors import UserError, nearest, shortened

SHELLS = ("bash", "fish", "zsh")


def _shell(ctx: click.Context, parameter: click.Parameter, name: str) -> str:
    if name not in SHELLS:
        raise UserError(f"completion: no script for '{shortened(name)}'{nearest(name, SHELLS)}")
    return name


@click.command("completion")
@click.argument(
    "shell",
    metavar="bash|zsh|fish",
    callback=_shell,
    shell_complete=lambda ctx, parameter, begun: [name for name in SHELLS if name.startswith(begun)],
)
def completion_command(shell: str) -> None:
    """Print a script that completes zoo-bench's verbs and options in a shell.

    bash: put `eval "$(zoo-bench completion bash)"` into ~/.bashrc (version 4.4 or newer). zsh: the same with zsh into
    ~/.zshrc, below compinit. fish: write the output to ~/.config/fish/completions/zoo-bench.fish.
    """
    from benchmark.cli import cli

    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(cli, {}, "zoo-bench", "_ZOO_BENCH_COMPLETE").source())
