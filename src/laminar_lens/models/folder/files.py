"""Files of a model folder, read with nothing taken on trust: what they are, how long, and their JSON."""

import json
import os
import re
import stat
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MOST_BYTES = 16 * 2**20  # of a configuration; the longest known are below one megabyte
MOST_VOCABULARY_BYTES = 512 * 2**20  # of a tokenizer or an index; the longest known are about 40 megabytes
DEEPEST = 100  # levels of JSON; configurations have fewer than ten, and tokenizers stop reading at 128

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class FolderError(Exception):
    """Why a model folder is refused, and what to do where that is not to copy it again."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.remedy = remedy


def present(file: Path) -> bool:
    """Whether the folder has that name, whatever it may be: a link that leads nowhere counts."""
    return os.path.lexists(file)


def size_bytes(file: Path) -> int:
    """Bytes of a regular file, or of the one that a link leads to.

    Raises:
        FolderError: it is a folder, FIFO, socket or device, or a link that leads nowhere or in a circle.
    """
    try:
        status = file.stat()
    except OSError as error:
        what = "is a link that leads nowhere" if file.is_symlink() else "cannot be read"
        raise FolderError(f"{file.name} {what} ({error.strerror})") from None
    if not stat.S_ISREG(status.st_mode):
        raise FolderError(f"{file.name} is {kind(status.st_mode)}; expected a regular file")
    return status.st_size


def kind(mode: int) -> str:
    """What a file is that is no regular one."""
    return next((name for test, name in _KINDS if test(mode)), "no regular file")


def read_bytes(file: Path, most: int) -> bytes:
    """All of a regular file of at most `most` bytes.

    Raises:
        FolderError: it is longer, no regular file, or may not be read.
    """
    size = size_bytes(file)
    if size > most:
        raise FolderError(f"{file.name} has {size:,} bytes; expected at most {most:,}")
    try:
        with file.open("rb") as stream:
            return stream.read(size)
    except OSError as error:
        raise FolderError(f"{file.name} cannot be read ({error.strerror})") from None


def read_json(file: Path, most: int = MOST_BYTES) -> dict[str, Any]:
    """The JSON object of a file.

    Raises:
        FolderError: it is no regular file, too long, not UTF-8, not JSON, nested too deeply, or no object.
    """
    return parse_json(read_bytes(file, most), file.name)


def parse_json(content: bytes, name: str) -> dict[str, Any]:
    """The JSON object that `name` holds."""
    try:
        value = json.loads(content.decode("utf-8"))
        too_deep = isinstance(value, dict) and _is_deep(value)
    except UnicodeDecodeError as error:
        raise FolderError(f"{name} is not UTF-8 at byte {error.start}") from None
    except ValueError as error:
        raise FolderError(f"{name} is not valid JSON ({error})") from None
    except RecursionError:
        too_deep = True
    if too_deep:
        raise FolderError(f"{name} is nested more than {DEEPEST} levels deep")
    if not isinstance(value, dict):
        raise FolderError(f"{name} is not valid: {shown(value)}; expected a JSON object")
    return value


def shown(value: Any) -> str:
    """A value of a file and its kind, short enough for a message."""
    names = {str: "a text", bool: "a truth value", list: "a list", dict: "an object", type(None): "null"}
    if isinstance(value, list | dict):
        return f"{names[type(value)]} of {len(value)}"
    if value is None:
        return "null"
    text = ascii(value) if isinstance(value, str) else f"{value:.6g}" if isinstance(value, float) else ""
    text = text or (str(value) if isinstance(value, bool) or abs(value) < 10**20 else "beyond 10^20")
    text = text if len(text) <= 60 else f"{text[:60]}…"
    return f"{text} ({names[type(value)]})" if type(value) in names else text


def quoted(text: object) -> str:
    """A text of a file in quotes; anything else with its kind."""
    return shown(text).removesuffix(" (a text)")


def is_whole(value: object, least: int = 0) -> bool:
    """Whether a JSON value is a whole number of `least` or more; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_finite(value: object) -> bool:
    """Whether a JSON value is a finite number that float64 can hold; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_deep(value: Any) -> bool:
    """Whether containers lie in each other more than DEEPEST deep; without recursion."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def layers_held(names: Iterable[str]) -> int:
    """The most numbers that the first number of tensors' names takes: model.layers.0.…, model.layers.1.…"""
    groups = defaultdict(set)
    for name in names:
        if found := re.match(r"(.*?)\.(\d{1,9})\.", f".{name}"):
            groups[found[1]].add(int(found[2]))
    return max(map(len, groups.values()), default=0)
