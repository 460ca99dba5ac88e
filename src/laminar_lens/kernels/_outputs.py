"""What every backend does to its results."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor


def sequential_key(lag: int) -> str:
    """Name of the sequential angles at this lag: "sequential", "sequential_2", …"""
    return "sequential" if lag == 1 else f"sequential_{lag}"


def hide_padding(found: dict[str, Tensor], mask: Bool[Tensor, "batch pos"] | None) -> dict[str, Tensor]:
    """NaN wherever a masked position takes part."""
    if mask is None:
        return found
    hidden = {}
    for name, values in found.items():
        real = mask
        if name.startswith("sequential"):
            lag = mask.shape[-1] - values.shape[-1]
            real = mask[:, :-lag] & mask[:, lag:]
        hidden[name] = values.masked_fill(~real, torch.nan)
    return hidden


def empty_output(like: Tensor, shape: Sequence[int]) -> Tensor:
    """Memory for a result on the CPU, not written yet."""
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    return torch.empty(tuple(shape), dtype=dtype, device=like.device)
