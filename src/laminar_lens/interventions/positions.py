"""Where a token believes to stand: edits of learned positional embeddings.

Rotary and ALiBi positions are not added to the residual stream and enter only as differences: there is
nothing to overwrite, and `cut` alone already starts a text anew.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from laminar_lens.arguments import checked
from laminar_lens.errors import InputError
from laminar_lens.interventions.arguments import check_hooks, whole
from laminar_lens.interventions.places import AtPosition, position
from laminar_lens.models.context import context_length
from laminar_lens.models.edits import CHECK, Edit, Intervention, Span
from laminar_lens.models.families import family_of
from laminar_lens.models.hooked import HookedModel

ARCHITECTURES = "those with learned absolute positions, for example GPT-2, GPT-Neo, OPT"
RELATIVE = ("rotary", "alibi", "relative_positional_bias", "none")


@dataclass(frozen=True)
class _Placed(AtPosition):
    """Some rows get the positional embeddings of other places."""

    def check(self, model: HookedModel, length: int) -> None:
        hook = family_of(model.cfg).positions
        kind = str(getattr(model.cfg, "positional_embedding_type", None))
        if kind in RELATIVE:
            raise InputError(
                f"{self.label} is not applicable: it needs the hook point {hook!r}, which fires only in "
                f"{ARCHITECTURES}; the positions of this model are {kind}"
            )
        check_hooks(self.label, model, [hook], ARCHITECTURES)
        super().check(model, length)

    def edits(self, model: HookedModel) -> list[Edit]:
        original: list[Tensor] = []

        def keep(embeddings: Tensor, span: Span) -> None:
            original[:] = [embeddings]

        def place(embeddings: Tensor, span: Span) -> Tensor:
            """Another intervention may have placed some rows by now: what is moved is what stood there."""
            places = torch.arange(embeddings.shape[1], device=embeddings.device)
            at = self.columns(embeddings, span)[:, None]
            return self._place(embeddings, original.pop(), places, at, model)

        hook = family_of(model.cfg).positions
        return [Edit(hook, 0, keep, CHECK), Edit(hook, 0, place)]

    def _place(self, now: Tensor, original: Tensor, places: Tensor, at: Tensor, model: HookedModel) -> Tensor:
        """What stands at `places` [batch pos d_model] instead; `at` is the column of position t."""
        raise NotImplementedError


@dataclass(frozen=True)
class _Restart(_Placed):
    name = "restart"
    does = "positions from t on get the positional embeddings P0, P1, …"

    def clash(self, other: Intervention, model: HookedModel, length: int) -> str:
        if isinstance(other, _Restart):
            return "both place the positions from the later one on"
        if isinstance(other, _SetPosition) and np.max(other.t) >= np.min(self.t):
            return f"both place position {other.t}"
        return ""

    def _place(self, now: Tensor, original: Tensor, places: Tensor, at: Tensor, model: HookedModel) -> Tensor:
        moved = original.take_along_dim((places - at).clamp(min=0)[..., None], dim=1)
        return torch.where((places >= at)[..., None], moved, now)


@dataclass(frozen=True)
class _SetPosition(_Placed):
    name = "set_position"
    does = "position t gets the positional embedding of place p; no other position changes"
    p: int

    def check(self, model: HookedModel, length: int) -> None:
        super().check(model, length)
        if self.p >= (places := context_length(model)):
            raise InputError(f"{self.label}: place {self.p} does not exist; the model has 0 … {places - 1}")

    def _place(self, now: Tensor, original: Tensor, places: Tensor, at: Tensor, model: HookedModel) -> Tensor:
        inside = self.p < original.shape[1]
        embedding = original[:, self.p, None] if inside else model.pos_embed.W_pos[self.p]
        return torch.where((places == at)[..., None], embedding.to(now), now)

    def clash(self, other: Intervention, model: HookedModel, length: int) -> str:
        same = isinstance(other, _SetPosition) and self.t == other.t
        return f"both place position {self.t}" if same else ""


@checked()
def restart(t: object) -> Intervention:
    """Positions from `t` on get the positional embeddings P₀, P₁, …; earlier ones keep theirs.

    >>> restart(5).label
    'restart(5)'

    Args:
        t: a position, or one for each prompt that is measured.

    Raises:
        InputError: `t` is no whole number of at least 0. Where it is used: a prompt that lacks position `t`,
            another number of prompts, or a model without learned absolute positions.
    """
    return _Restart(position("t", t))


@checked()
def set_position(t: object, p: object) -> Intervention:
    """Position `t` gets the positional embedding of place `p`: what being at `p` does to one token.

    >>> set_position(5, 0).label
    'set_position(5, 0)'

    The embedding is overwritten, never exchanged, so that no other position changes directly.

    Raises:
        InputError: as `restart`; where it is used, a place that the model's context lacks.
    """
    return _SetPosition(whole("t", t), whole("p", p))
