"""Removing what a component writes: attention or MLP of some blocks.

That hook values are the writes is no matter of course (a norm may follow): in every pass, input + attention +
MLP = output is checked in each block that is edited.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from laminar_lens.arguments import checked, shown
from laminar_lens.axes import Wholes
from laminar_lens.errors import CaptureError, InputError
from laminar_lens.interventions.arguments import (
    check_hooks,
    check_positions,
    columns,
    others,
    whole_or_mean,
    wholes,
)
from laminar_lens.models.edits import CHECK, READ, Edit, Intervention, Span
from laminar_lens.models.families import WRITES, family_of
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.steps import tolerance
from laminar_lens.models.surroundings import blame

ARCHITECTURES = "those whose blocks add attention and MLP to the stream, for example GPT-2, Llama, GPT-NeoX"


@dataclass(frozen=True)
class _RemoveWrite(Intervention):
    name = "remove_write"
    does = (
        "what a component adds to the residual stream replaced by zero, or by its mean over other positions"
    )
    component: str
    blocks: tuple[int, ...]
    positions: tuple[int, ...] | None = None
    by: str = "zero"

    def check(self, model: HookedModel, length: int) -> None:
        n_blocks = int(model.cfg.n_layers)
        if self.blocks[-1] >= n_blocks:
            raise InputError(
                f"{self.label}: block {self.blocks[-1]} does not exist; this model has blocks 0 … "
                f"{n_blocks - 1}"
            )
        family = family_of(model.cfg)
        names = [family.hook(part, block) for block in self.blocks for part in WRITES]
        check_hooks(self.label, model, names, ARCHITECTURES)
        check_positions(self.label, self.positions or (), length)
        others(self.label, self.by, self.positions, length)

    def edits(self, model: HookedModel) -> list[Edit]:
        found, outside = [], blame(model)  # now: in a pass our own hooks are there too
        family = family_of(model.cfg)
        for block in self.blocks:
            terms = _Terms(self.label, block, outside)
            found += [Edit(family.hook(self.component, block), block + 1, self._remove)]
            found += [
                Edit(family.hook(part, block), block + 1, terms.add, READ) for part in ("before", *WRITES)
            ]
            found += [Edit(family.hook("after", block), block + 1, terms.check, CHECK)]
        return found

    def clash(self, other: Intervention, model: HookedModel, length: int) -> str:
        if not isinstance(other, _RemoveWrite) or self.component != other.component:
            return ""
        blocks = set(self.blocks) & set(other.blocks)
        mine, theirs = self.positions, other.positions
        shared = set(mine or theirs or (0,)) & set(theirs or mine or (0,))
        return f"both remove the {self.component} write of block {min(blocks)}" if blocks and shared else ""

    def _remove(self, write: Tensor, span: Span) -> Tensor:
        place = columns(self.positions, span, write)
        out = write.clone()
        if self.by == "zero":
            out[:, place] = 0
        else:
            rest = others(self.label, self.by, self.positions, write.shape[1] - span.before)
            out[:, place] = write[:, columns(rest, span, write)].mean(1, keepdim=True)
        return out


class _Terms:
    """The terms of one block in one pass; they are let go at its end."""

    def __init__(self, label: str, block: int, outside: str) -> None:
        self._label, self._block, self._outside = label, block, outside
        self._terms: list[Tensor] = []

    def add(self, value: Tensor, span: Span) -> None:
        """Keeps the block's input, or what a component adds to it."""
        self._terms.append(value.detach())

    def check(self, after: Tensor, span: Span) -> None:
        """Asserts that the terms add up to the block's output."""
        terms, self._terms = self._terms, []
        if len(terms) != 3:
            return  # a hook that did not fire has its own error
        apart = float((sum(terms[1:], terms[0]) - after.detach()).abs().max())
        size = float(torch.stack([term.abs().max() for term in terms]).max())
        if not apart <= tolerance(after.dtype) * size:
            why = (
                f"{self._outside}, which may be why"
                if self._outside
                else "the hook is not what this model writes"
            )
            raise CaptureError(
                f"{self._label}: in block {self._block} input + attention + MLP is not the output (off by "
                f"{apart:.1e} where values reach {size:.1e}): {why}"
            )


@checked(positions=None)
def remove_write(
    component: object, blocks: Wholes, positions: Wholes = None, by: str = "zero"
) -> Intervention:
    """Removes what the attention or the MLP of some blocks writes: who writes the sink, and who erases it.

    >>> remove_write("mlp", blocks=[0, 2], positions=0).label
    "remove_write('mlp', [0, 2], positions=[0])"

    Args:
        component: "attn" or "mlp".
        blocks: 0 … n_layers − 1; block b writes between hidden states b and b + 1.
        positions: all by default, those of a prefix too.
        by: "zero", or "mean": the mean write over the same text's positions that are not in `positions`.

    Raises:
        InputError: another component or `by`, or blocks or positions that are not numbers. Where it is used:
            a block, position or hook point that is not there.
        CaptureError: while it runs, input + attention + MLP is not the block's output.
    """
    if not isinstance(component, str) or component not in WRITES:
        raise InputError(f"component is {shown(component)}; expected 'attn' or 'mlp'")
    by = whole_or_mean("remove_write", by, positions)
    chosen = wholes("blocks", blocks)
    if chosen is None:
        raise InputError("remove_write needs blocks; give at least one")
    return _RemoveWrite(str(component), chosen, wholes("positions", positions), by)
