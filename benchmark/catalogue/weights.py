"""The weights that are known: those that ship with the package, and published files by their digests."""

from __future__ import annotations

from typing import Any

from benchmark.catalogue.cards import Lines
from zoo.card import ModelCard, get_card
from zoo.official import official_files
from zoo.trained import shipped_models, shipped_weights
from zoo.weights import read_checkpoint


def known_weights() -> list[dict[str, Any]]:
    """Return a row for each known file of weights, by model: what it is, its digest, licence, and how to pass it.

    ``argument`` is the value of ``run --weights``; after ``=`` that of other commands.
    """
    rows: list[dict[str, Any]] = []
    for name in shipped_models():
        file = read_checkpoint(shipped_weights(name) or "")
        about = file.metadata
        rows.append(
            {
                "name": name,
                "kind": "shipped",
                "file": file.path.name,
                "sha256": file.digest,
                "licence": "Apache-2.0",
                "published": None,
                "what": f"recipe {about.get('recipe')} on {about.get('dataset')}: they demonstrate the tool",
                "argument": f"{name}=shipped",
            }
        )
    for known in official_files():
        if known.model is not None:
            rows.append(
                {
                    "name": known.model,
                    "kind": "official",
                    "file": f"{known.path} of {known.repository}",
                    "sha256": known.sha256,
                    "licence": known.licence,
                    "published": known.address,
                    "what": known.what,
                    "argument": f"{known.model}={known.address}",
                }
            )
    for row in rows:
        row |= {"task": get_card(str(row["name"])).task, "summary": f"{row['what']}; {row['licence']}; {row['file']}"}
    return sorted(rows, key=lambda row: (row["name"], row["kind"] != "shipped"))


def weights_lines(card: ModelCard) -> Lines:
    """Return what the card of a model says about its weights: what ships, what is published, how to pass a file."""
    lines: Lines = []
    rows = [row for row in known_weights() if row["name"] == card.name]
    for row in rows:
        if row["kind"] == "shipped":
            lines.append(("weights", f"shipped: {row['sha256'][:12]}, {row['what']} ({row['licence']})"))
    if card.is_builtin or card.official_weights:
        lines.append(("weights", card.official_weights or "no official ones known"))
    for row in rows:
        if row["published"]:
            lines.append(("known file", f"{row['sha256'][:12]} {row['file']} ({row['licence']}; {row['what']})"))
            lines.append(("", row["published"]))
    if card.params != 0:
        ways = ["a file", *(["shipped"] if any(row["kind"] == "shipped" for row in rows) else [])]
        ways += ["the address of a known file"] if any(row["published"] for row in rows) else []
        ways += ["hf://OWNER/REPOSITORY/FILE@REVISION#sha256=DIGEST or the same with https://"]
        lines.append(("pass", f"run --weights {card.name}=X, other commands --weights X; X: {', '.join(ways)}"))
    return lines
