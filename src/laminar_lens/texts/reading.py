"""The one reader of text files: regular files, UTF-8, without a byte-order mark."""

import codecs
import errno
import gzip
import io
import os
import stat
import zlib
from typing import NoReturn

from laminar_lens.errors import InputError, a_kind

MOST_BYTES = 2**30
"""A text file of more than a gibibyte is a mistake: its tokens alone would need some eight times as much."""

PACKED = ".gz"

MARK = "\ufeff"
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def read_text(path: object, what: str = "text file") -> str:
    """The text of a file, its line ends as they are, without a byte-order mark at its beginning.

    Only a regular file is opened (a link to one is fine): a pipe may never send anything, and a device may
    never end.

    Args:
        path: of the file, a str or a Path.
        what: names it in errors.

    Raises:
        InputError: no path; not there, unreadable, no regular file, more than `MOST_BYTES`, or no UTF-8 (the
            byte offset is named; UTF-16 and UTF-32 by their mark), or holds a zero byte.
    """
    data = read_bytes(path, what)
    name = f"{what} {str(path)!r}"
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            raise InputError(f"{name} is {encoding} (it begins with {mark.hex(' ')}): save it as UTF-8")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 at byte {error.start}: save it as UTF-8") from None
    if (zero := text.find("\0")) >= 0:
        raise InputError(f"{name} is binary (character {zero} is a zero): give a file of text")
    return text.lstrip(MARK)


def read_bytes(path: object, what: str = "text file") -> bytes:
    """What a regular file holds; of a .gz file, what was compressed.

    Raises:
        InputError: as `read_text`, but for the encoding; a .gz file that is none, or is cut short.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"{what} is given as {a_kind(path)} ({path!r:.60}): give its path")
    name = f"{what} {str(path)!r}"
    data = _bytes(path, name)
    if not os.fspath(path).lower().endswith(PACKED):
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{name} cannot be unpacked ({error}): it is damaged, or no gzip file") from None
    if len(data) > MOST_BYTES:
        _refuse_size(name)
    return data


def read_document(path: str | os.PathLike[str]) -> str:
    """A file that is one text: as `read_text`, with every line end as "\\n".

    Raises:
        InputError: as `read_text`, or nothing but white space.
    """
    text = read_text(path, "text file").replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise InputError(f"text file {os.fspath(path)!r} is empty: give a file of text")
    return text


def _bytes(path: str | os.PathLike[str], name: str) -> bytes:
    try:
        _check_regular(os.stat(path), name)
        # The file may have been exchanged since: opened so, a pipe does not wait for its other end.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(handle, "rb") as file:
            _check_regular(os.fstat(handle), name)
            data = file.read(MOST_BYTES + 1)
        if data is None:  # /proc/kmsg calls itself a regular file, and waits
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{name} does not exist: check the path") from None
    except (OSError, ValueError) as error:  # a NUL in a path is a ValueError
        _refuse(name, error)
    if len(data) > MOST_BYTES:
        _refuse_size(name)
    return data


def _check_regular(found: os.stat_result, name: str) -> None:
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        raise InputError(
            f"{name} cannot be read: it is {_KINDS.get(kind, 'no regular file')}, and only regular files are "
            "read; save the text in a file"
        )
    if found.st_size > MOST_BYTES:
        _refuse_size(name)


def _refuse_size(name: str) -> NoReturn:
    raise InputError(f"{name} is larger than {MOST_BYTES:,} bytes: give a part of it")


def _refuse(name: str, error: Exception) -> NoReturn:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    raise InputError(f"{name} cannot be read ({reason}): check the path") from None
