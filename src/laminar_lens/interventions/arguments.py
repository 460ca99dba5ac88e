"""Checks that interventions share: whole numbers, positions, layers and hook points that must be there."""

from collections.abc import Iterable

import torch
from jaxtyping import Int
from torch import Tensor

from laminar_lens import arguments
from laminar_lens.errors import InputError
from laminar_lens.models.edits import Span
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import describe_name


def whole(name: str, value: object) -> int:
    """A whole number of at least 0.

    Raises:
        InputError: names the value.
    """
    return arguments.whole(name, value, least=0)


def wholes(name: str, given: object) -> tuple[int, ...] | None:
    """Whole numbers of at least 0, sorted, each once; None stays None.

    Raises:
        InputError: none at all, or one that is no such number.
    """
    return None if given is None else tuple(sorted(set(arguments.wholes(name, given, least=0))))


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


def check_hooks(label: str, model: HookedModel, names: Iterable[str], have: str) -> None:
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


def whole_or_mean(name: str, by: object, positions: object) -> str:
    """What replaces something that is removed: "zero" or "mean".

    Raises:
        InputError: something else, or a mean that has no other positions to be taken over.
    """
    if not isinstance(by, str) or by not in ("zero", "mean"):
        raise InputError(f"{name}: by is {arguments.shown(by)}; expected 'zero' or 'mean'")
    if by == "mean" and positions is None:
        raise InputError(
            f"{name}: by='mean' takes the mean over the other positions of the same text; give positions="
        )
    return str(by)


def others(label: str, by: str, positions: tuple[int, ...] | None, length: int) -> tuple[int, ...]:
    """A text's positions that are not among `positions`; none are needed where `by` is "zero".

    Raises:
        InputError: by is "mean" and none are left.
    """
    rest = tuple(position for position in range(length) if position not in set(positions or ()))
    if by == "mean" and not rest:
        raise InputError(
            f"{label}: by='mean' has no other position to be taken over in a prompt of {length} tokens"
        )
    return rest


def columns(positions: tuple[int, ...] | None, span: Span, value: Tensor) -> Int[Tensor, " chosen"]:
    """Columns of [batch pos …] in which positions stand; None is every column, a prefix's too."""
    if positions is None:
        return torch.arange(value.shape[1], device=value.device)
    return torch.tensor(positions, device=value.device) + span.before
