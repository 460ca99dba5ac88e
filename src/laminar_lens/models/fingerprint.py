"""The weights of a model as one number: what a run reads, and nothing of what it makes."""

import hashlib
import json
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from laminar_lens.models.hooked import HookedModel

ROTARY_ROWS = 2048
"""A HookedTransformer makes so many rows of its rotary tables at once, and more when a longer text comes."""
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def fingerprint(model: HookedModel) -> str:
    """SHA-256 over the name, shape and dtype of every parameter and buffer that a run reads, and the exact
    sums of the bits of its rows and of its columns.

    A changed value changes its row's sum and its column's; so does one that was moved. Hashing every byte
    would take seconds for a large model.
    """
    digest = hashlib.sha256()
    for name, values in sorted(_weights(model), key=lambda item: item[0]):
        flat = values.detach().reshape(-1, values.shape[-1] if values.ndim and values.numel() else 1)
        bits = flat.view(_BITS[flat.element_size()])
        digest.update(json.dumps([name, list(values.shape), str(values.dtype)]).encode())
        for axis in (0, 1):
            digest.update(_sums(bits, axis).tobytes())
    return digest.hexdigest()


def _sums(bits: Tensor, axis: int) -> np.ndarray:
    """Exact sums; on a CPU torch copies whole numbers before it adds them, and takes eight times as long."""
    if bits.device.type == "cpu":
        return np.asarray(bits.numpy().sum(axis, dtype=np.int64))
    return np.asarray(bits.sum(axis, dtype=torch.int64).cpu().numpy())


def _weights(model: HookedModel) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by name: rotary tables and quantised weights are buffers.

    The frequencies of rotary positions that depend on the length of a text are set anew by each run, and
    tables of them grow with it: of these, the rows that are there from the start count.
    """
    yield from model.named_parameters()
    dynamic = {
        name
        for name, part in model.named_modules()
        if getattr(part, "rope_type", "default") in ("dynamic", "longrope")
        or getattr(getattr(part, "cfg", None), "use_dynamic_ntk_rope", False)
    }
    for name, buffer in model.named_buffers():
        owner, _, short = name.rpartition(".")
        table = short in ("rotary_sin", "rotary_cos")
        if not ((table or short == "inv_freq") and owner in dynamic):
            yield name, buffer[:ROTARY_ROWS] if table else buffer
