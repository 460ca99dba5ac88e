"""How eager.py cuts its input into blocks, and the memory that the blocks share."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from laminar_lens.kernels._checks import is_watched
from laminar_lens.kernels._tensors import unreadable

_SUM_BLOCK = 128
BLOCK_BYTES = {"cpu": 2**21}
_BLOCK_BYTES_ELSEWHERE = 2**24  # an accelerator needs large launches more than it needs its cache
_LEAST_BLOCK_BYTES = 2**19
_SHARE = 20
"""All buffers together are at most 1/20 of the input, where that leaves blocks worth a call."""

Block = tuple[slice, ...]


class Directions(NamedTuple):
    """Unit vectors. Where a gradient follows, `gap` is added to every angle: 0, or NaN without a direction.

    There the unit vectors hold constants instead of NaN: 0 · NaN backward would reach their neighbours.
    """

    unit: Tensor
    norm: Tensor
    gap: Tensor | None

    def at(self, positions: slice) -> "Directions":
        gap = None if self.gap is None else self.gap[..., positions]
        return Directions(self.unit[..., positions, :], self.norm[..., positions], gap)


class Vectors(NamedTuple):
    """Vectors and their lengths in float64, which holds the products of any two float32 numbers.

    A vector without a direction has a length of 0, inf or NaN.
    """

    states: Tensor
    length: Tensor

    def at(self, positions: slice) -> "Vectors":
        return Vectors(self.states[..., positions, :], self.length[..., positions])

    @property
    def norm(self) -> Tensor:
        return finite_length(self.length)


class Scratch:
    """What one call shares between its blocks: dtype, size of a block, and the buffers that are reused.

    Attributes:
        watched: a gradient or a `torch.func` transform follows, so there are no buffers.
        wide: float64 for a block of float16 to float32 on a CPU, where it costs less than care in float32.
        rows: how many vectors make one block.
        dtype: of the arithmetic and the result.
    """

    def __init__(self, *inputs: Tensor, buffers: int = 5, wide_buffers: int = 4) -> None:
        first = inputs[0]
        self.watched = any(is_watched(x) for x in inputs)
        self.dtype = torch.float64 if any(x.dtype == torch.float64 for x in inputs) else torch.float32
        plain = not self.watched and not torch.compiler.is_compiling()
        fits = first.device.type == "cpu" and self.dtype == torch.float32
        self.wide = plain and fits and not unreadable(*inputs)  # what it does depends on the numbers
        most = BLOCK_BYTES.get(first.device.type, _BLOCK_BYTES_ELSEWHERE)
        kept = wide_buffers if self.wide else buffers  # arccos needs fewer than Kahan's form
        share = sum(x.numel() * x.element_size() for x in inputs) // (_SHARE * kept)
        budget = min(most, max(share, _LEAST_BLOCK_BYTES))
        self.rows = max(2, budget // (first.shape[-1] * (8 if self.wide else self.dtype.itemsize)))
        if self.watched:
            self.rows = 2 * max(1, first.numel())
        self._like = first
        self._buffers: dict[str, Tensor] = {}

    def empty(self, shape: tuple[int, ...]) -> Tensor:
        return self._like.new_empty(shape, dtype=self.dtype)

    def buffer(self, name: str, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor | None:
        """Memory for `out=`; None lets torch allocate."""
        if self.watched:
            return None
        size = math.prod(shape)
        if name not in self._buffers or self._buffers[name].numel() < size:
            self._buffers[name] = self._like.new_empty(size, dtype=dtype or self.dtype)
        return self._buffers[name][:size].view(shape)

    def vectors(self, name: str, states: Tensor) -> Directions | Vectors:
        """What `between` compares."""
        if not self.wide:
            return self.directions(name, states)
        wide = self.widened(name, states)
        return Vectors(wide, norm_of(wide))

    def inner(self, u: Tensor, v: Tensor) -> Tensor:
        """Inner products of widened vectors."""
        return torch.mul(u, v, out=self.buffer("products", u.shape, torch.float64)).sum(-1)

    def widened(self, name: str, states: Tensor) -> Tensor:
        """The states in the dtype of the arithmetic."""
        out = self.buffer(name, states.shape, torch.float64) if self.wide else None
        return states.to(self.dtype) if out is None else out.copy_(states)

    def directions(self, name: str, vectors: Tensor) -> Directions:
        """Unit vectors. Unwatched, a vector without a direction becomes NaN in the divisions by itself."""
        out = self.buffer(name, vectors.shape)
        if not self.watched:
            return Directions(*self._scaled(vectors, out), None)
        largest = largest_of(vectors).to(self.dtype)
        valid = (largest > 0) & largest.isfinite()
        scaled = torch.where(valid[..., None], vectors, 1.0) / torch.where(valid, largest, 1.0)[..., None]
        gap = torch.where(valid, 0.0, torch.nan).to(self.dtype)
        length = length_of(scaled)
        norm = torch.where(valid, largest * length, torch.where(largest == 0, 0.0, torch.nan).to(self.dtype))
        return Directions(scaled / length[..., None], norm, gap)

    def _scaled(self, vectors: Tensor, out: Tensor | None) -> tuple[Tensor, Tensor]:
        """Unit vectors and norms at any scale, by way of max|u|."""
        largest = largest_of(vectors).to(self.dtype)
        scaled = torch.div(vectors, largest[..., None], out=out)
        length = length_of(scaled)
        norm = torch.where(largest == 0, 0.0, largest * length)
        return torch.div(scaled, length[..., None], out=scaled), norm

    def difference(self, states: Tensor) -> Tensor:
        """Successive differences along positions."""
        shape = (*states.shape[:-2], states.shape[-2] - 1, states.shape[-1])
        out = self.buffer("step", shape, states.dtype)
        return torch.sub(states[..., 1:, :], states[..., :-1, :], out=out)


def length_of(vectors: Tensor) -> Tensor:
    """Euclidean length, summed over at most 128 coordinates at a time."""
    d_model = vectors.shape[-1]
    if d_model <= _SUM_BLOCK:
        return norm_of(vectors)
    size = _even_block(d_model) or _SUM_BLOCK
    whole = d_model - d_model % size
    parts = norm_of(vectors[..., :whole].reshape(*vectors.shape[:-1], whole // size, size))
    if whole < d_model:
        parts = torch.cat([parts, norm_of(vectors[..., whole:])[..., None]], -1)
    return length_of(parts)


def finite_length(length: Tensor) -> Tensor:
    """NaN for the infinite length, in float64, of a float32 vector that is not finite."""
    return length.masked_fill(length.isinf(), torch.nan).float()


def norm_of(vectors: Tensor) -> Tensor:
    """Euclidean length in one sum."""
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return length


_even_blocks: dict[int, int | None] = {}  # torch.compile warns of functools.cache


def _even_block(d_model: int) -> int | None:
    """The largest divisor of `d_model` in 65 … 128: no remainder to add. 768 gives 128, 1600 gives 100."""
    if d_model not in _even_blocks:
        sizes = range(_SUM_BLOCK, _SUM_BLOCK // 2, -1)
        _even_blocks[d_model] = next((size for size in sizes if d_model % size == 0), None)
    return _even_blocks[d_model]


def largest_of(vectors: Tensor) -> Tensor:
    """max|u|, without a temporary. A constant for the gradient: no direction or length depends on it."""
    vectors = vectors.detach()
    return torch.maximum(vectors.amax(-1), -vectors.amin(-1))


def finite_of(vectors: Tensor) -> Tensor:
    """Zeros for NaN and inf."""
    return torch.nan_to_num(vectors, nan=0.0, posinf=0.0, neginf=0.0)


def shorter(resid: Tensor, by: int) -> tuple[int, ...]:
    """The places of results that `by` positions at the end have no part in."""
    return (*resid.shape[:-2], resid.shape[-2] - by)


def longer(block: Block, by: int) -> Block:
    """The input positions that a block of output positions needs."""
    return (*block[:-1], slice(block[-1].start, block[-1].stop + by))


def blocks(shape: tuple[int, ...], rows: int) -> Iterator[Block]:
    """Cuts `shape` into blocks of at most `rows` places, in row-major order."""
    axis, inside = len(shape), 1
    while axis > 0 and inside * shape[axis - 1] <= rows:
        axis -= 1
        inside *= shape[axis]
    whole = tuple(slice(0, n) for n in shape[axis:])
    if axis == 0:
        yield whole
        return
    length, step = shape[axis - 1], max(1, rows // inside)
    for outer in itertools.product(*map(range, shape[: axis - 1])):
        single = tuple(slice(i, i + 1) for i in outer)
        for start in range(0, length, step):
            yield (*single, slice(start, min(start + step, length)), *whole)


def collect(
    compute: Callable[[Block], Tensor],
    shape: tuple[int, ...],
    scratch: Scratch,
    rows: int | None = None,
    inner: tuple[int, ...] = (),
) -> Tensor:
    """Runs `compute` over the blocks of `shape` and puts the results, with axes `inner` more, together.

    They are joined, not written into a buffer, so that autograd and `torch.func` can follow.
    """
    full = (*shape, *inner)
    if math.prod(full) == 0:
        return scratch.empty(full)
    parts = [compute(block).flatten() for block in blocks(tuple(shape), rows or scratch.rows)]
    return (parts[0] if len(parts) == 1 else torch.cat(parts)).reshape(full)
