"""The header of a .gguf file, read with nothing taken on trust.

The package `gguf` goes round as often as a count in the file says, so that a few bytes keep it busy for ever;
here every count and length is held against the bytes that are there. Its tables of types are used.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import dataclasses
import math
import struct
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from laminar_lens.models.folder.files import FolderError, quoted, shown, size_bytes

MOST_KEYS, MOST_TENSORS = 10_000, 100_000  # the most known: about a hundred, and a few thousand
MOST_ENTRIES = 2**22  # of an array; the longest known is a list of about 500,000 merges
MOST_NAME_BYTES, MOST_TEXT_BYTES = 2**16, 2**24
MOST_AXES = 4
_VERSIONS = (2, 3)
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor as the file holds it.

    Attributes:
        shape: the fastest axis first, as the file has it.
        kind: "F32", "Q4_1", …
        first: its first byte, counted from the first tensor's.
        n_bytes: that it takes in the file.
    """

    shape: tuple[int, ...]
    kind: str
    first: int
    n_bytes: int

    @property
    def n_values(self) -> int:
        """Numbers that it holds."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class Header:
    """What a .gguf file says of itself.

    Attributes:
        values: numbers and texts by key.
        lengths: entries of each array by key.
        tensors: by name.
    """

    values: dict[str, Any]
    lengths: dict[str, int]
    tensors: dict[str, StoredTensor]

    @property
    def architecture(self) -> Any:
        """As llama.cpp calls it: "llama", "qwen2", …"""
        return self.values.get("general.architecture")

    def of_model(self, key: str) -> Any:
        """The value of a key that belongs to the architecture: "block_count" of "llama.block_count"."""
        return self.values.get(f"{self.architecture}.{key}")

    @property
    def n_blocks(self) -> int:
        """Blocks that a text goes through; those that predict further tokens stand after them."""
        return int(self.of_model("block_count")) - int(self.of_model("nextn_predict_layers") or 0)

    @property
    def n_values(self) -> int:
        """Numbers in all tensors."""
        return sum(tensor.n_values for tensor in self.tensors.values())

    @property
    def quantisation(self) -> str:
        """The kind that most of the numbers are of."""
        share: Counter[str] = Counter()
        for tensor in self.tensors.values():
            share[tensor.kind] += tensor.n_values
        return share.most_common(1)[0][0] if share else "none"

    @property
    def kinds(self) -> dict[str, int]:
        """Tensors of each kind, the most frequent first."""
        return dict(Counter(tensor.kind for tensor in self.tensors.values()).most_common())


def read_header(file: Path) -> Header:
    """The header of a regular file; of the same content it is read once.

    Raises:
        FolderError: no GGUF file, cut short, or its header does not describe it.
    """
    size = size_bytes(file)
    try:
        status = file.stat()
        return _read(str(file.resolve()), status.st_mtime_ns, size)
    except OSError as error:
        raise FolderError(f"it cannot be read ({error.strerror})", "check its permissions") from None


@lru_cache(maxsize=8)
def _read(path: str, modified_ns: int, size: int) -> Header:
    with open(path, "rb") as stream:
        return _Reading(stream, size).header()


class _Reading:
    """One pass over a header; `size` bytes are there."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size, self._at = stream, size, 0

    def header(self) -> Header:
        """All of it, checked against the file's length."""
        if self._take(4, "its header") != b"GGUF":
            raise FolderError("it is no GGUF file: it does not begin with GGUF", "give a .gguf file")
        version = self._number("I")
        if version not in _VERSIONS:
            swapped = version & 0xFFFF == 0 and version != 0
            what = "of big-endian machines" if swapped else f"of GGUF version {version}"
            raise FolderError(f"it is {what}; expected version 2 or 3, little-endian", "convert it again")
        n_tensors = self._count("tensors", MOST_TENSORS, least_bytes=24)
        n_keys = self._count("keys", MOST_KEYS, least_bytes=13)
        values: dict[str, Any] = {}
        lengths: dict[str, int] = {}
        for _ in range(n_keys):
            key = self._text("a key", MOST_NAME_BYTES)
            if key in values or key in lengths:
                raise FolderError(f"its header has the key {quoted(key)} twice")
            value = self._value(key)
            (lengths if isinstance(value, _Length) else values)[key] = value
        tensors = dict(self._tensor() for _ in range(n_tensors))
        if len(tensors) != n_tensors:
            raise FolderError("its header has two tensors of one name")
        self._check_places(tensors, values.get("general.alignment", 32))
        return Header(values, {key: int(length) for key, length in lengths.items()}, tensors)

    def _value(self, key: str) -> Any:
        kind = self._number("I")
        if kind == _TEXT:
            return self._text(f"the text of {quoted(key)}", MOST_TEXT_BYTES)
        if kind == _ARRAY:
            return self._array(key)
        return self._number(self._format(kind, key))

    def _array(self, key: str) -> "_Length":
        """The length of an array, whose entries are stepped over; its texts must be UTF-8."""
        kind = self._number("I")
        width = 8 if kind == _TEXT else struct.calcsize(f"<{self._format(kind, key)}")
        length = self._count(f"entries in {quoted(key)}", MOST_ENTRIES, least_bytes=width)
        if kind == _TEXT:
            for _ in range(length):
                self._text(f"an entry of {quoted(key)}", MOST_NAME_BYTES)
        else:
            self._take(length * width, f"the entries of {quoted(key)}")
        return _Length(length)

    def _tensor(self) -> tuple[str, StoredTensor]:
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

        name = self._text("a tensor's name", MOST_NAME_BYTES)
        n_axes = self._number("I")
        if not 1 <= n_axes <= MOST_AXES:
            raise FolderError(f"tensor {quoted(name)} has {n_axes} axes; expected 1 to {MOST_AXES}")
        shape = tuple(self._number("Q") for _ in range(n_axes))
        number, first = self._number("I"), self._number("Q")
        try:
            kind = GGMLQuantizationType(number)
            of_values, of_bytes = GGML_QUANT_SIZES[kind]
        except (KeyError, ValueError):
            raise FolderError(
                f"tensor {quoted(name)} is of type {number}, which the package gguf does not know",
                "install a newer gguf, or give another quantisation of the model",
            ) from None
        n_values = math.prod(shape)
        if n_values == 0:
            raise FolderError(f"tensor {quoted(name)} has an axis of 0")
        if shape[0] % of_values:
            raise FolderError(
                f"tensor {quoted(name)} has axes {', '.join(map(shown, shape))}; {kind.name} needs rows of a "
                f"multiple of {of_values}"
            )
        return name, StoredTensor(shape, kind.name, first, n_values // of_values * of_bytes)

    def _check_places(self, tensors: dict[str, StoredTensor], alignment: Any) -> None:
        """Refuses tensors that overlap or lie beyond the end of the file."""
        whole = isinstance(alignment, int) and not isinstance(alignment, bool)
        if not whole or not 1 <= alignment <= 2**20 or alignment & (alignment - 1):
            raise FolderError(
                f"its general.alignment is {shown(alignment)}; expected a power of two up to {2**20:,}"
            )
        start = -(-self._at // alignment) * alignment
        end = 0
        for name, tensor in sorted(tensors.items(), key=lambda item: item[1].first):
            if tensor.first < end or tensor.first % alignment:
                raise FolderError(f"tensor {quoted(name)} overlaps another, or is not where it may begin")
            end = tensor.first + tensor.n_bytes
        if start + end > self._size:
            needed = f"{start + end:,}" if start + end < 10**20 else "more than 10^20"
            raise FolderError(f"it is cut short: {self._size:,} of {needed} bytes")

    def _format(self, kind: int, key: str) -> str:
        if kind not in _NUMBERS:
            raise FolderError(f"its header gives {quoted(key)} a value of type {kind}; expected 0 to 12")
        return _NUMBERS[kind]

    def _text(self, what: str, most: int) -> str:
        length = self._number("Q")
        if length > most:
            raise FolderError(f"{what} in its header has {shown(length)} bytes; expected at most {most:,}")
        try:
            return self._take(length, what).decode("utf-8")
        except UnicodeDecodeError:
            raise FolderError(f"{what} in its header is not UTF-8") from None

    def _count(self, what: str, most: int, *, least_bytes: int) -> int:
        """How many of something follow, each of which takes at least so many bytes."""
        count = int(self._number("Q"))
        if count > most:
            raise FolderError(f"its header counts {shown(count)} {what}; expected at most {most:,}")
        if count * least_bytes > self._size - self._at:
            raise FolderError(f"it is cut short: {self._size:,} bytes for {count:,} {what}")
        return count

    def _number(self, form: str) -> Any:
        (value,) = struct.unpack(f"<{form}", self._take(struct.calcsize(f"<{form}"), "its header"))
        return value

    def _take(self, n_bytes: int, what: str) -> bytes:
        content = self._stream.read(n_bytes) if n_bytes <= self._size - self._at else b""
        if len(content) != n_bytes:
            raise FolderError(f"it is cut short: {self._size:,} bytes, {what} goes on beyond them")
        self._at += n_bytes
        return content


class _Length(int):
    """The length of an array, told from a number."""
