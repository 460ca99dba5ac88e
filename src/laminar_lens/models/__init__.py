"""Loading models: the embedded novella, smollm2, TransformerLens names, Hugging Face folders, .gguf files.

Importing this package imports neither torch nor TransformerLens, so that a wrong name is answered at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from laminar_lens.models.names import NOVELLA, check_name, near_matches

if TYPE_CHECKING:
    from laminar_lens.models.info import ModelInfo, describe, processing_note
    from laminar_lens.models.load import load_model
    from laminar_lens.models.sample import sample_tokens
    from laminar_lens.models.twin import random_twin

_LAZY = {
    "ModelInfo": "info",
    "describe": "info",
    "processing_note": "info",
    "load_model": "load",
    "random_twin": "twin",
    "sample_tokens": "sample",
}

__all__ = [
    "NOVELLA",
    "ModelInfo",
    "check_name",
    "describe",
    "load_model",
    "near_matches",
    "processing_note",
    "random_twin",
    "sample_tokens",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
