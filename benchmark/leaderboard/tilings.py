"""What a reader is told about rows that were measured in tiles."""

from __future__ import annotations

from benchmark.types import Result

APPROXIMATE = "put together from tiles that are not exact, which changes the output; not ranked"


def tiling_texts(result: Result) -> list[str]:
    """Return how the images went through the network, by shape; what ``--tile auto`` took is named as HxW."""
    purposes: dict[str, list[str]] = {}
    for one in result.tilings:
        named = f" (--tile {one.tile[0]}x{one.tile[1]})" if one.tile and result.spec.conditions.tile == "auto" else ""
        purposes.setdefault(f"at {'x'.join(map(str, one.input_shape[1:]))}{named}: {one.text}", []).append(one.purpose)
    return [f"{' and '.join(dict.fromkeys(names))} {text}" for text, names in purposes.items()]
