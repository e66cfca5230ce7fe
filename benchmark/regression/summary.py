"""One line for each model of a comparison, the worst first; a change stands for what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, get_args

from benchmark.cleaning import one_line
from benchmark.fitting import hanging, shortened_middle, width_of
from benchmark.leaderboard.tables import grouped
from benchmark.regression.thresholds import Action
from benchmark.regression.verdicts import Finding, FindingKind, Verdict

# In a list of changes, the worst come first, and of equally bad ones what matters most to a reader.
ORDER: tuple[Verdict, ...] = (
    *("failed now", "missing", "worse", "not comparable"),
    *("better", "fixed now", "new", "same"),
)
_KINDS: tuple[FindingKind, ...] = ("record", "score", "count", "timing", "memory", "shape", "fingerprint")
_ACTIONS: tuple[Action, ...] = get_args(Action)
# Counts that are multiples of another one.
_FOLLOWS = {"flops": "macs", "weight_bytes": "params"}
# How many changes are named where a line has no width; numbers in longer texts are left to the details.
_MOST, _LONGEST = 3, 24


class Changed(NamedTuple):
    """A change in a few words and its verdict."""

    verdict: Verdict
    text: str


@dataclass(frozen=True)
class Summary:
    """What was found about a model: the worst action and verdict, the changes, the number of equal measurements.

    ``places`` are datasets with their splits: several for a model that is missing in all of them.
    """

    model: str
    places: tuple[str, ...]
    action: Action
    verdict: Verdict
    changes: tuple[Changed, ...]
    num_same: int

    @property
    def where(self) -> str:
        """Return the model, the datasets and splits in one line."""
        return one_line(f"{self.model} on {', '.join(self.places)}")

    def text(self, room: int | None = None) -> str:
        """Return as many changes as fit ``room``, at least one (None: three), and the number of the others."""
        for number in range(min(len(self.changes), _MOST) if room is None else len(self.changes), 1, -1):
            if room is None or width_of(self._first(number)) <= room:
                return self._first(number)
        return self._first(1) if self.changes else f"{self.num_same} same"

    def _first(self, number: int) -> str:
        by_verdict = grouped(self.changes[:number], lambda change: change.verdict)
        texts = [
            ": ".join(filter(None, [verdict, ", ".join(filter(None, (change.text for change in changes)))]))
            for verdict, changes in by_verdict.items()
        ]
        more = len(self.changes) - number
        return one_line("; ".join(texts) + (f", {more} more" if more else ""))


def summaries(decisions: Sequence[tuple[Finding, Action]]) -> list[Summary]:
    """Return a summary for each model on each dataset, the worst first; what is missing everywhere is said once.

    Times that cannot be compared, for example those of another machine, are left out.
    """
    own = [
        (finding, action)
        for finding, action in decisions
        if not finding.judged_by and not (finding.verdict == "not comparable" and finding.kind in ("timing", "memory"))
    ]
    by_place = grouped(own, lambda decision: (decision[0].model, f"{decision[0].dataset} {decision[0].split}"))
    found: dict[object, Summary] = {}
    for (model, place), some in by_place.items():
        one = _summary(model, place, some)
        is_gone = not one.num_same and set(one.changes) == {Changed("missing", "")}
        key = model if is_gone else (model, place)
        found[key] = replace(one, places=(*found[key].places, place)) if key in found else one
    return sorted(found.values(), key=lambda one: (*_badness(one.action, one.verdict), -len(one.changes), one.where))


def _badness(action: Action, verdict: Verdict) -> tuple[int, int]:
    return _ACTIONS.index(action), ORDER.index(verdict)


def _summary(model: str, place: str, decisions: Sequence[tuple[Finding, Action]]) -> Summary:
    def place_of(decision: tuple[Finding, Action]) -> tuple[int, ...]:
        finding, action = decision
        own = _KINDS.index(finding.kind), finding.measurement != "params"
        return (*_badness(action, finding.verdict), *own)

    changed = sorted((decision for decision in decisions if decision[0].changed), key=place_of)
    families = grouped(changed, lambda decision: (_family(decision[0]), decision[0].verdict, decision[1]))
    changes = dict.fromkeys(_changed(_first([finding for finding, _ in family])) for family in families.values())
    worst, action = changed[0] if changed else decisions[0]
    return Summary(model, (place,), action, worst.verdict, tuple(changes), len(decisions) - len(changed))


def _family(finding: Finding) -> str:
    """Return the measurement that a count or a shape follows from: MACs for FLOPs, the same for other sizes."""
    if finding.kind not in ("count", "shape"):
        return finding.measurement
    name = finding.measurement.partition("@")[0]
    return _FOLLOWS.get(name, name)


def _first(family: Sequence[Finding]) -> Finding:
    return min(family, key=lambda finding: (_family(finding) != finding.measurement, "@" in finding.measurement))


def folded(findings: Sequence[Finding]) -> list[tuple[Finding, int]]:
    """Return the findings without those that follow from another of the same verdict, and how many follow from each."""
    families = grouped(findings, lambda finding: (finding.where, _family(finding), finding.verdict))
    return [(_first(family), len(family) - 1) for family in families.values()]


def _changed(finding: Finding) -> Changed:
    if finding.kind == "record":
        # What a record held that is missing is a detail.
        is_alone = finding.verdict in ("missing", "new") and finding.evidence.startswith("no record")
        return Changed(finding.verdict, "" if is_alone else finding.reported)
    return Changed(finding.verdict, " ".join(filter(None, [finding.measurement, _amount(finding)])))


def _amount(finding: Finding) -> str:
    """Return by how much a number changed; empty where that is unknown or says nothing."""
    change = finding.change
    if finding.verdict not in ("better", "worse"):
        return ""
    if finding.kind == "count" and (len(finding.evidence) <= _LONGEST or change is None):
        return finding.evidence
    if change is None:
        return ""
    if finding.kind in ("count", "memory"):
        return f"{change.value - 1:+.2%}"
    form, unit = ("{:.2f}", "x") if change.of == "ratio" else ("{:+.4g}", f" {finding.unit}".rstrip())
    interval = "" if change.low is None or change.high is None else f" [{form}, {form}]".format(change.low, change.high)
    return f"{form.format(change.value)}{unit}{interval}"


def summary_lines(found: Sequence[Summary], names: Sequence[str], room: int | None) -> list[str]:
    """Return a line for each summary with its name in front; two where not even one change fits ``room``.

    Where room is limited, a dataset that all have in common is named once, above them.
    """
    places = {one.places for one in found}
    is_shared = room is not None and len(places) == 1 and len(found) > 1
    heads = [("" if is_shared else f" on {', '.join(one.places)}", one.model) for one in found]
    wheres = [one_line(model + place) for place, model in heads]
    if room is not None:
        width = max(20, room // 3 if is_shared else room // 2)
        short = [one_line(shortened_middle(model, max(12, width - width_of(place))) + place) for place, model in heads]
        # Two models must not become alike.
        wheres = short if len(set(short)) == len(set(wheres)) else wheres
    first, second = (max([0, *map(width_of, texts)]) for texts in (names, wheres))
    lines = [f"on {one_line(', '.join(places.pop()))}:"] if is_shared else []
    for one, name, where in zip(found, names, wheres):
        head = f"{name}{' ' * (max(7, first) - width_of(name))} {where}{' ' * (2 + second - width_of(where))}"
        text = one.text(None if room is None else room - width_of(head))
        lines += hanging(head, text, room, least=min(width_of(text), 30))
    return lines
