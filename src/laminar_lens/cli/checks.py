"""Refuses arguments that cannot work, in one line and before anything heavy is imported."""

import difflib
import math
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from laminar_lens.arguments import LARGEST
from laminar_lens.cli import cuda
from laminar_lens.cli.requests import Texts
from laminar_lens.errors import InputError, ModelError, ResultError
from laminar_lens.files import why_unwritable
from laminar_lens.measures import MEASURES
from laminar_lens.models.selection import written_numbers
from laminar_lens.prompts import OCCURRENCES, check_target, her_prompts, read_prompts
from laminar_lens.registered import GEOMETRIES
from laminar_lens.texts.files import holds_records, read_texts
from laminar_lens.texts.passages import NAMED
from laminar_lens.texts.reading import read_document

BASELINES = ("published", "adjacent", "matched", "by_position")
BACKENDS = ("auto", "reference", "eager", "cpu", "fused")
DTYPES = ("float32", "float16", "bfloat16", "float64")
WINDOWS = ("last third", "last half", "last quarter")
FORMATS = ("nc", "csv")
MOST = 9_999_999  # positions to skip, tokens of a text: no text is so long
MOST_TEXTS = 1_000_000  # the studies, too, count how many texts would decide up to a million


def choice(option: str, value: str, allowed: Sequence[str]) -> str:
    """`value` if it is one of `allowed`; InputError with the near match otherwise."""
    if value in allowed:
        return value
    near = difflib.get_close_matches(value.lower().replace("-", "_"), allowed, n=1, cutoff=0.5)
    guess = f"did you mean {near[0]}? " if near else ""
    raise InputError(f"{option} {value!r} is unknown: {guess}choose from {', '.join(allowed)}")


def geometry(name: str) -> str:
    """The name of a geometry, shipped or of an installed package."""
    return choice("--geometry", name, GEOMETRIES.names())


def at_least(option: str, value: int, minimum: int, most: int = MOST) -> int:
    """`value` if it is `minimum` or more, and no more than `most`."""
    if value < minimum:
        raise InputError(f"{option} {value} is too small: give {minimum} or more")
    if value > most:
        raise InputError(f"{option} {value} is too large: give {most} or less")
    return value


def count(value: int | None, minimum: int = 2) -> int | None:
    """How many texts the model is to write: enough for an interval, and no more than was ever needed."""
    if value is not None and value > MOST_TEXTS:
        raise InputError(f"--n-texts {value} is too large: give {MOST_TEXTS} or less, usually 1200")
    if value is not None:
        at_least("--n-texts", value, minimum, MOST_TEXTS)
    return value


def seed(value: int) -> int:
    """A seed that numpy's and torch's generators both take."""
    return at_least("--seed", value, 0, LARGEST)


def target(text: str, occurrence: str, regex: bool) -> str:
    """The target, once it can be looked for."""
    if regex and text.strip():
        try:
            re.compile(text)
        except (re.error, OverflowError, RecursionError) as error:
            raise InputError(
                f"--target {text!r} is not a regular expression ({error}): mend it, or leave out --regex to "
                "look for the text as it is"
            ) from None
    check_target(text, choice("--occurrence", occurrence, OCCURRENCES), regex)
    return text


def tolerance(value: float) -> float:
    """A tolerance in radians: finite, above 0, below π."""
    if not (math.isfinite(value) and 0 < value < math.pi):
        raise InputError(
            f"--tau {value} is no angle to compare with: give radians between 0 and π, for example 0.05"
        )
    return value


def parse_layers(text: str) -> tuple[int, ...] | None:
    """`"0,3-5"` as (0, 3, 4, 5), in order and without repeats; an empty text, all layers, as None."""
    return written_numbers("--layers", text, "layer", "no model has so many hidden states")


def parse_places(text: str) -> tuple[int, ...] | None:
    """Positions in a text, written as layers are; None where none is given."""
    found = written_numbers("--at", text, "position", "no text is so long")
    if found and found[0] < 1:
        raise InputError("--at 0 leaves no context before the pair: begin at 1 or later, for example 42-62")
    return found


def parse_window(text: str) -> str | tuple[int, int] | None:
    """`"42-62"`, both ends included, as the half-open (42, 63); "last-half" by name; empty, None."""
    if not text:
        return None
    name = text.strip().lower().replace("-", " ")
    if name in WINDOWS:
        return name
    match = re.fullmatch(r" *([0-9]{1,6}) *- *([0-9]{1,6}) *", text)
    if match is None or int(match[2]) < int(match[1]):
        raise InputError(
            f"--reference {text!r} is no window of pairs: write first-last, for example 42-62, or one of "
            f"{', '.join(WINDOWS)}"
        )
    return int(match[1]), int(match[2]) + 1


def prompts(values: Sequence[str] | None) -> Texts:
    """The prompts of the one file named, or the built-in sentences for `her`."""
    names = list(values or ["her"])
    if len(names) > 1:
        given = " and ".join(repr(name) for name in names)
        raise InputError(
            f"--prompts was given {len(names)} times ({given}): give one file, with one prompt a line"
        )
    return Texts("her", her_prompts()) if names[0] == "her" else Texts(names[0], read_prompts(Path(names[0])))


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


def device(name: str) -> str:
    """`name` if this machine can have it, as far as can be told without importing torch."""
    match = re.fullmatch(r"(cpu|mps|cuda)|cuda:([0-9]{1,9})", name)
    if match is None:
        raise InputError(f"--device {name!r} is unknown: choose cpu, cuda, cuda:N or mps")
    kind, index = match[1] or "cuda", int(match[2] or 0)
    if kind == "cuda":
        if reason := cuda.why_not():
            raise ModelError(f"--device {name} was asked for, but {reason}: use --device cpu")
        count = cuda.count()
        if count is not None and index >= count:
            there = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda" if count else "none"
            raise ModelError(
                f"--device {name} was asked for, but this machine has {there}: choose among them"
            )
    if kind == "mps" and sys.platform != "darwin":
        raise ModelError(f"--device {name} was asked for, but this machine is no Mac: use --device cpu")
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
    """`path` if it is a file."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
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
