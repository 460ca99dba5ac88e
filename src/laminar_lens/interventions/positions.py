"""Where a token believes to stand: edits of learned positional embeddings.

Rotary and ALiBi positions are not added to the residual stream and enter only as differences: there is
nothing to overwrite, and `cut` alone already starts a text anew.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from laminar_lens.errors import InputError
from laminar_lens.interventions.arguments import check_hooks, check_positions, whole
from laminar_lens.models.edits import Edit, Intervention, Span

HOOK = "hook_pos_embed"
ARCHITECTURES = "those with learned absolute positions, for example GPT-2, GPT-Neo, OPT"
RELATIVE = ("rotary", "alibi", "relative_positional_bias", "none")


@dataclass(frozen=True)
class _Placed(Intervention):
    """Some rows get the positional embeddings of other places."""

    t: int

    def check(self, model: Any, length: int) -> None:
        kind = str(getattr(model.cfg, "positional_embedding_type", None))
        if kind in RELATIVE:
            raise InputError(
                f"{self.label} is not applicable: it needs the hook point {HOOK!r}, which fires only in "
                f"{ARCHITECTURES}; the positions of this model are {kind}"
            )
        check_hooks(self.label, model, [HOOK], ARCHITECTURES)
        check_positions(self.label, [self.t], length)

    def edits(self, model: Any) -> list[Edit]:
        return [Edit(HOOK, 0, self._place)]

    def _place(self, embeddings: Tensor, span: Span) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class _Restart(_Placed):
    name = "restart"
    does = "positions from t on get the positional embeddings P0, P1, …"

    def clash(self, other: Intervention, model: Any, length: int) -> str:
        return "both place the positions from the later one on" if isinstance(other, _Restart) else ""

    def _place(self, embeddings: Tensor, span: Span) -> Tensor:
        at = span.before + self.t
        return torch.cat([embeddings[:, :at], embeddings[:, : embeddings.shape[1] - at]], dim=1)


def restart(t: Any) -> Intervention:
    """Positions from `t` on get the positional embeddings P₀, P₁, …; earlier ones keep theirs.

    >>> restart(5).label
    'restart(5)'

    Raises:
        InputError: `t` is no whole number of at least 0. Where it is used: a prompt that lacks position `t`,
            or a model without learned absolute positions.
    """
    return _Restart(whole("t", t))
