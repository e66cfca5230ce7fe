"""Units of memory: powers of two."""

from __future__ import annotations

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def size_text(size: int) -> str:
    """Return a number of bytes for people: 3.2 GiB, 512.0 MiB, 6.1 KiB, 12 bytes."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
