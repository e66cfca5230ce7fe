"""Networks for RAW-to-RGB and denoising, each with a card; this package does not depend on the benchmark."""

from zoo.card import (
    PYNET_PLANES,
    InputSpec,
    ModelCard,
    create_model,
    get_card,
    list_models,
    register_model,
)
from zoo.errors import UserError

__all__ = [
    "PYNET_PLANES",
    "InputSpec",
    "ModelCard",
    "UserError",
    "create_model",
    "get_card",
    "list_models",
    "register_model",
]
