"""Which tokens of a token tensor are padding, where only the tokenizer's pad id tells.

A pad id of its own is padding wherever it makes a run at a row's start or end. One that is also BOS, EOS or
another token is told by position alone, after what padding does to a batch: it fills the shorter rows on one
side, and the longest row has none.

- An id that every row has at that end, at least one row exactly once, is each row's own (its BOS, its EOS);
  what goes beyond it is padding.
- Every other run at that end is padding; but where no row has more than one, only on the side on which the
  tokenizer pads: on the other it is text.

What could be otherwise is said wherever it is so read, and `mask=` or −1 in the ids decide.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from laminar_lens.axes import Mask
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import special_tokens
from laminar_lens.words import joined

PADDING = -1
SIDES = {"left": "start", "right": "end"}
_HOW = (
    "It is the tokenizer's pad token, but also its {}: to say which are padding, give mask= or padding= "
    "(True = real), or −1 in the ids (a column of −1 after rows that have none)."
)
_ROLES = {"bos": "BOS", "eos": "EOS", "unk": "unknown token", "sep": "separator", "cls": "class token"}


@dataclass(frozen=True)
class PadToken:
    """The pad id, what else it stands for, and the side on which the tokenizer pads."""

    id: int
    roles: tuple[str, ...] = ()
    side: str = "right"


def pad_token(special: Mapping[str, Any]) -> PadToken | None:
    """The pad token among `special_tokens(model)`, as results record them; None without one."""
    pad = special.get("pad")
    if pad is None:
        return None
    roles = tuple(word for name, word in _ROLES.items() if special.get(name) == pad)
    return PadToken(int(pad), roles, str(special.get("padding_side", "right")))


def without_pads(model: HookedModel, prompts: object, mask: Mask = None) -> tuple[Any, str]:
    """Token ids with −1 where the model's pad id is padding, and what a reader must know of it (or nothing).

    Whatever is no integer tensor [batch pos] comes back as it is; so do ids whose padding is marked already,
    by a mask or by −1.
    """
    if mask is not None or not is_token_tensor(prompts):
        return prompts, ""
    ids = torch.as_tensor(prompts).long()
    real, note = real_by_pad(ids, pad_token(special_tokens(model)))
    return prompts if real is None else ids.masked_fill(~real, PADDING), note


def is_token_tensor(prompts: object) -> bool:
    """Whether prompts are integers [batch pos] of a tensor or an array."""
    if not (hasattr(prompts, "dtype") and getattr(prompts, "ndim", 0) == 2):
        return False
    if isinstance(prompts, Tensor):
        kind = prompts.dtype
        return not (kind.is_floating_point or kind.is_complex or kind == torch.bool)
    return getattr(prompts.dtype, "kind", "") in "iu"


def real_by_pad(
    ids: Int[Tensor, "batch pos"], pad: PadToken | None
) -> tuple[Bool[Tensor, "batch pos"] | None, str]:
    """Which tokens are no padding by the pad id, and what a reader must know; None where it marks nothing.

    Ids that hold a negative one have their padding marked by it, and no other.
    """
    if pad is None or not ids.numel() or bool((ids < 0).any()):
        return None, ""
    runs = dict(zip(SIDES, _runs(ids == pad.id, pad), strict=True))
    excess, said = {}, []
    for side, run in runs.items():
        excess[side], note = _excess(run, side, pad) if pad.roles else (run, "")
        said += [note] if note else []
    first, stop = excess["left"], ids.shape[1] - excess["right"]
    real = None
    if any(bool(run.any()) for run in excess.values()):
        at = torch.arange(ids.shape[1], device=ids.device)[None]
        real = (at >= first[:, None]) & (at < stop[:, None])
    return real, f"{' '.join(said)} {_HOW.format(joined(pad.roles))}" if said else ""


def _runs(is_pad: Tensor, pad: PadToken) -> tuple[Tensor, Tensor]:
    """Lengths of the runs at each row's start and end; a row of nothing else is like the others on the side
    that is not padded, and padding beyond."""
    lead = is_pad.long().cumprod(1).sum(1)
    trail = is_pad.flip(1).long().cumprod(1).sum(1)
    width = is_pad.shape[1]
    blank = lead == width
    if bool(blank.all()):
        return lead, torch.zeros_like(trail)
    if pad.side == "left":
        trail = torch.where(blank, _own(trail[~blank]), trail)
        return torch.where(blank, width - trail, lead), trail
    lead = torch.where(blank, _own(lead[~blank]), lead)
    return lead, torch.where(blank, width - lead, trail)


def _own(run: Tensor) -> int:
    """How many of a run belong to each row itself: one, where every row has it and some row has no more."""
    return int(int(run.min()) == 1)


def _excess(run: Tensor, side: str, pad: PadToken) -> tuple[Tensor, str]:
    """What of each row's run is padding, and what is to be said of it, where the id could be text."""
    own, rows, end = _own(run), len(run), SIDES[side]
    if int(run.max()) <= 1 and pad.side != side:
        n = 0 if own else int(run.sum())
        note = f"Token {pad.id} at the {end} of {n} of {rows} rows is taken as text." if n else ""
        return torch.zeros_like(run), note
    beyond = run - own
    if not beyond.any():
        return beyond, ""
    kept = ", but for the one that every row has" if own else ""
    n = int((beyond > 0).sum())
    return beyond, f"Token {pad.id} at the {end} of {n} of {rows} rows is taken as padding{kept}."
