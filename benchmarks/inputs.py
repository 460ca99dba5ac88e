"""Inputs from a seed: several sets of one shape, so that no backend finds its data in a cache.

Every vector is a random one plus a random multiple of one direction that all share: angles then lie all
over (0, π), where independent vectors would all be orthogonal, and every bin of a histogram has some.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.registry import Entry, Shape

_SPREAD = 2.0
"""Standard deviation of the multiple: the middle half of the angles then lies outside π/2 ± 0.5."""


@dataclass(frozen=True)
class Inputs:
    """One input set.

    Attributes:
        states: [layer batch pos d_model].
        pairs: a random matching of the positions of each prompt, int64 [batch pair 2]; only for `pairs`.
    """

    states: Tensor
    pairs: Tensor | None


def make_inputs(entry: Entry, count: int, device: str, seed: int = 0) -> list[Inputs]:
    """`count` input sets on the device; the same seed gives the same numbers on the same kind of device."""
    generator = torch.Generator(device).manual_seed(seed)
    dtype = getattr(torch, entry.dtype)
    return [_one(entry, dtype, generator, device) for _ in range(count)]


def _one(entry: Entry, dtype: torch.dtype, generator: torch.Generator, device: str) -> Inputs:
    shape = entry.shape
    if entry.operation == "accuracy":
        return Inputs(_planted(shape, generator, device).to(dtype), None)
    states = torch.empty(shape.layers, shape.batch, shape.pos, shape.d_model, dtype=dtype, device=device)
    shared = torch.randn(shape.d_model, generator=generator, device=device).to(dtype)
    for layer in states:  # a whole float32 stack beside a bfloat16 one may not fit
        layer.normal_(generator=generator)
        multiple = torch.randn(*layer.shape[:-1], 1, generator=generator, device=device) * _SPREAD
        for text, factor in zip(layer, multiple.to(dtype), strict=True):
            text.addcmul_(factor, shared)
    pairs = _matching(shape, generator, device) if entry.operation == "pairs" else None
    return Inputs(states, pairs)


def _matching(shape: Shape, generator: torch.Generator, device: str) -> Tensor:
    order = torch.stack(
        [torch.randperm(shape.pos, generator=generator, device=device) for _ in range(shape.batch)]
    )
    return order[:, : shape.pos // 2 * 2].reshape(shape.batch, -1, 2).sort(dim=-1).values


def _planted(shape: Shape, generator: torch.Generator, device: str) -> Tensor:
    """Pairs of vectors at one angle, formed in float64."""
    assert shape.angle is not None
    size = (2, shape.batch, shape.d_model)
    u, w = torch.randn(size, generator=generator, dtype=torch.float64, device=device)
    u = u / u.norm(dim=-1, keepdim=True)
    w = w - (w * u).sum(-1, keepdim=True) * u
    w = w / w.norm(dim=-1, keepdim=True)
    v = math.cos(shape.angle) * u + math.sin(shape.angle) * w
    return torch.stack([u, 3 * v], dim=-2)[None]
