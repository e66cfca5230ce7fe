"""Text in a width: what gives way first, what never does, and whose texts make no line of their own."""

from __future__ import annotations

import re

import pytest

from benchmark.fitting import Cell, Field, fitted, hanging, shortened_middle, width_of, wrapped

NAMES = ("hyperunet_64_32_2048[hidden=2] (my long label), tiles auto", "雨の日のネットワーク_base", "unet")


def fields(*, expendable: bool = True) -> list[Field]:
    scores = tuple(Cell(f"2{y}.77†1", f"[2{y}.12, 2{y}.35]", f"2{y}.12-2{y}.35") for y in range(3))
    goes = {"goes": 1} if expendable else {}
    return [
        Field(("model",), tuple(map(Cell, NAMES)), is_name=True),
        Field(("psnr[rgb]", "[dB] ↑"), scores, ("psnr", "[dB] ↑")),
        Field(("ssim[gaussian11,rgb] ↑",), scores, ("ssim ↑",), **(goes and {"goes": 2})),
        Field(("params", "[M] ↓"), tuple(map(Cell, ("0.303", "17.3", "275"))), **goes),
    ]


@pytest.mark.parametrize("room", [*range(24, 130, 7), 200, None])
def test_every_line_fits_and_every_number_is_whole(room: int | None) -> None:
    found = fitted(fields(), room)
    assert room is None or max(map(width_of, found.lines)) <= room
    text = "\n".join(found.lines)
    shown = [field for field in fields() if field not in found.left_out]
    for field in shown[1:]:
        for text_, beside, below in field.cells:
            assert text_ in text
            assert (below if found.form.is_stacked else beside) in text


def test_room_is_won_in_the_order_of_what_readers_miss_least() -> None:
    unlimited = fitted(fields(), None)
    whole = max(map(width_of, unlimited.lines))
    assert all(name in "\n".join(unlimited.lines) for name in NAMES)
    assert (unlimited.form.is_short, unlimited.form.is_stacked) == (False, False)
    # Short headers, then intervals below, then shorter names; the less important score goes first.
    forms = [fitted(fields(), room) for room in range(whole, 20, -1)]
    order = [
        (one.form.is_short, one.form.is_stacked, one.form.shortest is not None, len(one.left_out)) for one in forms
    ]
    assert order == sorted(order)
    gone = next(one.left_out for one in forms if one.left_out)
    assert [field.header for field in gone] == [("ssim[gaussian11,rgb] ↑",)]
    assert not fitted(fields(expendable=False), 30).left_out
    assert not fitted(fields(expendable=False), 30).fits


def test_names_lose_their_middle_unless_two_would_become_alike() -> None:
    assert shortened_middle("hyperunet_32_16_2048", 12) == "hyperu…_2048"
    assert width_of(shortened_middle("雨の日のネットワーク", 9)) <= 9
    names = ("unet (trained with rate 1e-3 on all)", "unet (trained with rate 1e-4 on all)")
    table = [Field(("model",), tuple(map(Cell, names)), is_name=True), Field(("x",), (Cell("1"), Cell("2")))]
    lines = fitted(table, 20).lines
    assert max(map(width_of, lines)) <= 20
    assert "…" not in "".join(lines)
    assert "".join(line.rstrip("12 ") for line in lines[2:4]).startswith("unet (trained")
    assert "1e-3" in "".join(lines).replace(" ", "")


def test_sentences_are_wrapped_and_hang_beside_what_they_are_about() -> None:
    text = "the calibration kernel drifted by +5 % in /a/very/long/path/without/any/space/at/all.jsonl"
    lines = wrapped(text, 30, "  ")
    assert max(map(width_of, lines)) <= 30
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert hanging("macs  worse  ", "1 -> 2", None) == ["macs  worse  1 -> 2"]
    beside, below = hanging("macs  ", text, 60), hanging("a_long_measurement[of,some,definition]  worse  ", text, 60)
    assert [line[:6] for line in beside] == ["macs  ", "      "]
    assert [line[:4] for line in below[1:]] == ["    "] * (len(below) - 1)
    assert max(map(width_of, [*beside, *below])) <= 60


def test_texts_of_records_make_no_line_and_no_command() -> None:
    hostile = "x\n::error title=forged::y\x1b]0;owned\x07 ##[error]z"
    table = [Field(("model",), (Cell(hostile), Cell("::error::")), is_name=True), Field(("x",), (Cell("1"), Cell("2")))]
    for room in (None, 40, 16, 8):
        for line in [*fitted(table, room).lines, *wrapped(f"a note: {hostile}", room, "  ")]:
            assert not line.lstrip().startswith("::")
            assert "##[" not in line
            assert not re.search(r"[\x00-\x1f]", line)
