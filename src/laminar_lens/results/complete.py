"""A result that lacks a variable or an attribute says which one, wherever it is shown."""

import functools
import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar

import xarray as xr

from laminar_lens.errors import ResultError, with_article

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

LABELLED = frozenset(
    {"along", "axis", "baseline", "block", "cell", "claim", "class", "compared", "component", "effect", "end"}
    | {
        "geometry",
        "held",
        "intervention",
        "layer",
        "length",
        "measure",
        "pairs",
        "part",
        "place",
        "predicted",
    }
    | {"rank", "removed", "space", "state", "statistic", "to_state", "variant", "versus", "which", "word"}
)
"""Axes whose places mean nothing without their labels; xarray would number them from 0."""

_QUOTED = re.compile(r"'([^']+)'|\"([^\"]+)\"")


def complete(function: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """What reads a result (the first argument), with one line for what a file lacks instead of a KeyError.

    Which variables a study has is known where it is shown and nowhere else; a KeyError that names something
    the result does hold is a fault of the program and stays what it is.
    """

    @functools.wraps(function)
    def reading(result: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(result, *args, **kwargs)
        except KeyError as error:
            name, dataset = _named(error), getattr(result, "dataset", None)
            known = () if dataset is None else dataset.variables
            if dataset is None or name in known or (name in dataset.attrs and not _of_variable(error)):
                raise
            raise lacking(f"this {str(dataset.attrs.get('study'))[:40]} result", name) from error

    return reading


def check_labels(path: str | os.PathLike[str], dataset: xr.Dataset) -> None:
    """Raises ResultError when an axis that is read by its labels has none."""
    for name in map(str, dataset.dims):
        if name in LABELLED and name not in dataset.coords:
            raise lacking(path, name)


def lacking(what: object, name: str) -> ResultError:
    """A result without one of its parts."""
    return ResultError(
        f"{what} lacks {name!r}: it was altered or written by another version; run the study again"
    )


def _of_variable(error: KeyError) -> bool:
    return str(error.args[0] if error.args else "").startswith("No variable named")


def _named(error: KeyError) -> str:
    """What was looked up; xarray puts it, quoted, into a sentence."""
    text = str(error.args[0]) if error.args else ""
    match = _QUOTED.search(text)
    return text if match is None else match[1] or match[2]


def from_json(name: str, attrs: Mapping[Any, Any], default: object) -> Any:
    """An attribute that holds JSON, decoded; `default`, whose kind it must be of, where there is none.

    Raises:
        ResultError: it is no JSON, or of another kind.
    """
    text = attrs.get(name)
    if not text:
        return default
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultError(f"the result's attribute {name!r} is not JSON: {str(text)[:60]!r}") from error
    return plain_json(type(default), name, value)


def plain_json(kind: type, name: str, value: object) -> Any:
    """A decoded attribute, which must be of one kind.

    Raises:
        ResultError: it is of another.
    """
    if not isinstance(value, kind):
        raise ResultError(
            f"the result's attribute {name!r} is {str(value)[:40]!r}, not {with_article(kind.__name__)}: the "
            "file was altered or written by another version; run the study again"
        )
    return value
