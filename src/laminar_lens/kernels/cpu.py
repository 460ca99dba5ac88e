"""Angles on the CPU from one read of the data, on all cores; no gradient.

The loops are in _cpu_kernels.py. They run on as many threads as torch has, which take the next share of
blocks when they have done one. The threads are ours: numba's parallel loops would run on OpenMP, where a call
changes torch's number of threads and a forked process is ended, or on a pool that bears one caller.
"""

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminar_lens.kernels import _cpu_kernels as loops
from laminar_lens.kernels import _pairwise
from laminar_lens.kernels._outputs import empty_output, hide_padding, sequential_key

_CACHED_BYTES = 2**19
"""The rows of one layer in a block: with those of the layer before they fit a core's own cache."""
_LEAST_ROWS, _MOST_ROWS = 8, 256
_SHARES = 4
"""A thread's: the last ones even out what a busy core was late with."""
_MOST_LAGS = 4

_LIKE = {
    torch.float32: np.empty(0, np.float32),
    torch.float64: np.empty(0, np.float64),
    torch.bfloat16: np.empty(0, np.uint16),
    torch.float16: np.empty(0, np.int16),
}
_pool: ThreadPoolExecutor | None = None
_ready: set[tuple[str, torch.dtype]] = set()


def _forget_pool() -> None:
    """Threads stay with the parent when a process forks."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def angle(u: Float[Tensor, "*place d_model"], v: Float[Tensor, "*place d_model"]) -> Float[Tensor, "*place"]:
    """Angle between `u` and `v`."""
    if u.dtype != v.dtype:
        common = torch.promote_types(u.dtype, v.dtype)
        u, v = u.to(common), v.to(common)
    if u.ndim == 1:
        return angle(u[None], v[None])[0]
    out = empty_output(u, u.shape[:-1])
    _run(loops.angles, [u, v], out.shape[-1], out.data_ptr())
    return out


def sequential_angles(
    resid: Float[Tensor, "*batch pos d_model"], lag: int
) -> Float[Tensor, "*batch pos-{lag}"]:
    """Angle between each position and the one `lag` later."""
    if lag > _MOST_LAGS:
        return angle(resid[..., :-lag, :], resid[..., lag:, :])
    key = sequential_key(lag)
    return _profile([resid], {key})[key][0]


def pair_angles(
    resid: Float[Tensor, "*layer batch pos d_model"], pairs: Int[Tensor, "batch pair 2"]
) -> Float[Tensor, "*layer batch pair"]:
    """Angle between the two positions of each pair; NaN where an index is −1."""
    out = empty_output(resid, (*resid.shape[:-2], pairs.shape[1]))
    along = np.array([len(pairs), *(8 * stride for stride in pairs.stride())], np.int64)
    _run(loops.chosen, [resid], out.shape[-1], out.data_ptr(), pairs.data_ptr(), along)
    return out


def rotation_angles(resid: Float[Tensor, "layer *batch d_model"]) -> Float[Tensor, "layer-1 *batch"]:
    """Angle between each layer and the next."""
    return _by_layer(resid, "rotation")


def step_lengths(resid: Float[Tensor, "layer *batch d_model"]) -> Float[Tensor, "layer-1 *batch"]:
    """Length of the difference between each layer and the next; NaN where either is not finite."""
    return _by_layer(resid, "step")


def turning_angles(resid: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos-2"]:
    """Angle between successive differences along positions."""
    out = empty_output(resid, (*resid.shape[:-2], resid.shape[-2] - 2))
    _run(loops.turns, [resid], out.shape[-1], out.data_ptr())
    return out


def pairwise_angles(resid: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos pos"]:
    """Angle between every two positions."""
    return _pairwise.pairwise_angles(resid, angle)


def pairwise_histogram(resid: Float[Tensor, "*batch pos d_model"], bins: int) -> Int[Tensor, "*batch bins"]:
    """How many of the angles between i < j are in each of `bins` equal parts of [0, π]."""
    return _pairwise.pairwise_histogram(resid, bins, angle)


def profile(
    layers: Sequence[Tensor], measures: tuple[str, ...], lags: int, mask: Tensor | None
) -> dict[str, Tensor]:
    """All measures from one read of every layer."""
    wanted = set(measures)
    if "sequential" in wanted:
        wanted |= {sequential_key(lag) for lag in range(1, lags + 1)}
    return hide_padding(_profile(layers, wanted), mask)


def _profile(layers: Sequence[Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """The outputs of these names, [layer *batch pos]."""
    like, n_layers = layers[0], len(layers)
    *batch, n_pos, _ = like.shape
    sizes = {sequential_key(lag): (n_layers, lag) for lag in range(1, _MOST_LAGS + 1)}
    sizes |= {"rotation": (n_layers - 1, 0), "norm": (n_layers, 0), "step": (n_layers - 1, 0)}
    found = {
        name: empty_output(like, (rows, *batch, n_pos - lag))
        for name, (rows, lag) in sizes.items()
        if name in wanted
    }
    addresses = [found[name].data_ptr() if name in found else 0 for name in sizes]
    _run(loops.profile, layers, n_pos, np.array(addresses, np.int64))
    return found


def _by_layer(resid: Tensor, name: str) -> Tensor:
    layers = list(resid.unbind(0))
    if resid.ndim == 2:
        return _profile([layer[None] for layer in layers], {name})[name][:, 0]
    return _profile(layers, {name})[name]


def _run(loop: Callable[..., None], tensors: Sequence[Tensor], length: int, *outputs: Any) -> None:
    """Shares the blocks of a loop out to the threads.

    A loop sees addresses and strides in bytes, and walks along `length` places of each sequence.
    """
    tensors = [x.resolve_neg() for x in tensors]
    first = tensors[0]
    if not first.numel() or not length:
        return
    item, shape, d_model = first.element_size(), first.shape[:-1], first.shape[-1]
    threads = torch.get_num_threads()
    fair = -(-math.prod(shape) // (_SHARES * threads))
    rows = max(_LEAST_ROWS, min(_CACHED_BYTES // (d_model * item), fair, _MOST_ROWS))
    arguments = (
        rows,
        length,
        np.array([x.data_ptr() for x in tensors], np.int64),
        np.array([x.stride() for x in tensors], np.int64) * item,
        np.array(shape, np.int64),
        d_model,
        _LIKE[first.dtype],
        _LIKE[torch.float64 if first.dtype == torch.float64 else torch.float32],
        *outputs,
    )
    if (loop.__name__, first.dtype) not in _ready:  # so that one thread compiles, and none waits for it
        loop(0, 0, *arguments)
        _ready.add((loop.__name__, first.dtype))
    blocks = math.prod(shape[:-1]) * -(-length // rows)
    if threads == 1:
        loop(0, blocks, *arguments)
        return
    share = -(-blocks // (_SHARES * threads))
    starts = iter(range(0, blocks, share))  # the interpreter's lock makes each `next` whole

    def work() -> None:
        for start in starts:
            loop(start, min(start + share, blocks), *arguments)

    helpers = [_threads().submit(work) for _ in range(min(threads, -(-blocks // share)) - 1)]
    try:
        work()
    finally:  # nothing may be freed while a helper still writes
        wait([helper for helper in helpers if not helper.cancel()])
    for helper in helpers:
        if not helper.cancelled():
            helper.result()


def _threads() -> ThreadPoolExecutor:
    """The pool, made when it is first needed."""
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(max(1, torch.get_num_threads(), os.cpu_count() or 1), "laminar-lens")
    return _pool
