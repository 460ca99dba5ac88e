"""The weights that a folder would be loaded from, in Hugging Face's order, and what they hold."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from laminar_lens.models.folder.checkpoints import checkpoint_contents
from laminar_lens.models.folder.files import (
    MOST_VOCABULARY_BYTES,
    FolderError,
    present,
    read_json,
    shown,
)
from laminar_lens.models.folder.headers import safetensors_shapes

_ORDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_INDEX = ".index.json"


@dataclasses.dataclass(frozen=True)
class Stored:
    """What weights hold, as far as headers tell.

    Attributes:
        names: of the tensors.
        axes: every length that an axis of a tensor has; of a .bin file every number in its table of contents,
            which are these lengths and some more.
    """

    names: frozenset[str]
    axes: frozenset[int]


def stored_weights(folder: Path, config: dict[str, Any]) -> Stored:
    """What the weights hold that Hugging Face would read.

    Raises:
        FolderError: there are none, a shard is missing or lies outside the folder, or a file is not what it
            claims.
    """
    files = _files(folder, _first(folder, config))
    return _joined(_stored(folder / name) for name in files)


def _first(folder: Path, config: dict[str, Any]) -> str:
    """The file that names or holds the weights."""
    if (named := config.get("transformers_weights")) is not None:
        return _inside(named, "config.json: transformers_weights")
    found = next((name for name in _ORDER if present(folder / name)), None)
    if found is None:
        loose = sorted(file.name for file in folder.glob("*.safetensors"))
        but = f" and no index of {loose[0]}" if loose else ""
        raise FolderError(f"it holds no weights (model.safetensors is missing{but})")
    return found


def _files(folder: Path, first: str) -> list[str]:
    """The files that hold tensors: the one, or the shards of an index."""
    if not first.endswith(_INDEX):
        return [first]
    table = read_json(folder / first, MOST_VOCABULARY_BYTES).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise FolderError(
            f"{first}: weight_map is {shown(table)}; expected an object that gives each tensor's file"
        )
    shards = sorted({_inside(name, first) for name in table.values()})
    for shard in shards:
        if not present(folder / shard):
            raise FolderError(f"the weights {shard} are missing, which {first} names")
    return shards


def _inside(name: Any, where: str) -> str:
    """A file name that an index gives, if it stays in the folder."""
    plain = isinstance(name, str) and name and Path(name).name == name and "\\" not in name
    if not plain or not name.isprintable() or len(name.encode()) > 255:
        raise FolderError(
            f"{where} names the weights {shown(name)}; expected the name of a file in the folder"
        )
    if not name.endswith((".safetensors", ".bin", f".safetensors{_INDEX}")):
        raise FolderError(f"{where} names the weights {shown(name)}; expected a .safetensors or .bin file")
    return str(name)


def _stored(file: Path) -> Stored:
    if file.name.endswith(".bin"):
        names, numbers = checkpoint_contents(file)
        return Stored(names, numbers)
    shapes = safetensors_shapes(file)
    return Stored(frozenset(shapes), frozenset(n for shape in shapes.values() for n in shape))


def _joined(parts: Iterable[Stored]) -> Stored:
    whole = list(parts)
    return Stored(
        frozenset().union(*(part.names for part in whole)), frozenset().union(*(part.axes for part in whole))
    )
