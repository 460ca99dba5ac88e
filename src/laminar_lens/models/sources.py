"""Where a loaded model came from; kept beside the model, not on it."""

import dataclasses
from typing import Any
from weakref import WeakKeyDictionary


@dataclasses.dataclass(frozen=True)
class File:
    """The one file that a model's weights are from, where that is no Hugging Face folder.

    Attributes:
        name: without its folder.
        sha256: of its bytes.
        quantisation: how many tensors of which kind it holds.
    """

    name: str
    sha256: str
    quantisation: str


@dataclasses.dataclass(frozen=True)
class Source:
    """What loading found out that the model itself does not say; `path` only where it may be told."""

    name: str
    revision: str | None = None
    hf_config: Any = None
    has_bos: bool | None = None
    adds_bos: tuple[str, str] | None = None
    compared: str | None = None
    limits: tuple[str, ...] = ()
    file: File | None = None
    path: str | None = None


SOURCES: "WeakKeyDictionary[Any, Source]" = WeakKeyDictionary()
