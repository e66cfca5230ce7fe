"""Compare a model with a user's class in a process of its own."""

from __future__ import annotations

from contextlib import closing

from benchmark.reporting import Relayed, Reporter
from benchmark.verifying.child import compare
from benchmark.verifying.messages import Request, Verdict
from zoo.errors import UserError


def verify(request: Request, reporter: Reporter | None = None) -> Verdict:
    """Compare a model with a user's class; what the class prints is a detail for the reporter.

    Raises UserError for bad input, for code of the user that fails, and for code that ends its process.
    """
    reporter = reporter or Reporter()
    with closing(Relayed(reporter)) as relayed:
        outcome = compare.isolated(request, on_event=relayed.take)
    for line in outcome.stderr.splitlines():
        reporter.detail(line)
    if outcome.status == "ok":
        assert isinstance(outcome.value, Verdict)
        return outcome.value
    if outcome.exception in ("UserError", None) or outcome.status == "oom":
        # Without an exception the process was ended by a crash or by the user's code.
        about = "" if outcome.exception == "UserError" else f"--against {request.against} ended the comparison: "
        raise UserError(f"{about}{outcome.error}")
    raise RuntimeError(outcome.error)
