"""A block's step from its input to its output: what attention and MLP write, and how exactly they add up.

The values at the hooks of attention and MLP are what is added to the stream, also where a norm follows them
inside of the block (Gemma 2, OLMo 2): TransformerLens takes them after that norm. That they add up is no
matter of course, so that every study of writes checks it in every pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from laminar_lens.models.families import WRITES, family_of
from laminar_lens.models.forward import Watch
from laminar_lens.models.hooked import HookedModel

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}
TERMS = ("before", *WRITES, "after")
"""A step's parts of a block: its input, what attention and MLP write, its output."""


def tolerance(dtype: torch.dtype) -> float:
    """How far the output may be from the sum, over the largest of input, output and writes.

    In half precision there are two roundings, of at most 2 and 1 times that size: 3·2⁻¹¹, and 3·2⁻⁸ in
    bfloat16 or any other, with some room.
    """
    return TOLERANCE.get(dtype, TOLERANCE[torch.bfloat16])


def widened(state: Tensor) -> Tensor:
    """Half precision as float32."""
    return state.float() if state.element_size() < 4 else state


def is_parallel(model: HookedModel) -> bool:
    """Whether attention and MLP of a block read the same vector (GPT-J, NeoX), not one after the other."""
    return bool(getattr(model.cfg, "parallel_attn_mlp", False))


def has_hooks(model: HookedModel, part: str, blocks: Sequence[int]) -> bool:
    """Whether each of the blocks has that hook point; whether it fires is known after a pass."""
    family = family_of(model.cfg)
    return all(family.hook(part, block) in model.hook_dict for block in blocks)


@dataclass(frozen=True, eq=False)
class Step:
    """One block's step: its input, what attention and MLP write, its output; half precision as float32."""

    before: Float[Tensor, "batch pos d_model"]
    attn: Float[Tensor, "batch pos d_model"]
    mlp: Float[Tensor, "batch pos d_model"]
    after: Float[Tensor, "batch pos d_model"]

    @property
    def writes(self) -> tuple[Tensor, Tensor]:
        """Attention's and the MLP's."""
        return self.attn, self.mlp

    def error(self) -> Float[Tensor, "batch pos"]:
        """How far the output is from the sum, over the longest of input, output and writes; NaN where one of
        them is not finite, or too long for its length to be."""
        parts = (self.before, self.attn, self.mlp, self.after)
        lengths = torch.stack([part.norm(dim=-1) for part in parts])
        tiny = torch.finfo(lengths.dtype).tiny
        rest = (self.after - self.before - self.attn - self.mlp).norm(dim=-1)
        found: Tensor = rest / lengths.amax(0).clamp(min=tiny)
        return found.masked_fill(~lengths.isfinite().all(0), torch.nan)


@dataclass(eq=False, repr=False)  # each hook asks for it, and a model writes itself out
class StepWatch:
    """Looks at the blocks of one pass and hands over each one's step, as interventions leave it.

    Attributes:
        model: is run.
        blocks: their numbers, in increasing order.
        length: of the texts; what interventions put before them is left out.
        take: called as `take(row, step)` with the block's place among `blocks`, once its output is there; not
            where one of its hooks did not fire.
        parts: of `TERMS`, which are looked at; a step needs all.
        fired: gets the part and the block of every hook that did.
    """

    model: HookedModel
    blocks: Sequence[int]
    length: int
    take: Callable[[int, Step], None]
    parts: Sequence[str] = TERMS
    fired: set[tuple[str, int]] = field(default_factory=set)
    _seen: dict[str, Tensor] = field(default_factory=dict)

    def watch(self) -> list[Watch]:
        """Hook points and what looks at them."""
        family = family_of(self.model.cfg)
        return [
            (family.hook(part, block), partial(self._passing, row, part))
            for row, block in enumerate(self.blocks)
            for part in self.parts
        ]

    def _passing(self, row: int, part: str, value: Tensor, hook: object) -> None:
        self.fired.add((part, self.blocks[row]))
        state = value.detach()[:, -self.length :]
        if part != "after":
            self._seen[part] = state.clone()
            return
        seen, self._seen = self._seen, {}
        if len(seen) == len(TERMS) - 1:
            after = widened(state)
            self.take(row, Step(after=after, **{name: one.to(after) for name, one in seen.items()}))
