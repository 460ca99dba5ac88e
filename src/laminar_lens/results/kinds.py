"""Of which kind each part of a result is: a file's hashes may be right and its parts of any kind."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import xarray as xr

from laminar_lens.arguments import shown
from laminar_lens.errors import ResultError

Kind = tuple[str, Callable[[Any], bool]]
"""What is expected, in words, and whether a value is that."""


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_window(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_whole, value))


TEXT: Kind = ("a text", lambda value: isinstance(value, str))
WHOLE: Kind = ("a whole number", _is_whole)
NUMBER: Kind = ("a number", lambda value: _is_whole(value) or isinstance(value, float))
LIST: Kind = ("a JSON list", lambda value: isinstance(value, list))
OBJECT: Kind = ("a JSON object", lambda value: isinstance(value, dict))
WINDOW: Kind = ("two whole numbers", _is_window)

OF_EVERY: dict[str, Kind] = {"sentence": TEXT, "warnings": LIST, "provenance": OBJECT, "settings": OBJECT}
"""Attributes of the dataset of any result."""

OF_DATASET: dict[str, Kind] = {
    **OF_EVERY,
    **dict.fromkeys(("overall_sign", "position_factor", "reason", "sign", "units"), TEXT),
    **dict.fromkeys(("verdict", "what"), TEXT),
    **dict.fromkeys(
        ("few", "k_hi", "k_lo", "leave_out", "length", "n_dropped", "n_independent", "n_measured"), WHOLE
    ),
    **dict.fromkeys(("n_needed", "n_observations", "n_texts", "reference_start", "reference_stop"), WHOLE),
    "skip": WHOLE,
    **dict.fromkeys(("identity", "random_direction_mean", "random_direction_sd", "tau", "threshold"), NUMBER),
    **dict.fromkeys(("effects", "found"), LIST),
}
"""Attributes of a dataset."""

OF_VARIABLE: dict[str, Kind] = dict.fromkeys(("units", "long_name", "withheld"), TEXT)
INSIDE: dict[str, dict[str, Kind]] = {
    "provenance": {"model": OBJECT, "n_texts": WHOLE, "seed": WHOLE},
    "settings": {"length": WHOLE, "n_texts": WHOLE, "reference": WINDOW, "tau": NUMBER},
}
"""Entries of an attribute's JSON; null is none."""

TEXTS = frozenset(
    {"baseline", "cell", "claim", "claim_evidence", "claim_text", "claim_unit", "claim_verdict", "component"}
    | {"difference_note", "effect", "effect_text", "geometry", "mode_reason", "pairs", "place", "sign"}
    | {"sink_token", "sink_token_kind", "step_or_decay", "stratified_difference_note", "token", "variant"}
    | {"verdict"}
)
"""Variables that hold text; one that has a unit and is none of them, and an estimate, holds numbers."""
ESTIMATES = frozenset({"claim_estimate", "claim_low", "claim_high"})


def check_kinds(path: str | os.PathLike[str], dataset: xr.Dataset, *, shipped: bool = True) -> None:
    """Raises ResultError for an attribute or variable of a kind that no study writes; the line names it.

    A study that is not `shipped` calls its own numbers as it likes: only what every result has is checked.
    """
    _check_attributes(path, dataset.attrs, OF_DATASET if shipped else OF_EVERY)
    for key, variable in dataset.variables.items():
        name = str(key)
        for attribute, kind in OF_VARIABLE.items():
            if attribute in variable.attrs:
                _check(path, f"the attribute {attribute!r} of {name!r}", variable.attrs[attribute], kind)
        is_text, wanted = variable.dtype.kind in "UTO", _holds_text(name, variable.attrs)
        if shipped and wanted is not None and wanted != is_text:
            found, expected = ("text", "numbers") if is_text else ("numbers", "text")
            raise ResultError(_line(path, f"the variable {name!r} holds {found}; expected {expected}"))


def _holds_text(name: str, attrs: Mapping[Any, Any]) -> bool | None:
    """Whether a variable is to hold text; None where it may."""
    if name in TEXTS:
        return True
    return False if name in ESTIMATES or "units" in attrs else None


def _check_attributes(
    path: str | os.PathLike[str], attrs: Mapping[Any, Any], known: Mapping[str, Kind]
) -> None:
    for name, value in attrs.items():
        kind = known.get(name)
        if kind is None:
            continue
        what = f"the attribute {name!r}"
        if kind in (LIST, OBJECT):
            value = _decoded(path, what, value, kind)
        _check(path, what, value, kind)
        for entry, part in INSIDE.get(name, {}).items():
            if value.get(entry) is not None:
                _check(path, f"{entry!r} in {what}", value[entry], part)


def _decoded(path: str | os.PathLike[str], what: str, value: Any, kind: Kind) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultError(_line(path, f"{what} is {shown(value)}; expected {kind[0]}")) from error


def _check(path: str | os.PathLike[str], what: str, value: object, kind: Kind) -> None:
    if not kind[1](value):
        raise ResultError(_line(path, f"{what} is {shown(value)}; expected {kind[0]}"))


def _line(path: str | os.PathLike[str], fault: str) -> str:
    return f"{path}: {fault}: the file was altered or written by another version; run the study again"
