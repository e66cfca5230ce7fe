"""One file per dataset; the registry imports the files when it is first used."""

from __future__ import annotations

from benchmark.types import DatasetCard
from zoo.registry import Registry, pieces_of

DATASETS: Registry[DatasetCard] = Registry("dataset", load=pieces_of(__name__))


def register_dataset(card: DatasetCard) -> DatasetCard:
    """Register a dataset under its card's name and return the card."""
    DATASETS.add(card.name, card)
    return card
