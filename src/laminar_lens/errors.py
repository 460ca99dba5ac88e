"""Errors that a user can meet. Each carries its reason, the value and what to do in one line."""

import difflib
from collections.abc import Iterable, Mapping


def a_kind(value: object) -> str:
    """What a value is, in a message.

    >>> a_kind(3), a_kind("three")
    ('an int', 'a str')
    """
    return with_article(type(value).__name__)


def with_article(word: str) -> str:
    """`a str`, `an int`, `an ndarray`; types that begin with u are said as "you"."""
    return f"{'an' if word.lower().startswith(('a', 'e', 'i', 'o', 'nd')) else 'a'} {word}"


def nearest(name: str, known: Iterable[str]) -> str:
    """What to give in the place of a name that is not known: the nearest, else all that there are.

    >>> nearest("n_text", ["n_texts", "seed"]), nearest("of", ["n_texts", "seed"])
    ('did you mean n_texts?', 'it takes n_texts, seed')
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"it takes {', '.join(known) or 'none'}"


def wrong_call(
    door: str, given: Iterable[str], known: Iterable[str], without: Mapping[str, str], error: TypeError
) -> "CallError":
    """What is wrong with the arguments of a call that Python refused.

    Args:
        door: the function's qualified name.
        given: keywords of the call.
        known: names of the function's arguments.
        without: arguments of its siblings that it does not take, and why.
        error: Python's own, of a call that lacks an argument or has too many.
    """
    name, takes = door.rpartition("<locals>.")[2].removesuffix(".__init__"), [k for k in known if k != "self"]
    for one in given:
        if one not in takes:
            return CallError(f"{name} takes no {one}=: {without.get(one) or nearest(one, takes)}")
    return CallError(f"{name}: {error}; it takes {', '.join(takes) or 'none'}")


def is_failure(error: BaseException) -> bool:
    """Whether something failed: any Exception, and a panic of native code, which is none. Being stopped is no
    failure."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


class LaminarLensError(Exception):
    """Base of every error that Laminar Lens raises on purpose."""


class InputError(LaminarLensError, ValueError):
    """An argument, prompt or file does not fit: the message names the value and what was expected."""


class CallError(InputError, TypeError):
    """A call lacks an argument, or gives one that the function does not take."""


class ShapeError(InputError):
    """A tensor has the wrong number of axes, or an axis is too short."""


class ModelError(LaminarLensError):
    """A model cannot be found, loaded or trusted."""


class CaptureError(LaminarLensError):
    """The residual stream could not be captured, or holds values that are not finite."""


class BackendError(LaminarLensError, RuntimeError):
    """A kernel backend is unknown, or cannot run here; nothing is substituted silently."""


class ResultError(LaminarLensError):
    """A result file is truncated, altered, foreign, or cannot be written."""
