"""What a position may see: edits of the attention scores, in every head of every block.

Scores come after the causal mask, [batch head query key]; minus infinity there is a weight of exactly 0, and
every position still sees itself.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from laminar_lens.arguments import checked, flag
from laminar_lens.errors import CaptureError
from laminar_lens.interventions.arguments import check_hooks
from laminar_lens.interventions.places import AtPosition, position
from laminar_lens.models.edits import Edit, Intervention, Span
from laminar_lens.models.families import family_of
from laminar_lens.models.hooked import HookedModel

ARCHITECTURES = "those with softmax attention, for example GPT-2, Llama, GPT-NeoX"


@dataclass(frozen=True)
class _Masked(AtPosition):
    """Some rows do not see some columns."""

    def check(self, model: HookedModel, length: int) -> None:
        check_hooks(self.label, model, self._hooks(model), ARCHITECTURES)
        super().check(model, length)

    def edits(self, model: HookedModel) -> list[Edit]:
        return [Edit(hook, block + 1, self._mask, axis=-1) for block, hook in enumerate(self._hooks(model))]

    def _hooks(self, model: HookedModel) -> list[str]:
        family = family_of(model.cfg)
        return [family.hook("scores", block) for block in range(int(model.cfg.n_layers))]

    def clash(self, other: Intervention, model: HookedModel, length: int) -> str:
        return "it is the same intervention twice" if self == other else ""

    def _mask(self, scores: Tensor, span: Span) -> Tensor:
        if scores.ndim != 4 or scores.shape[-1] != scores.shape[-2]:
            raise CaptureError(
                f"{self.label}: attention scores have shape {list(scores.shape)}; expected "
                "[batch head pos pos], a run of whole texts without cached keys"
            )
        places = torch.arange(scores.shape[-1], device=scores.device)
        at = self.columns(scores, span)[:, None, None, None]
        return scores.masked_fill(self._hidden(places[:, None], places, at), -torch.inf)

    def _hidden(self, row: Tensor, column: Tensor, at: Tensor) -> Tensor:
        """Whether a row does not see a column; `at` is the column of position t."""
        raise NotImplementedError


@dataclass(frozen=True)
class _Cut(_Masked):
    name = "cut"
    does = "positions from t on do not see those before t, in any head or block"

    def _hidden(self, row: Tensor, column: Tensor, at: Tensor) -> Tensor:
        return (row >= at) & (column < at)


@checked()
def cut(t: object) -> Intervention:
    """In every head and block, positions from `t` on cannot see those before `t`.

    >>> cut(5).label
    'cut(5)'

    `cut(t)` with `restart(t)` is the plain run of the text from `t` on, at all positions from `t` on; where
    positions are rotary, `cut` alone already is.

    Args:
        t: a position, or one for each prompt that is measured.

    Raises:
        InputError: `t` is no whole number of at least 0. Where it is used: a prompt that lacks position `t`,
            or another number of prompts.
    """
    return _Cut(position("t", t))


@dataclass(frozen=True)
class _NoContext(_Masked):
    name = "no_context"
    does = "position t sees only itself; hidden from later positions too if `hidden`"
    hidden: bool = False

    def clash(self, other: Intervention, model: HookedModel, length: int) -> str:
        same = isinstance(other, _NoContext) and self.t == other.t
        return f"position {self.t} is masked twice" if same else ""

    def _hidden(self, row: Tensor, column: Tensor, at: Tensor) -> Tensor:
        own = (row == at) & (column < at)
        return own | ((row > at) & (column == at)) if self.hidden else own


@checked()
def no_context(t: object, hidden: object = False) -> Intervention:
    """Position `t` sees only itself, in every head and block: what its own token makes of its vector.

    >>> no_context(5, hidden=True).label
    'no_context(5, hidden=True)'

    Args:
        t: a position, or one for each prompt that is measured.
        hidden: later positions do not see position `t` either, which takes away its effect on them; True or
            False.

    Raises:
        InputError: as `cut`, or another `hidden`.
    """
    return _NoContext(position("t", t), flag("hidden", hidden))
