"""Files as they are written: whole or not at all, and over nothing but a regular file.

Nothing here needs numpy or torch: a place is refused before anything heavy is imported.
"""

import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from laminar_lens.errors import ResultError
from laminar_lens.escapes import one_line

ABANDONED_S = 86_400.0
"""Seconds after which another machine's unfinished file is nobody's any more: a write takes minutes."""

_LONGEST_STEM = 150  # bytes of a name that its unfinished file keeps; file systems take 255
_KINDS = (
    (stat.S_ISDIR, "a folder has that name"),
    (stat.S_ISLNK, "it is a link that leads back to itself"),
    (stat.S_ISFIFO, "it is a pipe, and only a regular file is replaced"),
    (stat.S_ISSOCK, "it is a socket, and only a regular file is replaced"),
    (stat.S_ISCHR, "it is a device, and only a regular file is replaced"),
    (stat.S_ISBLK, "it is a device, and only a regular file is replaced"),
)
_ours: set[Path] = set()  # unfinished files of this process
_records: list[list[str]] = []


def why_unwritable(path: str | os.PathLike[str]) -> str:
    """Why no file can be made or replaced at `path`, links followed; empty if nothing speaks against it.

    Nothing is written, and a folder that is not there yet is no objection: it may still be made.
    """
    try:
        target = Path(os.path.realpath(path))
        mode = target.lstat().st_mode
    except FileNotFoundError:
        astray = os.path.islink(path) and not target.parent.is_dir()
        return f"it is a link into {str(target.parent)!r}, which does not exist" if astray else ""
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        return one_line(getattr(error, "strerror", None) or error)
    for is_kind, why in _KINDS:
        if is_kind(mode):
            return why
    try:  # a file that only may not be changed can still be replaced; an immutable one cannot
        os.close(os.open(target, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0)))
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EROFS):
            return one_line(f"{error.strerror} (it may be immutable)")
    return ""


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well.

    When the block raises, the temporary file is removed and what was at `path` before is still there. What a
    killed process left unfinished beside it is removed first.

    Raises:
        ResultError: the folder does not exist, `path` is anything but a regular file, or it cannot be
            written.
    """
    if why := why_unwritable(path):
        raise ResultError(_cannot(path, why))
    target = Path(os.path.realpath(path))
    temporary = target.with_name(
        f"{_beginning(target)}{_machine()}-{os.getpid()}-{secrets.token_hex(6)}.part"
    )
    _ours.add(temporary)
    try:
        _clear(target)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
        for one in _records:
            one.append(str(path))
    except OSError as error:
        raise ResultError(_cannot(path, one_line(error.strerror or error))) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        _ours.discard(temporary)


@contextmanager
def recorded() -> Iterator[list[str]]:
    """The files that are written while the block runs, in their order."""
    found: list[str] = []
    _records.append(found)
    try:
        yield found
    finally:
        _records.remove(found)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write `text` as UTF-8, whole or not at all; returns the path.

    Raises:
        ResultError: it cannot be written; an earlier file at `path` is kept.
    """
    return write_bytes(path, text.encode("utf-8", errors="replace"))


def write_bytes(path: str | os.PathLike[str], *parts: bytes | memoryview) -> Path:
    """Write `parts`, one after the other, whole or not at all and on the disk before it returns; the path.

    Raises:
        ResultError: they cannot be written; an earlier file at `path` is kept.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return Path(path)


def _cannot(path: str | os.PathLike[str], why: str) -> str:
    return f"cannot write {path}: {why}; give a path in a folder that exists and can be written"


def _beginning(target: Path) -> str:
    """How the unfinished files of `target` begin; a long name is shortened to what the file system takes."""
    name = target.name
    if len(os.fsencode(name)) > _LONGEST_STEM:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
    return f".{name}."


@cache
def _machine() -> str:
    """Where a process number means something: this host, and in it this container."""
    here = platform.node()
    with suppress(OSError):
        here += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(here.encode(errors="replace")).hexdigest()[:8]


def _clear(target: Path) -> None:
    """Removes what dead processes left of earlier writes to `target`, and nothing of any other file."""
    pattern = re.compile(
        re.escape(_beginning(target)) + r"(?:([0-9a-f]{8})-([0-9]{1,9})-)?[0-9a-f]{12}\.part", re.ASCII
    )
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            match = pattern.fullmatch(entry.name)
            if match and entry.is_file(follow_symlinks=False) and _is_abandoned(entry, match[1], match[2]):
                with suppress(OSError):
                    os.unlink(entry.path)


def _is_abandoned(entry: os.DirEntry[str], machine: str | None, pid: str | None) -> bool:
    """Whether an unfinished file has no writer: its process is gone or, of elsewhere, a day old."""
    if pid is None or machine != _machine() or sys.platform == "win32":
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > ABANDONED_S
    if int(pid) == os.getpid():  # a container begins its numbers again each time
        return Path(entry.path) not in _ours
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
