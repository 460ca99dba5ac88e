"""Checks that interventions share: whole numbers, positions, layers and hook points that must be there."""

import operator
from collections.abc import Iterable
from typing import Any

from laminar_lens.errors import InputError
from laminar_lens.models.info import describe_name


def whole(name: str, value: Any) -> int:
    """A whole number of at least 0.

    Raises:
        InputError: names the value.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number < 0 or isinstance(value, bool):
        raise InputError(f"{name} is {value!r}; expected a whole number of at least 0")
    return number


def wholes(name: str, given: Any) -> tuple[int, ...] | None:
    """Whole numbers of at least 0, sorted, each once; None stays None.

    Raises:
        InputError: none at all, or one that is no such number.
    """
    if given is None:
        return None
    one = hasattr(given, "__index__") and getattr(given, "ndim", 0) == 0
    values = [given] if one else given
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"{name} is {given!r}; expected whole numbers of at least 0")
    numbers = tuple(sorted({whole(name, value) for value in values}))
    if not numbers:
        raise InputError(f"{name} is empty; give at least one")
    return numbers


def check_positions(label: str, positions: Iterable[int], length: int) -> None:
    """Refuses positions that a text of `length` tokens lacks.

    Raises:
        InputError: names the first.
    """
    for position in positions:
        if position >= length:
            raise InputError(
                f"{label} needs position {position}, but a prompt has {length} tokens, positions "
                f"0 … {length - 1}; choose another position or longer prompts"
            )


def check_hooks(label: str, model: Any, names: Iterable[str], have: str) -> None:
    """Refuses a model without these hook points; `have` says which architectures have them.

    Raises:
        InputError: names the first that is missing.
    """
    known = model.hook_dict
    for name in names:
        if name not in known:
            raise InputError(
                f"{label} needs the hook point {name!r}, which {describe_name(model)} does not have; "
                f"architectures that have it: {have}"
            )
