"""What the blocks of a model let see: attention patterns and writes, and whether a step is their sum."""

from collections.abc import Sequence, Set

import numpy as np
import torch
from jaxtyping import Float, Int

from laminar_lens.models.families import family_of
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.steps import tolerance
from laminar_lens.studies.layers import named_layers

ATTENTION = "pattern"


def has_hooks(model: HookedModel, kind: str, blocks: Sequence[int]) -> bool:
    """Whether each of the blocks has that hook point; whether it fires is known after a pass."""
    family = family_of(model.cfg)
    return all(family.hook(kind, block) in model.hook_dict for block in blocks)


def silent(model: HookedModel, kind: str, blocks: Sequence[int], fired: Set[tuple[str, int]]) -> str:
    """What to say where that hook point fired in some of the blocks only; empty where in all of them."""
    missing = [block for block in blocks if (kind, block) not in fired]
    if not missing:
        return ""
    what = "attention is not measured" if kind == ATTENTION else "steps are not decomposed into their writes"
    return f"The model has no hook {family_of(model.cfg).hook(kind, missing[0])} that fires: {what}."


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
