"""What single heads write: their part of attention's write, against the MLP's write and the block's input."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from laminar_lens.errors import ModelError
from laminar_lens.models.families import family_of
from laminar_lens.models.forward import Watch
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.steps import Step, tolerance
from laminar_lens.studies.decomposition.model import architecture
from laminar_lens.studies.decomposition.numbers import HEADS


@dataclass(eq=False, repr=False)
class HeadWatch:
    """Keeps what the heads of each block have read until its step is there.

    Attributes:
        model, blocks, length: as of a `StepWatch`.
    """

    model: HookedModel
    blocks: Sequence[int]
    length: int
    _read: dict[int, Tensor] = field(default_factory=dict)

    def watch(self) -> list[Watch]:
        """Hook points and what looks at them."""
        family = family_of(self.model.cfg)
        return [
            (family.hook("z", block), partial(self._passing, row)) for row, block in enumerate(self.blocks)
        ]

    def taken(self, row: int) -> Float[Tensor, "batch pos head d_head"] | None:
        """What that block's heads have read, once."""
        return self._read.pop(row, None)

    def _passing(self, row: int, z: Tensor, hook: object) -> None:
        self._read[row] = z.detach()[:, -self.length :].clone()


def measure_heads(
    model: HookedModel, block: int, z: Tensor | None, step: Step, body_from: int
) -> dict[str, Float[Tensor, "batch head"]]:
    """Means over each text's tokens of every head's write, one head at a time.

    Raises:
        ModelError: the heads' writes and a bias do not add up to attention's, as where a norm follows them.
    """
    name = architecture(model)
    try:
        weights = model.blocks[block].attn.W_O
    except AttributeError:
        weights = None
    if z is None or weights is None or tuple(z.shape[2:]) != tuple(weights.shape[:2]):
        raise ModelError(
            f"{name}: block {block} does not show what its heads write; run the study without heads"
        )
    x, a, m = step.before.double(), step.attn.double(), step.mlp.double()
    left, found = a.clone(), []
    wide = torch.promote_types(weights.dtype, torch.float32)
    for head, weight in enumerate(weights.detach().to(wide)):
        write = (z[:, :, head].to(weight) @ weight).to(a)
        left -= write
        found.append(_means(write, x, a, m, body_from))
    apart = float((left - left[:1, :1]).norm(dim=-1).max())
    size = float(torch.stack([part.norm(dim=-1).max() for part in (a, left)]).max())
    if not apart <= tolerance(weights.dtype) * size:
        raise ModelError(
            f"{name}: in block {block} the heads' writes do not add up to attention's (off by {apart:.2g} "
            f"where it reaches {size:.2g}), as where a norm follows or an intervention acts on it; run the "
            "study without heads"
        )
    return {key: torch.stack([one[key] for one in found], dim=1) for key in HEADS}


def _means(write: Tensor, x: Tensor, a: Tensor, m: Tensor, body_from: int) -> dict[str, Tensor]:
    """Of one head's write to the tokens after the first `body_from`; what is not defined is left out."""
    with_m, with_x, with_a = (torch.linalg.vecdot(write, other) for other in (m, x, a))
    square = torch.linalg.vecdot(write, write)
    mm, xx, aa = (torch.linalg.vecdot(one, one) for one in (m, x, a))
    values = (with_m / (square * mm).sqrt(), (square / xx).sqrt(), with_x / xx, with_a / aa)
    finite = (one.masked_fill(~one.isfinite(), torch.nan) for one in values)
    return {key: one[:, body_from:].nanmean(-1) for key, one in zip(HEADS, finite, strict=True)}
