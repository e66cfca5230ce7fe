"""The verdict on a double-descent experiment, computed from its records.

Two questions. Does the test error of a family fall, rise and fall again as its parameters grow? And does the largest
network of a family whose FLOPs hardly grow beat a plain network of at least as many FLOPs? The answers name how sure
they are: errors are compared as logarithms over the seeds, with a variance pooled over all members.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmark.leaderboard.runs import Spread, between_runs, spread_of
from benchmark.results.paired import LEVEL

# FLOPs that grow by less than this from the smallest to the largest member count as fixed.
FIXED = 1.25


@dataclass(frozen=True)
class Member:
    """One network of a family: its costs, and the logarithm of its test error for each seed."""

    family: str
    option: str
    value: Any
    params: int
    flops: int
    logs: tuple[float, ...]
    train_error: float

    @property
    def mean(self) -> float:
        """The mean logarithm of the test error."""
        return statistics.fmean(self.logs)

    @property
    def error(self) -> float:
        """The geometric mean of the test errors of the seeds."""
        return math.exp(self.mean)


@dataclass(frozen=True)
class Bump:
    """The largest rise of a family's test error that a fall follows: factors of the two, and the noise's factor.

    A second descent is found if both factors are larger than ``noise``: the largest factor that chance gives between
    any two of the family's members in 95 of 100 experiments. ``noise`` is None with one seed.
    """

    valley: Member
    peak: Member
    last: Member
    noise: float | None

    @property
    def rise(self) -> float:
        """The error at the peak over the error of the smaller network before it."""
        return math.exp(self.peak.mean - self.valley.mean)

    @property
    def fall(self) -> float:
        """The error at the peak over the smallest error of a larger network."""
        return math.exp(self.peak.mean - self.last.mean)

    @property
    def is_found(self) -> bool:
        """Whether rise and fall are both larger than chance explains."""
        return self.noise is not None and min(self.rise, self.fall) > self.noise


def members_of(summary: Mapping[str, Any]) -> list[Member]:
    """Return the members of a sweep's summary with at least one good point, by family and parameters."""
    rows = [row for row in summary["points"] if row["status"] == "ok"]
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["family"], str(row["value"])), []).append(row)
    found = [
        Member(
            family,
            own[0]["option"],
            own[0]["value"],
            own[0]["params"],
            own[0]["flops"],
            tuple(math.log(row["test_error"]) for row in own),
            statistics.fmean(row["train_error"] for row in own),
        )
        for (family, _), own in groups.items()
    ]
    order = list(dict.fromkeys(member.family for member in found))
    return sorted(found, key=lambda member: (order.index(member.family), member.params))


def spread(members: Sequence[Member]) -> Spread | None:
    """Return the spread of log errors between seeds, pooled over members; None if each has one seed."""
    return spread_of([member.logs for member in members])


def largest_bump(family: Sequence[Member], everyone: Sequence[Member]) -> Bump | None:
    """Return the rise and fall of a family (sorted by parameters) with the largest smaller factor; None without one."""
    bumps = [
        Bump(valley, peak, last, None)
        for valley, peak, last in itertools.combinations(family, 3)
        if peak.mean > max(valley.mean, last.mean)
    ]
    if not bumps:
        return None
    best = max(bumps, key=lambda bump: min(bump.rise, bump.fall))
    pooled = spread(everyone)
    if pooled is None:
        return best
    # Bonferroni over all pairs of the family: the largest rise is looked for, not one that was chosen before.
    level = 1 - (1 - LEVEL) / math.comb(len(family), 2)
    seeds = min(len(member.logs) for member in family)
    return replace(best, noise=math.exp(between_runs(pooled, seeds, seeds, level=level)))


def at_equal_flops(overparametrised: Sequence[Member], plain: Sequence[Member]) -> tuple[Member, Member] | None:
    """Return the largest member of a family with fixed FLOPs, and the cheapest plain one of at least as many FLOPs."""
    largest = overparametrised[-1]
    able = [member for member in plain if member.flops >= largest.flops]
    return (largest, min(able, key=lambda member: member.flops)) if able else None


