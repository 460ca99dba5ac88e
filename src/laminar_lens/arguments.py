"""What the arguments of public functions must be: checks by name, and the decorator that runs them.

A parameter means the same wherever it stands, so its check belongs to its name (`BY_NAME`). None passes where
it is the default. What depends on the model or on other arguments is checked where that is known.
"""

import contextlib
import functools
import inspect
import math
import operator
import os
import sys
from collections.abc import Callable, Mapping
from numbers import Real
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

from laminar_lens.errors import InputError, a_kind, wrong_call

Check = Callable[[str, Any], Any]
"""Called as `check(name, value)`; returns the value as the function wants it, or raises InputError."""

LARGEST = 2**63 - 1
"""Beyond it no array has an index, and neither numpy's nor torch's generators share a seed."""

MOST_DRAWS = 10_000_000
"""Of a baseline, or sign flips of a test: beyond it nothing becomes more certain that one can wait for."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def shown(value: object) -> str:
    """A value in one short line, whatever its own repr does."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a repr may raise anything
        text = a_kind(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def flag(name: str, value: object) -> bool:
    """True or False of Python or numpy; nothing else counts as either."""
    if not _is_truth(value):
        raise InputError(f"{name} is {shown(value)}; expected True or False")
    return bool(value)


def whole(name: str, value: object, *, least: int = -LARGEST, most: int = LARGEST) -> int:
    """A whole number of Python, numpy, or a tensor without axes; neither True nor 3.0."""
    number = _index(value)
    if number is None or not least <= number <= most:
        raise InputError(
            f"{name} is {shown(value)}; expected a whole number{_range(least, most)}, for example "
            f"{_within(least, most)}"
        )
    return number


def wholes(name: str, value: object, *, least: int = -LARGEST, most: int = LARGEST) -> tuple[int, ...]:
    """One whole number or several, in the order given; characters and bytes are none."""
    example = _within(least, most)
    wanted = f"whole numbers{_range(least, most)}, for example {example} or [{example}]"
    one = _index(value)
    given = _several(name, value, wanted) if one is None else [one]
    if not given:
        raise InputError(f"{name} is empty; give at least one, for example [{example}]")
    numbers = []
    for entry in given:
        number = _index(entry)
        if number is None or not least <= number <= most:
            raise InputError(f"{name} is {shown(entry)}; expected {wanted}")
        numbers.append(number)
    return tuple(numbers)


def seed(name: str, value: object) -> int:
    """A seed that numpy's and torch's generators both take."""
    number = _index(value)
    if number is None or not 0 <= number <= LARGEST:
        raise InputError(f"{name} is {shown(value)}; expected a whole number from 0 to 2**63 - 1, such as 0")
    return number


def number(name: str, value: object) -> float:
    """A finite number; neither True nor '0.05'."""
    try:
        found = float(value) if not isinstance(value, bool) and isinstance(value, Real) else math.nan
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise InputError(f"{name} is {shown(value)}; expected a finite number, for example 0.5")
    return found


def text(name: str, value: object) -> str:
    """A text that has an encoding."""
    if not isinstance(value, str):
        raise InputError(f"{name} is {shown(value)}; expected a text")
    return characters(name, value)


def characters(name: str, value: str) -> str:
    """The text, if each of its parts is a character: no tokenizer and no file takes half of a surrogate
    pair."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name} ({shown(value)}) has a lone surrogate, half a character, at {error.start}: remove it, "
            "or read the text again in its own encoding"
        ) from None
    return value


def texts(name: str, value: object) -> tuple[str, ...]:
    """One text or several."""
    if isinstance(value, str):
        return (text(name, value),)
    return tuple(text(name, one) for one in _several(name, value, "texts, for example ['one', 'two']"))


def path(name: str, value: object) -> Any:
    """What names a file: a text or a path, with characters that file systems take."""
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise InputError(f"{name} is {shown(value)}; expected the path of a file, as a text or pathlib.Path")
    try:
        named = os.fsencode(value)
    except UnicodeEncodeError:
        raise InputError(f"{name} is {shown(value)}; it holds what no file name can") from None
    if not named or b"\0" in named:
        raise InputError(f"{name} is {shown(value)}; expected the path of a file")
    return value


def device_map(name: str, value: object) -> Any:
    """A text, or devices by the names of a model's parts."""
    if isinstance(value, str):
        return text(name, value)
    places = value.items() if isinstance(value, Mapping) else ()
    named = all(
        isinstance(part, str) and (isinstance(at, str) or _index(at) is not None) for part, at in places
    )
    if not places or not named:
        raise InputError(
            f"{name} is {shown(value)}; expected 'auto', or the devices of a model's parts, for example "
            "{'model.embed_tokens': 'cuda:0', 'model.layers.0': 1}"
        )
    return dict(places)


def function(name: str, value: object) -> Any:
    """What can be called; a class would make an object of what it is told."""
    if callable(value) and not isinstance(value, type):
        return value
    more = f": give {value.__name__}()" if isinstance(value, type) and "__call__" in dir(value) else ""
    raise InputError(f"{name} is {shown(value)}; expected a function (label, done, total){more}")


def truths(name: str, value: object) -> Any:
    """Which of several: an array or tensor of True and False, or of 1 and 0 as tokenizers write it.

    An additive mask, 0 where a token is real, would turn into its opposite.
    """
    array = _array(name, value, "True and False")
    if bool(((array != 0) & (array != 1)).any()):
        raise InputError(f"{name} is {shown(value)}; expected True where a token is real, False elsewhere")
    return array


def places(name: str, value: object) -> Any:
    """An array or tensor of whole numbers."""
    return _array(name, value, "whole numbers")


def each(check: Check) -> Check:
    """The same check for every one of several choices; that there are several is checked elsewhere."""

    def several(name: str, value: object) -> Any:
        return tuple(check(name, one) for one in value) if isinstance(value, list | tuple) else value

    return several


def checked(
    without: Mapping[str, str] = MappingProxyType({}), /, **own: Check | None
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Checks a public function's arguments by their names, before anything else happens.

    Args:
        without: arguments of its siblings that it does not take, and why.
        own: checks of parameters that mean something else in this function; None for no check.
    """

    def door(run: Callable[_P, _R]) -> Callable[_P, _R]:
        signature = inspect.signature(run)
        known = BY_NAME | own
        checks = {name: known[name] for name in signature.parameters if known.get(name) is not None}
        may_be_none = {name for name, given in signature.parameters.items() if given.default is None}

        @functools.wraps(run)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError as error:
                raise wrong_call(run.__qualname__, kwargs, signature.parameters, without, error) from None
            for name, value in bound.arguments.items():
                check = checks.get(name)
                if check is not None and not (value is None and name in may_be_none):
                    bound.arguments[name] = check(name, value)
            return run(*bound.args, **bound.kwargs)

        return call

    return door


def _is_truth(value: object) -> bool:
    """Whether it is True or False of Python, or of numpy, which the command line's help does without."""
    numpy = sys.modules.get("numpy")
    return isinstance(value, bool) or (numpy is not None and isinstance(value, numpy.bool_))


def _index(value: Any) -> int | None:
    """The whole number that it is; None for anything else."""
    truth = _is_truth(value) or str(getattr(value, "dtype", "")).endswith("bool")
    if truth or getattr(value, "ndim", 0) != 0:  # an array of one number is several
        return None
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def _several(name: str, value: Any, what: str) -> list[Any]:
    """What an iterable holds; the characters of a text, its bytes and a mapping's keys are not meant."""
    with contextlib.suppress(TypeError):
        if not isinstance(value, str | bytes | bytearray | memoryview | Mapping):
            return list(value)
    raise InputError(f"{name} is {shown(value)}; expected {what}")


def _array(name: str, value: Any, of: str) -> Any:
    """The value where it is an array or tensor with numbers in memory, else a numpy array of it."""
    import numpy as np

    if all(hasattr(value, part) for part in ("dtype", "shape", "ndim")):
        array = value
    else:
        try:
            array = np.asarray(value)
        except (TypeError, ValueError):
            array = np.asarray(None)
    fits = not getattr(array, "is_meta", False) and "strided" in str(getattr(array, "layout", "strided"))
    fits = fits and getattr(array.dtype, "kind", "i") in "biuf"
    if fits and "uint64" in str(array.dtype):  # arithmetic that others do with it is signed
        array = array.astype(np.int64) if isinstance(array, np.ndarray) else array.long()
        fits = not bool((array < 0).any())
    if not fits:
        raise InputError(f"{name} is {shown(value)}; expected an array or dense tensor of {of}")
    return array


def _range(least: int, most: int) -> str:
    if least > -LARGEST and most < LARGEST:
        return f" from {least:,} to {most:,}"
    if least > -LARGEST:
        return f" of at least {least}"
    return f" of at most {most:,}" if most < LARGEST else ""


def _within(least: int, most: int) -> int:
    """A whole number of the range, for an example."""
    return min(max(3, least), most)


BY_NAME: dict[str, Check | None] = {
    **dict.fromkeys(("prepend_bos", "final_norm", "random_init", "regex", "strict", "gradient"), flag),
    **dict.fromkeys(("bridge", "processed", "trust_remote_code", "check", "keep_paths", "heads"), flag),
    "keep_first": flag,
    **dict.fromkeys(("n_texts", "length", "removed", "skip", "body_from", "n", "n_shuffled"), whole),
    **dict.fromkeys(("batch_size", "n_components", "n_donors"), functools.partial(whole, least=1)),
    **dict.fromkeys(("n_draws", "n_perm"), functools.partial(whole, most=MOST_DRAWS)),
    **dict.fromkeys(("layers", "positions", "at", "dimensions"), wholes),
    **dict.fromkeys(("temperature", "norm_ratio", "min_cosine"), number),
    **dict.fromkeys(("occurrence", "baseline", "backend", "what", "name", "a", "b", "revision"), text),
    **dict.fromkeys(("mask", "padding"), truths),
    "checkpoint": functools.partial(whole, least=0),
    "device_map": device_map,
    **dict.fromkeys(("measures", "instead"), texts),
    "pairs": places,
    "path": path,
    "progress": function,
    "seed": seed,
}
"""The check of each parameter's name."""
