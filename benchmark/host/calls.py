"""Typed calls of functions in child processes: their requests, their events while they work, and their replies.

``@child_call(...)`` lets a parent call a function of the package in a child process, or in its own process.
Requests, events and replies are records, so that both sides use fields and not keys.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, get_type_hints

from benchmark.conditions import Limits
from benchmark.host.isolation import Outcome, run_here, run_isolated
from benchmark.record import Record
from benchmark.reporting import Note, Progress

Request = TypeVar("Request", bound=Record)
Reply = TypeVar("Reply", bound=Record | None)
Emit = Callable[[Record], None]
OnEvent = Callable[[Record], object]
# The events that any child may send, as a ``Relay`` does.
_COMMON: tuple[type[Record], ...] = (Note, Progress)


@dataclass(frozen=True)
class ChildCall(Generic[Request, Reply]):
    """A function (request, emit) -> reply that runs in a child process; ``events`` are the records that it emits.

    A function may reply with nothing if it has emitted all its results.
    """

    function: Callable[[Request, Emit], Reply]
    name: str
    request: type[Record]
    reply: type[Record] | None
    events: tuple[type[Record], ...]

    def __call__(self, request: Request, emit: Emit = lambda event: None) -> Reply:
        """Call the function in this process; its exceptions are passed on."""
        return self.function(request, emit)

    def here(self, request: Request, *, on_event: OnEvent = lambda event: None) -> Outcome:
        """Call the function in this process and return how it ended, as ``isolated`` does."""
        return run_here(self.function, {"request": request}, on_event=on_event)

    def isolated(
        self,
        request: Request,
        *,
        limits: Limits | None = None,
        threads: int | None = None,
        plugin_files: Sequence[str] | None = None,
        on_event: OnEvent = lambda event: None,
        keep_events: bool = True,
    ) -> Outcome:
        """Call the function in a child process (see ``run_isolated``); the outcome has its reply and its events."""
        kinds: dict[str, type[Record]] = {kind.__name__: kind for kind in (*self.events, *_COMMON)}
        events: list[Record] = []

        def take(event: dict[str, Any]) -> None:
            ((name, fields),) = event.items()
            made = kinds[name].model_validate(fields)
            if keep_events:
                events.append(made)
            on_event(made)

        outcome = run_isolated(
            f"{__name__}:serve",
            {"call": self.name, "request": request.model_dump(mode="json")},
            limits=limits,
            threads=threads,
            plugin_files=plugin_files,
            on_event=take,
            keep_events=False,
        )
        value = self.reply.model_validate(outcome.value) if self.reply and outcome.status == "ok" else None
        return replace(outcome, value=value, events=events)


def child_call(*events: type[Record]) -> Callable[[Callable[[Request, Emit], Reply]], ChildCall[Request, Reply]]:
    """Make a function (request, emit) -> reply callable in a child process; its annotations give the record types."""

    def make(function: Callable[[Request, Emit], Reply]) -> ChildCall[Request, Reply]:
        hints = get_type_hints(function)
        reply = hints["return"] if isinstance(hints["return"], type) and issubclass(hints["return"], Record) else None
        name = f"{function.__module__}:{function.__qualname__}"
        return ChildCall(function, name, hints["request"], reply, events)

    return make


def serve(*, call: str, request: dict[str, Any], emit: Callable[[Any], object]) -> dict[str, Any] | None:
    """Run a ``ChildCall``, named "module:function", in this child process; records are sent as JSON-ready values."""
    called = call_named(call)

    def send(event: Record) -> None:
        emit({type(event).__name__: event.model_dump(mode="json")})

    reply: Record | None = called(called.request.model_validate(request), send)
    return None if reply is None else reply.model_dump(mode="json")


def call_named(name: str) -> ChildCall[Any, Any]:
    """Return the call with a ``name`` "module:function"."""
    module, _, function = name.partition(":")
    called: ChildCall[Any, Any] = getattr(importlib.import_module(module), function)
    return called