def has_fixed_flops(family: Sequence[Member]) -> bool:
    """Whether the FLOPs of a family hardly grow with its parameters."""
    flops = [member.flops for member in family]
    return max(flops) < FIXED * min(flops) and family[-1].params > 2 * family[0].params


def ratio_interval(one: Member, other: Member, everyone: Sequence[Member]) -> tuple[float, float, float] | None:
    """Return error of ``one`` / error of ``other`` with its 95 % interval over seeds; None with one seed each."""
    pooled = spread(everyone)
    if pooled is None:
        return None
    half = between_runs(pooled, len(one.logs), len(other.logs))
    ratio = one.mean - other.mean
    return math.exp(ratio), math.exp(ratio - half), math.exp(ratio + half)


def verdict(summary: Mapping[str, Any]) -> list[str]:
    """Return the answers in words, a sentence or two for each family and question."""
    members = members_of(summary)
    families = [list(own) for _, own in itertools.groupby(members, key=lambda member: member.family)]
    lines = [_descent(family, members, summary) for family in families if len(family) > 2]
    plain = [family for family in families if not has_fixed_flops(family)]
    for family in families:
        if has_fixed_flops(family) and plain:
            lines.append(_equal_flops(family, plain[0], members))
    return lines


def _descent(family: Sequence[Member], everyone: Sequence[Member], summary: Mapping[str, Any]) -> str:
    name, bump = family[0].family, largest_bump(family, everyone)
    low = min(family, key=lambda member: member.mean)
    vanished = f"training error {'falls' if family[-1].train_error < summary['vanished'] else 'does not fall'} under"
    text = (
        f"{name}: from {family[0].params:,} to {family[-1].params:,} parameters the test error"
        f" (geometric mean over seeds) goes from {family[0].error:.4g} to {family[-1].error:.4g}, the"
        f" smallest is {low.error:.4g} at {_value(low)}; the {vanished}"
        f" {summary['vanished']:g} ({family[-1].train_error:.3g} for the largest)."
    )
    if bump is None:
        return f"{text} It never rises: no second descent."
    where = (
        f"it rises by a factor of {bump.rise:.3f} from {_value(bump.valley)} to {_value(bump.peak)} and falls by"
        f" {bump.fall:.3f} to {_value(bump.last)}"
    )
    if bump.noise is None:
        return f"{text} Its largest bump: {where}. With one seed it cannot be told from chance."
    if bump.is_found:
        return f"{text} It descends twice: {where}; chance explains a factor of {bump.noise:.3f}."
    return f"{text} No second descent was found: {where}, and chance explains a factor of {bump.noise:.3f}."


def _equal_flops(family: Sequence[Member], plain: Sequence[Member], everyone: Sequence[Member]) -> str:
    pair = at_equal_flops(family, plain)
    name = family[0].family
    if pair is None:
        return f"{name}: no {plain[0].family} network has as many FLOPs, so equal FLOPs were not compared."
    largest, twin = pair
    found = ratio_interval(largest, twin, everyone)
    text = (
        f"At {largest.flops / 1e9:.3g} GFLOPs {name} with {_value(largest)} has a test error of {largest.error:.4g},"
        f" {twin.family} with {_value(twin)} ({twin.flops / 1e9:.3g} GFLOPs) {twin.error:.4g}"
    )
    if found is None:
        return f"{text}: one seed each, so the difference cannot be told from chance."
    ratio, low, high = found
    sure = "wins" if high < 1 else "loses" if low > 1 else "does not differ beyond the spread of the seeds"
    return (
        f"{text}: a ratio of {ratio:.3f} (95 % interval over seeds {low:.3f} to {high:.3f}), so over-parametrisation"
        f" {sure}."
    )


def _value(member: Member) -> str:
    return f"{member.option} {member.value} ({member.params:,} parameters)"
