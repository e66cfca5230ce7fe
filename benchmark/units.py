"""Units of memory (powers of two), the largest values that a user may give, and how sizes and lists are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
# Larger values are typing errors; torch takes no larger seed.
MAX_THREADS, MAX_SEED, MAX_SIDE = 1024, (1 << 63) - 1, 100_000


def size_of(text: str) -> tuple[int, int] | None:
    """Return (height, width) of ``HxW``, each 1 to 100,000; None for any other text."""
    sides = text.lower().split("x")
    # Longer numbers are not converted.
    if len(sides) != 2 or not all(side.isdecimal() and side.isascii() and len(side) <= 9 for side in sides):
        return None
    height, width = map(int, sides)
    return (height, width) if 1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE else None


def shape_text(shape: Iterable[object]) -> str:
    """Return the sides of an image or a tensor as text, the same everywhere: 448x448, 1x4x224x224."""
    return "x".join(map(str, shape))


def listed(names: Sequence[object], most: int) -> str:
    """Return the first ``most`` names and how many more there are: a, b and 3 more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def size_text(size: int) -> str:
    """Return a number of bytes for people: 3.2 GiB, 512.0 MiB, 6.1 KiB, 12 bytes."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
