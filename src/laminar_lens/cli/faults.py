"""What Python and the operating system have against a value, in the words of a refusal."""

import os
from collections.abc import Sequence

OF_VALUES = (OSError, OverflowError, MemoryError, RecursionError, UnicodeError)
"""While arguments are read and checked, these are about a value that a user gave."""

OF_THE_MACHINE = (OSError, MemoryError)
"""While the work is done, these are about the machine; anything else is a mistake of ours."""

_BIG = 9  # letters of a number from which it may be too large for something


def said(error: BaseException, arguments: Sequence[str] = ()) -> str:
    """A line that names the option, its value and what is wrong with it, as far as the error tells."""
    reason = _reason(error)
    given = _culprit(error, arguments)
    if given is not None:
        option, value = given
        return f"{option} {value!r} cannot be used ({reason}): give another value"
    path = getattr(error, "filename", None)
    if path is not None:
        return f"{os.fspath(path)!r} cannot be used ({reason}): check the path and the space left"
    return f"this cannot be done here ({reason}): check the values, the space left and the memory"


def _reason(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _culprit(error: BaseException, arguments: Sequence[str]) -> tuple[str, str] | None:
    """The option whose value the error is about: the path that it names, else a number beyond all measure."""
    pairs = list(_pairs(arguments))
    path = getattr(error, "filename", None)
    if isinstance(path, str | bytes):
        name = os.fsdecode(path)
        near = [pair for pair in pairs if pair[1] and (name == pair[1] or name.startswith(f"{pair[1]}/"))]
        return max(near, key=lambda pair: len(pair[1]), default=None)
    if isinstance(error, UnicodeError):
        return next((pair for pair in pairs if not pair[1].isascii()), None)
    return max(pairs, key=lambda pair: _digits(pair[1]), default=None) if _has_big(pairs) else None


def _pairs(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Options with their values, and values without an option as FILE."""
    found, option = [], "FILE"
    for part in arguments[1:]:
        if part.startswith("--"):
            name, equals, value = part.partition("=")
            option = "FILE" if equals else name
            found += [(name, value)] if equals else []
        else:
            found.append((option, part))
            option = "FILE"
    return found


def _digits(value: str) -> int:
    return sum(letter.isdigit() for letter in value)


def _has_big(pairs: Sequence[tuple[str, str]]) -> bool:
    return any(_digits(value) > _BIG for _, value in pairs)
