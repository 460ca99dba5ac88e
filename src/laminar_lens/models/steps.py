"""How exactly a block's output must be its input plus what its attention and its MLP write."""

import torch

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}


def tolerance(dtype: torch.dtype) -> float:
    """How far the output may be from the sum, over the largest of input, output and writes.

    In half precision there are two roundings, of at most 2 and 1 times that size: 3·2⁻¹¹, and 3·2⁻⁸ in
    bfloat16 or any other, with some room.
    """
    return TOLERANCE.get(dtype, TOLERANCE[torch.bfloat16])
