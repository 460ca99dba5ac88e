"""Angles from vectors: the public functions, their checks, and the choice of a backend.

The functions know nothing of models. All angles are radians in [0, π] (π as the dtype rounds it), all by the
definition in reference.py: float64 for float64 input, else float32. A vector that is zero, or has a NaN or
infinite coordinate, has no direction, and every angle with it is NaN; never 0, never π/2. So are angles with
padding, which capture marks by NaN.

Every angle and length is differentiable with the `eager` backend, with `torch.func` too; at 0 and π, where
the angle has a corner, the gradient is not unique. Sum over results with `nansum` or a mask: vectors without
a direction then receive zeros, and change nothing in the gradient of others.
"""

import numpy as np
import torch  # noqa: F401  (for the examples below)
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from laminar_lens.kernels._checks import (
    check_bins,
    check_lag,
    check_length,
    check_pairs,
    check_same,
    check_vectors,
)
from laminar_lens.kernels._dispatch import BACKENDS, Backend, load_backend, resolve_backend
from laminar_lens.kernels.profile import angle_profile
from laminar_lens.measures import PROFILE

__all__ = [
    "BACKENDS",
    "PROFILE",
    "Backend",
    "angle",
    "angle_profile",
    "pair_angles",
    "pairwise_angles",
    "pairwise_histogram",
    "resolve_backend",
    "rotation_angles",
    "sequential_angles",
    "step_lengths",
    "turning_angles",
]


def angle(
    u: Shaped[Tensor, "*place d_model"], v: Shaped[Tensor, "..."], *, backend: str = "auto"
) -> Float[Tensor, "*place"]:
    """Angle between two vectors, along the last axis.

    >>> u, v = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 2.0], [-3.0, 0.0]])
    >>> angle(u, v).tolist()                                # a right angle, opposite vectors
    [1.5707963705062866, 3.1415927410125732]

    Returns:
        Radians in [0, π]; NaN where either vector is zero or not finite.

    Raises:
        ShapeError: the shapes differ; nothing is broadcast.
        InputError: a dtype that is not floating, or two devices.
        BackendError: an unknown backend, or one that cannot run on this tensor.

    Source: Kahan's two-argument form; see kernels/reference.py.
    """
    check_vectors("u", u, "... d_model")
    check_vectors("v", v, "... d_model")
    check_same(u, v)
    return load_backend(backend, u, v).angle(u, v)


def sequential_angles(
    resid: Shaped[Tensor, "*layer batch pos d_model"], *, lag: int = 1, backend: str = "auto"
) -> Float[Tensor, "*layer batch pos-{lag}"]:
    """Angle between each position's vector and the one `lag` positions later.

    >>> sequential_angles(torch.eye(3)[None]).tolist()      # three orthogonal vectors
    [[1.5707963705062866, 1.5707963705062866]]

    Returns:
        Radians in [0, π]; NaN where either vector is zero or not finite.

    Raises:
        ShapeError: fewer than `lag + 1` positions, `lag` below 1, or no batch axis.
        InputError: a dtype that is not floating.
        BackendError: an unknown backend, or one that cannot run on this tensor.

    Source: Kahan's two-argument form; see kernels/reference.py.
    """
    check_vectors("resid", resid, "... batch pos d_model")
    check_lag(lag)
    check_length(resid, "pos", -2, lag + 1, f"a lag of {lag}")
    return load_backend(backend, resid).sequential_angles(resid, lag)


def pair_angles(
    resid: Shaped[Tensor, "*layer batch pos d_model"],
    pairs: Shaped[Tensor, "..."] | Shaped[np.ndarray, "..."],
    *,
    backend: str = "auto",
) -> Float[Tensor, "*layer batch pair"]:
    """Angle between chosen positions: `pairs` is [batch pair 2], or [pair 2] for every prompt.

    >>> pair_angles(torch.eye(3)[None], torch.tensor([[0, 2], [1, 1], [0, -1]])).tolist()
    [[1.5707963705062866, 0.0, nan]]

    Returns:
        Radians in [0, π]; NaN where either vector is zero or not finite, or an index is −1 (no pair).

    Raises:
        ShapeError: `pairs` has another shape, another number of prompts, or a position that is not there; no
            positions.
        InputError: `resid` is not floating or `pairs` not integer.
        BackendError: an unknown backend, or one that cannot run on this tensor.

    Source: Kahan's two-argument form; see kernels/reference.py.
    """
    check_vectors("resid", resid, "... batch pos d_model")
    check_length(resid, "pos", -2, 1, "a pair of positions")
    return load_backend(backend, resid).pair_angles(resid, check_pairs(resid, pairs))


