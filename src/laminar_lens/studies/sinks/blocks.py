"""What the blocks of a model let see: attention patterns and writes, and whether a step is their sum."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminar_lens.models.batches import PromptBatches
from laminar_lens.models.families import family_of
from laminar_lens.models.forward import run_states
from laminar_lens.models.steps import tolerance
from laminar_lens.studies.layers import named_layers

ATTENTION = "pattern"


def fires(run: PromptBatches, kind: str, blocks: Sequence[int], notes: list[str]) -> bool:
    """Whether each of the blocks has that hook point and reaches it, in the first text."""
    seen: set[int] = set()

    def look(block: int) -> Callable[[Tensor, Any], None]:
        return lambda value, hook: seen.add(block)

    family = family_of(run.model.cfg)
    watch = [(family.hook(kind, block), look(block)) for block in blocks]
    try:
        run_states(run.model, run.tokens([0]), [max(blocks) + 1], lambda layer, state: None, watch=watch)
    except (KeyError, AttributeError, ValueError):
        seen.clear()
    missing = [block for block in blocks if block not in seen]
    if missing:
        what = (
            "attention is not measured" if kind == ATTENTION else "steps are not decomposed into their writes"
        )
        notes.append(f"The model has no hook {family.hook(kind, missing[0])} that fires: {what}.")
    return not missing


def refuse_broken_steps(
    write: Float[np.ndarray, "text block component pos"],
    error: Float[np.ndarray, " block"],
    blocks: Int[np.ndarray, " block"],
    dtype: torch.dtype,
    notes: list[str],
) -> None:
    """No decomposition of a block whose step is not the sum of what attention and MLP are seen to write.

    Args:
        write: of each component; NaN is put where it is not known.
        error: how far each block's step is from the sum.
        blocks: their numbers.
        dtype: of the model.
        notes: get what is not decomposed, and why.
    """
    broken = np.flatnonzero(~(error <= tolerance(dtype)))
    write[:, broken] = np.nan
    finite = np.isfinite(error[broken])
    if finite.any():
        off = broken[finite]
        worst = off[int(np.argmax(error[off]))]
        notes.append(
            f"resid_post − resid_pre is not attn + mlp in {len(off)} of {len(error)} blocks (block "
            f"{blocks[worst]}: off by {error[worst]:.2g} of the longest of input, output and writes): these "
            "blocks' steps are not decomposed."
        )
    if not finite.all():
        where = named_layers(blocks[broken[~finite]].tolist()).replace("layer", "block")
        notes.append(
            f"What is written in {where} is not finite everywhere: whether resid_post − resid_pre is attn + "
            "mlp is not known there, and these steps are not decomposed."
        )
