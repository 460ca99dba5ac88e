"""The header of a safetensors file, compared with the file: the format's own rules, with reasons.

Source: https://huggingface.co/docs/safetensors, "Format": 8 bytes with the header's length, a JSON object of
{name: {dtype, shape, data_offsets}}, and the tensors' bytes without holes.
"""

import math
from pathlib import Path

from laminar_lens.models.folder.files import FolderError, is_whole, parse_json, quoted, shown, size_bytes

MOST_HEADER_BYTES = 100_000_000  # the format's limit
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


def safetensors_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Each tensor's shape; nothing but the header is read.

    Raises:
        FolderError: the file is half-written, or its header does not describe it.
    """
    size = size_bytes(file)
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or 8 + length > size:
                raise FolderError(f"{file.name} is half-written: {size:,} bytes, its header is cut")
            if length > MOST_HEADER_BYTES:
                raise FolderError(
                    f"{file.name} has a header of {length:,} bytes; expected at most {MOST_HEADER_BYTES:,}"
                )
            content = stream.read(length)
    except OSError as error:
        raise FolderError(f"{file.name} cannot be read ({error.strerror})") from None
    try:
        header = parse_json(content, "its header")
    except FolderError as error:
        raise FolderError(f"{file.name} is no safetensors file: unreadable header ({error})") from None
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise FolderError(f"{file.name}: __metadata__ is {shown(metadata)}; expected an object of texts")
    spans = sorted(_span(file.name, name, entry) for name, entry in entries.items())
    _check_spans(file.name, spans, 8 + length, size)
    return {name: tuple(entry["shape"]) for name, entry in entries.items()}


def _span(file: str, name: str, entry: object) -> tuple[int, int, str]:
    """Where a tensor's bytes begin and end, if they are as many as its dtype and shape need."""
    tensor = f"{file}: tensor {quoted(name)}"
    if not isinstance(entry, dict):
        raise FolderError(
            f"{tensor} is {shown(entry)}; expected an object with dtype, shape and data_offsets"
        )
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise FolderError(f"{tensor} has dtype {shown(dtype)}; expected one of F32, F16, BF16 …")
    if not isinstance(shape, list) or not all(is_whole(axis) for axis in shape):
        raise FolderError(f"{tensor} has shape {_items(shape)}; expected whole numbers")
    if not (isinstance(offsets, list) and len(offsets) == 2 and all(is_whole(place) for place in offsets)):
        raise FolderError(f"{tensor} has data_offsets {_items(offsets)}; expected two whole numbers")
    first, end = offsets
    bits = math.prod(shape) * _BITS[dtype]
    if bits != 8 * (end - first):
        needed = f"{bits // 8:,}" if bits < 2**70 else "more than 10^20"
        raise FolderError(
            f"{tensor} lies at bytes {shown(first)} to {shown(end)}; {dtype} of shape {_items(shape)} needs "
            f"{needed} bytes"
        )
    return first, end, name


def _items(value: object) -> str:
    """A list with its items where they are few; another value as it is shown."""
    if isinstance(value, list) and len(value) <= 4:
        return "[" + ", ".join(map(shown, value)) + "]"
    return shown(value)


def _check_spans(file: str, spans: list[tuple[int, int, str]], start: int, size: int) -> None:
    """Refuses tensors that overlap or leave holes, and a file that is shorter or longer than they say."""
    end = 0
    for first, stop, name in spans:
        if first != end:
            what = "overlaps another" if first < end else f"leaves {first - end:,} bytes unused before it"
            raise FolderError(f"{file}: tensor {quoted(name)} {what}")
        end = stop
    if start + end != size:
        what = "half-written" if size < start + end else "longer than its header says"
        raise FolderError(f"{file} is {what}: {size:,} of {start + end:,} bytes")
