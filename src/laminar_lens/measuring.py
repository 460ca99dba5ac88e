"""Hidden states measured by name: kernels with the shipped measures, and the functions of users."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from laminar_lens import kernels
from laminar_lens.errors import InputError, ShapeError, a_kind
from laminar_lens.kernels import angle_profile
from laminar_lens.kernels._checks import check_pair_form, check_pairs
from laminar_lens.measures import PROFILE, Measure


def measured(
    measures: list[Measure], states: list[Tensor], mask: Tensor | None, backend: str, lags: int = 1
) -> dict[str, Tensor]:
    """Measures of one hidden state, or of two that follow each other; padding is NaN.

    Raises:
        InputError: a user's function wrote into a state, or returned no real numbers.
        ShapeError: it returned another number of texts.
    """
    found: dict[str, Tensor] = {}
    together = [one.name for one in measures if one.name in PROFILE]
    if together:
        profile = angle_profile(states, measures=together, lags=lags, mask=mask, backend=backend)
        found |= {name: values[0] for name, values in profile.items()}
    if len(together) < len(measures) and mask is not None:
        states = [state.masked_fill(~mask[..., None], torch.nan) for state in states]
    for one in measures:
        if one.function is not None:
            found[one.name] = _own(one, states)
        elif one.name not in PROFILE:
            found[one.name] = getattr(kernels, one.kernel)(*states, backend=backend)
    return found


def _own(measure: Measure, states: list[Tensor]) -> Tensor:
    """What a user's function makes of states, as a copy: it may have returned a part of them."""
    assert measure.function is not None
    before = [_version(state) for state in states]
    values = measure.function(*states)
    if [_version(state) for state in states] != before:
        raise InputError(f"measure {measure.name!r} wrote into the hidden state; let it work on a copy")
    if not isinstance(values, Tensor) or values.is_complex():
        what = f"a tensor of {values.dtype}" if isinstance(values, Tensor) else a_kind(values)
        raise InputError(f"measure {measure.name!r} returned {what}; expected real numbers [batch …]")
    if values.ndim == 0 or len(values) != len(states[-1]):
        raise ShapeError(
            f"measure {measure.name!r} returned shape {list(values.shape)}; expected one entry for each of "
            f"{len(states[-1])} texts on its first axis"
        )
    wide = values.is_floating_point() and values.element_size() >= 4
    return values.clone() if wide else values.float()


def _version(state: Tensor) -> int:
    """Counts the writes into a tensor; under inference mode nothing does."""
    return 0 if state.is_inference() else state._version


def stacked(name: str, parts: list[Tensor]) -> Tensor:
    """One measure of all layers.

    Raises:
        ShapeError: the layers differ.
    """
    shapes = sorted({tuple(part.shape) for part in parts})
    if len(shapes) > 1:
        raise ShapeError(
            f"measure {name!r} returned {list(shapes[0])} in one hidden state and {list(shapes[1])} in "
            "another; expected the same shape in all"
        )
    return torch.stack([part.to(parts[0].device) for part in parts])


def checked_mask(mask: object) -> Bool[Tensor, "batch pos"] | None:
    """A mask of real tokens; ShapeError for what is none."""
    if mask is None:
        return None
    mask = torch.as_tensor(mask).detach()
    if mask.ndim != 2 or mask.is_floating_point() or mask.is_complex():
        raise ShapeError(
            f"mask is {list(mask.shape)} of {mask.dtype}; expected bool [batch pos], True = real"
        )
    real: Tensor = mask.bool()
    return real


def real_pairs(pairs: object, mask: Bool[Tensor, "batch pos"] | None) -> Int[Tensor, "*batch pair 2"] | None:
    """Pairs on the CPU, where the kernels' checks need not wait for a device; −1 where one is padding."""
    if pairs is None:
        return None
    given = check_pair_form(torch.as_tensor(pairs)).cpu()
    if mask is None:
        return given
    positions = check_pairs(mask.cpu()[..., None], given)
    row = torch.arange(len(mask))[:, None, None]
    real = mask.cpu()[row, positions.clamp(min=0)].all(-1, keepdim=True)
    return positions.where(real, -1)
