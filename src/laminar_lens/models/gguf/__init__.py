"""Models in one .gguf file, as llama.cpp writes them; Hugging Face reads them, dequantised.

The file is checked first with the standard library and the tables of the package `gguf` (`header`, `check`),
so that one that cannot be read is refused at once; only then its tokenizer (`tokenizer`) and its weights
(`weights`) are read, which takes torch.
"""

import contextlib
import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from laminar_lens.errors import ModelError
from laminar_lens.models.folder.files import FolderError
from laminar_lens.models.gguf.check import check_header
from laminar_lens.models.gguf.header import Header, read_header

__all__ = ["GGUF", "Header", "alone", "check_gguf", "gguf_config", "has_gguf"]

GGUF = "gguf==0.19.0"
"""The package that reads the format, as it was tested."""


def has_gguf() -> bool:
    """Whether the package `gguf` is installed."""
    return importlib.util.find_spec("gguf") is not None


def check_gguf(file: Path) -> Header:
    """The header of a .gguf file that can be loaded, as far as it tells; no tensor is read.

    Raises:
        ModelError: one line with the file, its value, what was expected and what to do.
    """
    if not has_gguf():
        raise ModelError(f"model file {str(file)!r}: reading it takes the package gguf: pip install {GGUF}")
    try:
        header = read_header(file)
        check_header(header)
    except FolderError as error:
        remedy = error.remedy or "copy it again, or download it again"
        raise ModelError(f"model file {str(file)!r}: {error}: {remedy}") from None
    return header


def gguf_config(file: Path) -> dict[str, Any]:
    """What the header of a file says of the model, under the names that config.json has for it.

    Raises:
        ModelError: as `check_gguf`.
    """
    header = check_gguf(file)
    found = {
        "model_type": header.architecture,
        "num_hidden_layers": header.n_blocks,
        "max_position_embeddings": header.of_model("context_length"),
    }
    return {key: value for key, value in found.items() if value is not None}


@contextlib.contextmanager
def alone(file: Path) -> Iterator[Path]:
    """A folder in which a link to the file stands alone, under the file's name: Hugging Face would also read
    what lies beside it (a tokenizer, an adapter)."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / file.name).symlink_to(file.resolve())
        yield Path(folder)
