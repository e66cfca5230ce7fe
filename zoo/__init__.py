"""Networks for RAW-to-RGB and denoising, each with a card; this package does not depend on the benchmark."""

from zoo.card import ModelCard, Task, get_card, list_models, register_model
from zoo.convention import PYNET_PLANES, InputSpec
from zoo.creating import create_model, load_weights
from zoo.errors import UserError

__all__ = [
    "PYNET_PLANES",
    "InputSpec",
    "ModelCard",
    "Task",
    "UserError",
    "create_model",
    "get_card",
    "list_models",
    "load_weights",
    "register_model",
]
