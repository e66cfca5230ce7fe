"""Get a dataset's card by its name, find and open its folder, and write its stand-in."""

from __future__ import annotations

import inspect
import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from benchmark.cleaning import is_file_name, one_line
from benchmark.conditions import Sigma, sigma_text
from benchmark.datasets import DATASETS
from benchmark.imaging.imagefiles import header_of
from benchmark.reporting import Reporter
from benchmark.standin.building import hold
from benchmark.standin.kinds import original_of
from benchmark.types import Dataset, DatasetCard
from zoo.errors import UserError


def given_options(**options: str | float | None) -> dict[str, str]:
    """Return the options of a user's own data that are given, as texts for ``dataset_card``."""
    numbers = {key: f"{value:.10g}" for key, value in options.items() if isinstance(value, float)}
    return {key: numbers.get(key, str(value)) for key, value in options.items() if value is not None}


def dataset_card(name: str, /, **options: str | float | None) -> DatasetCard:
    """Return the card called ``name`` with the given ``options``, those of a user's own data (``pairing.FLAGS``).

    Raises UserError for unknown names, for options that the dataset does not have, and for a ``name`` in records that
    cannot be used.
    """
    card, given = DATASETS.get(name), given_options(**options)
    if card.configure is None:
        if given:
            key = next(iter(given))
            able = " and ".join(other.name for other in DATASETS if key in other.options)
            raise UserError(f"{name} takes no {key}; those are for --dataset {able}.")
        return card
    if "name" in given:
        check_label(given["name"])
        if original_of(given["name"].lower()) in DATASETS:
            raise UserError(
                f"--name {given['name']}: {original_of(given['name'].lower())} is a dataset of this package; expected"
                " a name of your own data, as ultraisp-sample."
            )
    return card.configure(given)


def card_at(name: str, data_root: str | Path | None, /, **options: str | float | None) -> DatasetCard:
    """Return ``dataset_card``; where the files at ``data_root`` decide the task, with that."""
    card = dataset_card(name, **options)
    root = find_root(card, data_root, Reporter()) if card.at_root else None
    return card.at_root(card, root) if card.at_root and root else card


def divided_sigma(name: str, sigma: Sigma | None) -> tuple[str | None, Sigma | None]:
    """Return ``sigma`` as the option of a dataset that adds noise, and as what networks are told on other datasets."""
    return (sigma_text(sigma), None) if DATASETS.get(name).adds_noise else (None, sigma)


def open_dataset(
    card: DatasetCard,
    data_root: str | Path | None = None,
    split: str | None = None,
    reporter: Reporter | None = None,
    *,
    partial: bool = False,
) -> Dataset:
    """Open a split at ``data_root``, else at ``$ZOO_BENCH_DATA/<name>``, else of the built-in stand-in, with a note.

    With ``partial`` a part of the split is enough. Raises UserError for an unknown split and for every fault in the
    files.
    """
    return open_with_root(card, data_root, split, reporter, partial=partial)[0]


def open_split(card: DatasetCard, root: Path, split: str, *, skip_bad: bool = False, partial: bool = False) -> Dataset:
    """Open a split at ``root``; if the dataset can, without bad files or, with ``partial``, only its existing part."""
    given = {name for name, flag in (("skip_bad", skip_bad), ("partial", partial)) if flag}
    return card.open(root, split, **dict.fromkeys(given & inspect.signature(card.open).parameters.keys(), True))


def note_partial(card: DatasetCard, name: str, *, standin: bool, reporter: Reporter) -> None:
    """Report if --partial has no effect: a stand-in is complete, and so is a user's own folder."""
    if standin or "partial" not in inspect.signature(card.open).parameters:
        reporter.note(f"{name}: --partial changes nothing here, because no number of images is published.")


def open_with_root(
    card: DatasetCard,
    data_root: str | Path | None = None,
    split: str | None = None,
    reporter: Reporter | None = None,
    *,
    skip_bad: bool = False,
    partial: bool = False,
) -> tuple[Dataset, Path]:
    """Open a split as ``open_dataset`` does; return it with its folder."""
    reporter = reporter or Reporter()
    split = split or card.default_split
    if split not in card.splits:
        raise UserError(f"{card.name} has no split '{split}'; expected one of {', '.join(card.splits)}.")
    found = find_root(card, data_root, reporter)
    if found is not None:
        root, dataset = found, open_split(card, found, split, skip_bad=skip_bad, partial=partial)
    elif card.standin is None:
        raise UserError(f"{card.name}: no data; it has no embedded stand-in. Pass --data-root or set ZOO_BENCH_DATA.")
    else:
        root = card.standin(reporter)
        dataset = card.open(root, split)
    _check_names(dataset)
    for note in getattr(dataset, "notes", ()):
        reporter.note(note)
    if partial:
        is_standin = found is None or bool(dataset.provenance.get("standin"))
        note_partial(card, dataset.name, standin=is_standin, reporter=reporter)
    if found is None:
        reporter.note(
            f"{card.name}: no --data-root given; using the embedded stand-in {dataset.name}"
            f" ({len(dataset.ids)} {split} images). Its scores say nothing about {card.name}."
        )
    return dataset, root