def rotation_angles(
    resid: Shaped[Tensor, "layer *batch d_model"], *, backend: str = "auto"
) -> Float[Tensor, "layer-1 *batch"]:
    """Angle by which each vector turns from one hidden state to the next.

    >>> rotation_angles(torch.eye(3)[:, None, None]).tolist()    # three layers, one prompt of one token
    [[[1.5707963705062866]], [[1.5707963705062866]]]

    Returns:
        Radians in [0, π]; row l is between hidden states l and l + 1. NaN where either vector is zero or not
        finite.

    Raises:
        ShapeError: fewer than 2 layers.
        InputError: a dtype that is not floating.
        BackendError: an unknown backend, or one that cannot run on this tensor.

    Source: Kahan's two-argument form; see kernels/reference.py.
    """
    check_vectors("resid", resid, "layer ... d_model")
    check_length(resid, "layer", 0, 2, "a rotation between layers")
    return load_backend(backend, resid).rotation_angles(resid)


def pairwise_angles(
    resid: Shaped[Tensor, "*batch pos d_model"], *, backend: str = "auto"
) -> Float[Tensor, "*batch pos pos"]:
    """Angle between every two positions.

    >>> pairwise_angles(torch.eye(2)).tolist()
    [[0.0, 1.5707963705062866], [1.5707963705062866, 0.0]]

    Returns:
        Radians in [0, π], symmetric, 0 on the diagonal; NaN in the row and the column of a vector that is
        zero or not finite, diagonal included. Differentiable backward only.

    Raises:
        ShapeError: no axis of positions, or none on it.
        InputError: a dtype that is not floating.
        BackendError: an unknown backend, or one that cannot run on this tensor.

    Source: Kahan's two-argument form; see kernels/reference.py.
    """
    check_vectors("resid", resid, "... pos d_model")
    check_length(resid, "pos", -2, 1, "an angle between positions")
    return load_backend(backend, resid).pairwise_angles(resid)


def pairwise_histogram(
    resid: Shaped[Tensor, "*batch pos d_model"], *, bins: int = 64, backend: str = "auto"
) -> Int[Tensor, "*batch bins"]:
    """How many pairs of positions have an angle in each of `bins` equal parts of [0, π].

    >>> pairwise_histogram(torch.eye(3), bins=4).tolist()     # three right angles; π/2 opens the third bin
    [0, 0, 3, 0]

    Returns:
        Counts of the pairs i < j, int64, without a matrix of all angles. A bin holds its lower edge, the last
        one both; an angle that is NaN is not counted. No gradient.

    Raises:
        ShapeError: no axis of positions, none on it, or `bins` outside 1 … 4,096.
        InputError: a dtype that is not floating.
        BackendError: an unknown backend, or one that cannot run on this tensor.

    Source: Kahan's two-argument form; see kernels/reference.py.
    """
    check_vectors("resid", resid, "... pos d_model")
    check_length(resid, "pos", -2, 1, "an angle between positions")
    check_bins(bins)
    resid = resid.detach()
    return load_backend(backend, resid).pairwise_histogram(resid, bins)


def turning_angles(
    resid: Shaped[Tensor, "*batch pos d_model"], *, backend: str = "auto"
) -> Float[Tensor, "*batch pos-2"]:
    """Curvature: the angle between successive differences along positions.

    >>> turning_angles(torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])).tolist()   # a right turn
    [1.5707963705062866]

    Returns:
        Radians in [0, π]; entry p is the turn at position p + 1. NaN where a difference is zero or not
        finite. Points drawn independently turn by 2π/3 on average.

    Raises:
        ShapeError: fewer than 3 positions.
        InputError: a dtype that is not floating.
        BackendError: an unknown backend, or one that cannot run on this tensor.

    Source: Kahan's two-argument form; see kernels/reference.py.
    """
    check_vectors("resid", resid, "... pos d_model")
    check_length(resid, "pos", -2, 3, "a turning angle")
    return load_backend(backend, resid).turning_angles(resid)


def step_lengths(
    resid: Shaped[Tensor, "layer *batch d_model"], *, backend: str = "auto"
) -> Float[Tensor, "layer-1 *batch"]:
    """Euclidean distance of each vector from one hidden state to the next.

    >>> step_lengths(torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]]])).tolist()
    [[5.0]]

    Returns:
        Lengths ≥ 0 in the unit of `resid`; NaN where either vector is not finite, inf where the length
        exceeds the dtype. Its cumulative sum over layers is the path length.

    Raises:
        ShapeError: fewer than 2 layers.
        InputError: a dtype that is not floating.
        BackendError: an unknown backend, or one that cannot run on this tensor.

    Source: the definition; see kernels/reference.py.
    """
    check_vectors("resid", resid, "layer ... d_model")
    check_length(resid, "layer", 0, 2, "a step between layers")
    return load_backend(backend, resid).step_lengths(resid)
