"""Show a user's mistake as one line on stderr with exit status 2, never as a traceback."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import click

from benchmark.cleaning import one_line, terminal
from benchmark.replacing import naming
from zoo.errors import UserError, in_one_line, line_of, nearest, shortened, with_place

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_INTERNAL = 70
_MOST, _MOST_OF_A_WORD = 4000, 300


class _ClosedPipeError(Exception):
    """A ``BrokenPipeError`` on its way past click, which would exit, as foreign code does."""


@contextlib.contextmanager
def _not_by_click() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        if not _reader_is_gone():
            raise  # another pipe, of somebody else's code
        raise _ClosedPipeError from error


def _reader_is_gone() -> bool:
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            poll.register(stream.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


class OneLineErrors(click.Group):
    """A group that turns a user's mistake into one line on stderr and exit status 2."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command; never a traceback for a user's mistake, unless ZOO_BENCH_DEBUG is set."""
        if "_ZOO_BENCH_COMPLETE" in os.environ:
            return super().main(*args, **kwargs)  # a shell asks for words: click answers it and exits
        kwargs["standalone_mode"] = False
        debug = bool(os.environ.get("ZOO_BENCH_DEBUG"))
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A character that the terminal's encoding does not have must not cause a crash.
                stream.reconfigure(errors="backslashreplace")
        ended = False
        try:
            status = super().main(*args, **kwargs) or 0
            ended = True
            _flush_stdout()
            sys.exit(status)
        except click.UsageError as error:
            text, context = error.format_message(), f" (see `{error.ctx.command_path} --help`)" if error.ctx else ""
            self._fail(f"{text}{'' if text.endswith(('.', '?', '!')) else '.'}{context}", EXIT_USAGE, debug)
        except UserError as error:
            self._fail(str(error), EXIT_USAGE, debug)
        except SystemExit as error:
            if ended:
                raise
            # Our commands return. A plug-in or a library has exited instead, so we do not know what was done.
            self._fail(f"ended by code that is not ours ({in_one_line(error)}); nothing is certain.", 1, debug)
        except (KeyboardInterrupt, click.Abort):
            self._fail("interrupted.", EXIT_INTERRUPTED, False)
        except (BrokenPipeError, _ClosedPipeError):
            # The reader (head, less) has closed the pipe; Python must not complain about that at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except Exception as error:
            if line_of(error) and not _is_out_of_memory(error):
                told = f"code that is not part of zoo-bench failed: {with_place(error, 400)}"
                self._fail(f"{told}; set ZOO_BENCH_DEBUG=1 to see its traceback.", EXIT_USAGE, debug)
            if not isinstance(error, OSError):
                raise
            self._fail(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "), 1, debug)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the arguments, which may print a help."""
        with _not_by_click():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was parsed."""
        with _not_by_click():
            return super().invoke(ctx)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command; for an unknown one the nearest names are suggested."""
        if args and args[0] not in self.commands:
            raise click.UsageError(f"no command called '{args[0]}'{nearest(args[0], self.commands)}", ctx)
        return super().resolve_command(ctx, args)

    def _fail(self, message: str, status: int, debug: bool) -> None:
        if debug:
            raise
        _say(message)
        sys.exit(status)


def fail_unforeseen(error: Exception) -> NoReturn:
    """Print an error that no command expected, without calling it the user's mistake, and exit."""
    if _is_out_of_memory(error):
        _say(f"out of memory ({in_one_line(error)}); choose a smaller image, batch or model.")
        sys.exit(1)
    _say(
        f"internal error, not a mistake of yours: {in_one_line(error)};"
        " set ZOO_BENCH_DEBUG=1 to see where, and please report it."
    )
    sys.exit(EXIT_INTERNAL)


def _is_out_of_memory(error: Exception) -> bool:
    from benchmark.host.child import is_out_of_memory

    return is_out_of_memory(error)


def _say(message: str) -> None:
    # Most messages shorten what they quote. A word may be at most as long as a file's path.
    words = (shortened(word, _MOST_OF_A_WORD) for word in message.split())
    click.echo(f"zoo-bench: {terminal(one_line(shortened(' '.join(words), _MOST)))}", err=True)


def _flush_stdout() -> None:
    """Flush stdout; raises DiskError if it is a file on a full disk (Python's own error would not name it)."""
    try:
        with naming(Path("standard output")):
            sys.stdout.flush()
    except UserError:
        # Python would try to write the rest again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