def make_standin(
    name: str,
    out: Path,
    *,
    seed: int,
    reporter: Reporter,
    photos: Path | None = None,
    count: int | None = None,
    label: str | None = None,
) -> bool:
    """Write the stand-in of a dataset (named with or without ``-standin``) into ``out``; False if it is there already.

    ``photos``: make it from the pictures in that folder, with ``count`` pairs or scenes (default: one per picture).
    With a ``label`` records call it ``zrr-standin (label)``. Raises UserError for a dataset without a stand-in and for
    a folder that is not empty or, with ``photos``, holds another stand-in than the one to continue.
    """
    card = DATASETS.get(original_of(name))
    if card.write_standin is None:
        able = [other.name for other in DATASETS if other.write_standin]
        raise UserError(f"data make: {card.name} has no stand-in; expected one of {', '.join(able)}.")
    if photos is not None and card.write_from_photos is None:
        raise UserError(f"data make: {card.name} cannot be made from photographs; leave --photos out.")
    if photos is None and count is not None:
        raise UserError(f"data make: --count {count} needs --photos; the embedded stand-in has a fixed size.")
    if label is not None:
        check_label(label)
    with hold(out):
        if photos is not None and card.write_from_photos is not None:
            return card.write_from_photos(out, photos, count, seed, reporter, label=label)
        card.write_standin(out, seed, reporter, label=label)
        return True


def check_label(label: str) -> None:
    """Raise UserError for a label that a dataset's name cannot hold."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}", label):
        raise UserError(
            f"--name {one_line(label)!r}: expected up to 40 letters, digits and signs such as '-' and '_', as bsds500."
        )


def at_own_size(card: DatasetCard, dataset: Dataset, reporter: Reporter) -> DatasetCard:
    """Return the card of a user's own files with the size of its images, of which costs and times are.

    If there are several sizes, it is the most frequent one, of equally frequent ones the largest, and that is reported.
    """
    if card.configure is None or (paths := getattr(dataset, "paths", None)) is None:
        return card
    found = (header_of(paths(id)[-1])[1] for id in dataset.ids)
    sizes = Counter(size for size in found if size)
    if not sizes:
        return card
    height, width = max(sizes, key=lambda size: (sizes[size], size[0] * size[1], size))
    if len(sizes) > 1:
        reporter.note(
            f"{dataset.name}: the images have {len(sizes)} sizes; costs and times are of {height}x{width}, the most"
            " frequent one."
        )
    # The targets of mosaics are twice as large as packed planes.
    cell = 2 if card.task == "raw2rgb" else 1
    return replace(card, plane_size=(height // cell, width // cell))


def _check_names(dataset: Dataset) -> None:
    """Raise UserError for a name that records cannot use: it also names a folder and a page; and for missing scenes."""
    for what, name in (("name", dataset.name), ("split", dataset.split)):
        if not is_file_name(name):
            raise UserError(
                f"dataset {one_line(name)!r}: its {what} cannot name a file; expected letters, digits and signs such as"
                " '-', '_' and brackets."
            )
    if (scenes := getattr(dataset, "scenes", None)) is not None and len(scenes) != len(dataset.ids):
        raise UserError(
            f"dataset {dataset.name}: it names {len(scenes)} scenes; expected one for each of its"
            f" {len(dataset.ids)} ids."
        )


def find_root(card: DatasetCard, data_root: str | Path | None, reporter: Reporter) -> Path | None:
    """Return the folder of a dataset: ``data_root``, or ``$ZOO_BENCH_DATA/<name>`` if that exists, else None.

    Raises UserError if ``data_root`` is not a folder.
    """
    if data_root is not None:
        root = Path(data_root)
        if not root.is_dir():
            raise UserError(f"{card.name}: no folder at {root}; download the dataset and pass its root as --data-root.")
        return root
    base = os.environ.get("ZOO_BENCH_DATA")
    if not base:
        return None
    root = Path(base) / card.name
    if root.is_dir():
        return root
    reporter.note(f"{card.name}: no folder {root} (from ZOO_BENCH_DATA).")
    return None
