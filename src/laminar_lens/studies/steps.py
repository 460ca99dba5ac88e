"""What is said of blocks whose step is not the sum of what attention and MLP are seen to write."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from laminar_lens.models.steps import tolerance
from laminar_lens.studies.layers import named_layers


def broken_steps(
    error: Float[np.ndarray, " block"],
    blocks: Int[np.ndarray, " block"],
    dtype: torch.dtype,
    notes: list[str],
) -> Bool[np.ndarray, " block"]:
    """True where a block's step cannot be decomposed.

    Args:
        error: how far each block's step is from the sum, see `laminar_lens.models.steps.Step.error`.
        blocks: their numbers.
        dtype: of the model.
        notes: get what is not decomposed, and why.
    """
    broken = ~(error <= tolerance(dtype))
    off, unknown = broken & np.isfinite(error), broken & ~np.isfinite(error)
    if off.any():
        worst = int(np.argmax(np.where(off, error, -np.inf)))
        notes.append(
            f"In {int(off.sum())} of {len(error)} blocks, resid_post − resid_pre is not attn + mlp (block "
            f"{blocks[worst]}: off by {error[worst]:.2g} of the longest of input, output and writes): these "
            "blocks' steps are not decomposed."
        )
    if unknown.any():
        where = named_layers(blocks, unknown, kind="block")
        notes.append(
            f"What is written in {where} is not finite everywhere: whether resid_post − resid_pre is attn + "
            "mlp is not known there, and these steps are not decomposed."
        )
    return np.asarray(broken)
