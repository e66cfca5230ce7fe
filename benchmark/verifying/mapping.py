"""Find for each tensor of a network its counterpart in another network or file, by name, shape and order."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from benchmark.verifying.messages import Rule

Shapes = Mapping[str, Sequence[int]]


def match(source: Shapes, target: Shapes, *, ordered: bool = True) -> dict[str, tuple[str, Rule]]:
    """Return the source's name and the rule for each name in ``target`` that has a counterpart.

    Tensors are compared in groups of one shape and last word (weight, bias). The first rule that serves a whole group
    is taken: the same names; names that end alike; with ``ordered`` also the order of both mappings, if there are
    equally many. What is left is tried again without the last word, and then without sides of 1 (a linear layer is a
    1x1 convolution). A group of unequal sizes whose names do not say more is ambiguous: of it, only those are taken
    that belong to the same layers as others that were found.
    """
    found: dict[str, tuple[str, Rule]] = {}
    signatures: list[Callable[[str, Sequence[int]], Hashable]] = [
        lambda name, shape: (_leaf(name), *shape),
        lambda name, shape: (*shape,),
        lambda name, shape: (_leaf(name), *squeezed(shape)),
        lambda name, shape: squeezed(shape),
    ]
    for signature in signatures:
        used = {name for name, _ in found.values()}
        sources = _grouped((name for name in source if name not in used), source, signature)
        targets = _grouped((name for name in target if name not in found), target, signature)
        for group, names in targets.items():
            found |= _match_group(sources.get(group, []), names, ordered)
    return found | _siblings(found, source, target)


def _siblings(found: Mapping[str, tuple[str, Rule]], source: Shapes, target: Shapes) -> dict[str, tuple[str, Rule]]:
    """Match what is left by the layers of what was found: the bias beside a weight."""
    used = {name for name, _ in found.values()}
    layers = {name.rpartition(".")[0]: (other.rpartition(".")[0], rule) for name, (other, rule) in found.items()}
    more = {}
    for name in target.keys() - found.keys():
        layer, _, leaf = name.rpartition(".")
        other, rule = layers.get(layer, ("", "name"))
        key = f"{other}.{leaf}" if other else leaf
        if layer in layers and key in source and key not in used and tuple(source[key]) == tuple(target[name]):
            more[name] = (key, rule)
    return more


def squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape without its sides of 1."""
    return tuple(side for side in shape if side != 1)


def _grouped(
    names: Iterable[str], shapes: Shapes, signature: Callable[[str, Sequence[int]], Hashable]
) -> dict[Hashable, list[str]]:
    groups: dict[Hashable, list[str]] = {}
    for name in names:
        groups.setdefault(signature(name, shapes[name]), []).append(name)
    return groups


def _match_group(source: list[str], target: list[str], ordered: bool) -> dict[str, tuple[str, Rule]]:
    """Match the names of one group by the first rule that serves all of the smaller side."""
    few, many = sorted((source, target), key=len)
    pairs, rule = {name: name for name in few}, "name"
    if not set(few) <= set(many):
        pairs, rule = _by_ending(few, many), "suffix"
    if len(pairs) < len(few) and ordered and len(few) == len(many):
        pairs, rule = dict(zip(few, many)), "order" if len(few) > 1 else "shape"
    if len(pairs) < len(few):
        return {}
    turned = pairs if few is target else {there: here for here, there in pairs.items()}
    return {name: (other, rule) for name, other in turned.items()}  # type: ignore[misc]


def _by_ending(few: list[str], many: list[str]) -> dict[str, str]:
    """Return for each of ``few`` the one of ``many`` whose name ends most alike; nothing if that is not one to one."""
    pairs = {}
    for name in few:
        alike = {other: _common_end(name, other) for other in many}
        best = max(alike.values(), default=0)
        winners = [other for other, words in alike.items() if words == best]
        if not best or len(winners) > 1:
            return {}
        pairs[name] = winners[0]
    return pairs if len(set(pairs.values())) == len(pairs) else {}


def _common_end(one: str, other: str) -> int:
    """Return how many words two names have in common at their ends; 0 if it is only the last, as in all weights."""
    words, others = one.split(".")[::-1], other.split(".")[::-1]
    count = next((i for i, (a, b) in enumerate(zip(words, others)) if a != b), min(len(words), len(others)))
    return count if count > 1 or count == min(len(words), len(others)) else 0


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]
