"""Errors that a user can meet. Each carries its reason, the value and what to do in one line."""


def a_kind(value: object) -> str:
    """What a value is, in a message.

    >>> a_kind(3), a_kind("three")
    ('an int', 'a str')
    """
    return with_article(type(value).__name__)


def with_article(word: str) -> str:
    """`a str`, `an int`, `an ndarray`; types that begin with u are said as "you"."""
    return f"{'an' if word.lower().startswith(('a', 'e', 'i', 'o', 'nd')) else 'a'} {word}"


def is_failure(error: BaseException) -> bool:
    """Whether something failed: any Exception, and a panic of native code, which is none. Being stopped is no
    failure."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


class LaminarLensError(Exception):
    """Base of every error that Laminar Lens raises on purpose."""


class InputError(LaminarLensError, ValueError):
    """An argument, prompt or file does not fit: the message names the value and what was expected."""


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
