"""The table of contents of a pytorch_model.bin: a zip with one pickle, read here without running it."""

import pickletools
import struct
import zipfile
import zlib
from pathlib import Path

from laminar_lens.models.folder.files import FolderError, size_bytes

MOST_TABLE_BYTES = 64 * 2**20  # the pickle names tensors only; the longest known are about one megabyte
_BUILTINS = ("builtins", "__builtin__")
_ROOTS = ("torch", "collections", "_codecs", "numpy", *_BUILTINS)
_HARMLESS = ("bytearray", "complex", "dict", "frozenset", "list", "set")
_NAMES = ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE")
_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "INT", "LONG")


def checkpoint_contents(file: Path) -> tuple[frozenset[str], frozenset[int]]:
    """The texts in the pickle, tensors' names among them, and its numbers, among them their axes.

    Torch itself loads with `weights_only` and refuses code too; here it is refused before torch is there.

    Raises:
        FolderError: no zip as torch writes it, entries beyond the file, or a pickle that asks for code.
    """
    size = size_bytes(file)
    try:
        with zipfile.ZipFile(file) as archive:
            return _contents(archive, file.name, size)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        KeyError,
        NotImplementedError,
        OSError,
        RuntimeError,
        ValueError,
        OverflowError,
        struct.error,
    ) as error:  # what zipfile raises of a damaged file
        raise FolderError(f"{file.name} is half-written, or not written by torch ({error})") from None


def _contents(archive: zipfile.ZipFile, name: str, size: int) -> tuple[frozenset[str], frozenset[int]]:
    entries = archive.infolist()
    tables = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
    if len(tables) != 1:
        raise FolderError(
            f"{name} is not written by torch: {len(tables)} tables data.pkl in it; expected one"
        )
    packed = next((entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None:
        raise FolderError(f"{name} is not written by torch: {packed.filename[:60]!a} in it is compressed")
    if (total := sum(entry.file_size for entry in entries)) > size:
        raise FolderError(f"{name} is half-written: its entries have {total:,} bytes, the file {size:,}")
    if tables[0].file_size > MOST_TABLE_BYTES:
        raise FolderError(
            f"{name}: its data.pkl has {tables[0].file_size:,} bytes; expected at most {MOST_TABLE_BYTES:,}"
        )
    return _read(archive.read(tables[0]), name)


def _read(pickle: bytes, name: str) -> tuple[frozenset[str], frozenset[int]]:
    """Texts and numbers of a pickle's instructions."""
    texts: set[str] = set()
    numbers: set[int] = set()
    for operation, argument, _ in pickletools.genops(pickle):
        if operation.name in _NAMES:
            texts.add(str(argument))
        elif operation.name in _NUMBERS and argument is not None:
            numbers.add(int(argument))
        elif operation.name in ("GLOBAL", "INST"):
            module, _, wanted = str(argument).partition(" ")
            if module.split(".")[0] not in _ROOTS or (module in _BUILTINS and wanted not in _HARMLESS):
                asked = ascii(f"{module}.{wanted}"[:60])
                raise FolderError(
                    f"{name} asks for {asked}, which weights never need; nothing was run",
                    "do not use this file",
                )
    return frozenset(texts), frozenset(numbers)
