"""Refuses arguments that cannot work, in one line and before anything heavy is imported."""

import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from laminar_lens.cli import cuda
from laminar_lens.cli.requests import Texts
from laminar_lens.errors import InputError, ModelError, ResultError
from laminar_lens.files import why_unwritable
from laminar_lens.measures import MEASURES
from laminar_lens.prompts import HER, her_prompts, read_prompts
from laminar_lens.studies.fields import choice
from laminar_lens.texts.files import holds_records, read_groups, read_texts
from laminar_lens.texts.passages import NAMED
from laminar_lens.texts.reading import read_document

DTYPES = ("float32", "float16", "bfloat16", "float64")
FORMATS = ("nc", "csv")


def prompts(values: Sequence[str] | None, *, grouped: bool = False) -> Texts:
    """The prompts of the one file named, in groups where it has them and they are `grouped`, or the built-in
    sentences for `her`."""
    names = list(values or [HER])
    if len(names) > 1:
        given = " and ".join(repr(name) for name in names)
        raise InputError(
            f"--prompts was given {len(names)} times ({given}): give one file, with one prompt a line"
        )
    if names[0] == HER:
        return Texts(HER, her_prompts())
    path = Path(names[0])
    groups = read_groups(path) if grouped else None
    return Texts(names[0], read_prompts(path)) if groups is None else Texts(names[0], (), groups)


def texts(values: Sequence[str] | None) -> str | Path | tuple[Path, ...] | None:
    """ "passages" or "sampled"; the path of one file of texts, or of several; None without any.

    Of several files of text each is one text, cut into windows. All are read once, so that what is wrong with
    one is said at once.
    """
    if not values:
        return None
    named = [value for value in values if value in NAMED]
    if named and len(values) > 1:
        raise InputError(f"--texts {named[0]} stands alone: leave out the others, or give files only")
    if named:
        return named[0]
    paths = tuple(map(Path, values))
    for path in paths:
        read_texts(path) if len(paths) == 1 or holds_records(path) else read_document(path)
    return paths if len(paths) > 1 else paths[0]


def device(flag: str, name: str) -> str:
    """`name` if this machine can have it, as far as can be told without importing torch."""
    match = re.fullmatch(r"(cpu|mps|cuda)|cuda:([0-9]{1,9})", name)
    if match is None:
        raise InputError(f"{flag} {name!r} is unknown: choose cpu, cuda, cuda:N or mps")
    kind, index = match[1] or "cuda", int(match[2] or 0)
    if kind == "cuda":
        if reason := cuda.why_not():
            raise ModelError(f"{flag} {name} was asked for, but {reason}: use --device cpu")
        count = cuda.count()
        if count is not None and index >= count:
            there = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda" if count else "none"
            raise ModelError(f"{flag} {name} was asked for, but this machine has {there}: choose among them")
    if kind == "mps" and sys.platform != "darwin":
        raise ModelError(f"{flag} {name} was asked for, but this machine is no Mac: use --device cpu")
    return name


def writable(folder: Path, names: Sequence[str], option: str = "--out") -> Path:
    """`folder` if every one of `names` could be written in it; nothing is left behind."""
    existing = folder
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        what = "is a link that leads nowhere" if existing.is_symlink() else "is a file"
        raise ResultError(
            f"cannot write to {str(folder)!r}: {str(existing)!r} {what}; give a folder with {option}"
        )
    for name in names:
        if why := why_unwritable(folder / name):
            raise ResultError(f"cannot write {str(folder / name)!r}: {why}; give another {option}")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise ResultError(
            f"cannot write to {str(folder)!r}: {reason}; give another folder with {option}"
        ) from None
    return folder


def readable_file(path: Path) -> Path:
    """`path` if it is a regular file."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is no regular file" if path.exists() else "does not exist"
        raise ResultError(f"{str(path)!r} {what}: give the .nc file that a study wrote")
    return path


def page(file: Path, report: Path | None) -> Path | None:
    """Where the page of a result goes: never over a result."""
    if report is None:
        return None
    if os.path.realpath(report) == os.path.realpath(file) or report.suffix.lower() == ".nc":
        raise ResultError(
            f"--report {str(report)!r} would replace a result by a page: give another name, such as "
            f"{file.stem + '.html'!r}"
        )
    if not os.path.lexists(report.parent):
        raise ResultError(
            f"--report {str(report)!r}: the folder {str(report.parent)!r} does not exist; make it, or give "
            "another --report"
        )
    writable(report.parent, [report.name], "--report")
    return report


def angles_of(what: str, layers: Sequence[int] | None) -> str:
    """The kind of angle, if the layers have it."""
    choice("--what", what, MEASURES.names())
    measure = MEASURES.find(what)
    if measure is not None and measure.between_layers and layers is not None and not any(layers):
        raise InputError(
            f"--what {what} with --layers 0 measures nothing: it is what changed since the layer before; add "
            "a layer, for example --layers 0,1"
        )
    return what
