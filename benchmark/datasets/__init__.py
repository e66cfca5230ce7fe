"""One file per dataset; the registry imports them when it is first used."""

from __future__ import annotations

import importlib
import pkgutil

from benchmark.types import DatasetCard
from zoo.registry import Registry


def _import_datasets() -> None:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


DATASETS: Registry[DatasetCard] = Registry("dataset", load=_import_datasets)


def register_dataset(card: DatasetCard) -> DatasetCard:
    """Register a dataset under its card's name and return the card."""
    DATASETS.add(card.name, card)
    return card
