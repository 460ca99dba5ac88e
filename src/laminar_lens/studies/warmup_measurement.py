"""What a warm-up study measures: angles of every text, started once as it is and once deep inside, and
random weights."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from laminar_lens.axes import Progress
from laminar_lens.capture import iter_residuals
from laminar_lens.errors import ModelError
from laminar_lens.kernels import resolve_backend, sequential_angles
from laminar_lens.stats.warmup import reference_pairs
from laminar_lens.stats.warmup_shape import leading_axis_turn
from laminar_lens.studies.warmup_texts import Texts

RANDOM_TEXTS = 200
AXIS_TEXTS = 32
BATCH_TOKENS = 4096
BATCH_NUMBERS = 2**26
K_MAX = 4
"""The cost of keeping the first 1 … 4 is reported."""


@dataclass(frozen=True)
class Measurement:
    """What was measured.

    Attributes:
        angle: [text layer pair] in radians.
        paired: [text layer some_pair], the angle of a bigram as a text's pair p minus the same bigram's,
            the reference window's start deeper; None where texts are too short.
        axes: [layer k], the turn of the leading axis when the first k positions stay in.
        bos: 1 where position 0 is a BOS.
    """

    angle: np.ndarray
    paired: np.ndarray | None
    axes: np.ndarray
    layers: tuple[int, ...]
    tokens: np.ndarray
    groups: np.ndarray | None
    bos: int
    info: dict[str, Any]


def measure(
    model: Any,
    texts: Texts,
    how: dict[str, Any],
    reference: Any,
    backend: str,
    progress: Progress | None,
) -> Measurement:
    """Angles of every text, of the same text started anew at the reference window, and leading axes of a
    few."""
    bos = int(how["prepend_bos"])
    start = reference_pairs(texts.tokens.shape[1] + bos - 1, reference).start
    angle, axes, info, layers = _angles(
        model, texts.tokens, how, backend, "angles by position", progress, axes=True
    )
    assert axes is not None
    anew = texts.tokens[:, start:]
    paired = None
    if anew.shape[1] >= 2:
        fresh, *_ = _angles(model, anew, how, backend, "the same pairs as first pairs", progress)
        reach = min(fresh.shape[-1], angle.shape[-1] - start, start)
        paired = fresh[..., :reach] - angle[..., start : start + reach]
        paired[..., :bos] = np.nan  # the pair of BOS and first token has no counterpart
    return Measurement(angle, paired, axes, layers, texts.tokens.numpy(), texts.groups, bos, info)


def _angles(
    model: Any,
    tokens: Tensor,
    how: dict[str, Any],
    backend: str,
    label: str,
    progress: Progress | None,
    *,
    axes: bool = False,
) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any], tuple[int, ...]]:
    """Adjacent angles [text layer pair] as float32, and how far leading axes turn [layer k] in the first
    texts."""
    n, width = tokens.shape
    kept = (int(model.cfg.n_layers) + 1) * (width + 1) * int(model.cfg.d_model)
    size = max(1, min(BATCH_TOKENS // (width + 1), BATCH_NUMBERS // kept, n))
    angle: np.ndarray | None = None
    turns: np.ndarray | None = None
    info: dict[str, Any] = {}
    layers: tuple[int, ...] = ()
    done = 0
    for indices, states in iter_residuals(model, tokens, batch_size=size, **how):
        theta = sequential_angles(states.values, backend=backend).detach().float().cpu().numpy()
        if angle is None:
            angle = np.full((n, *theta.shape[::2]), np.nan, dtype=np.float32)
            layers = states.layers
            info = {**states.info, "backend": resolve_backend(backend, states.values)}
            if axes:
                first = states.values[:, :AXIS_TEXTS].detach().float().cpu().numpy()
                k_max = min(K_MAX, first.shape[2] - 2)
                turns = np.stack([leading_axis_turn(vectors, k_max) for vectors in first])
        angle[list(indices)] = theta.transpose(1, 0, 2)
        done += len(indices)
        if progress is not None:
            progress(label, done, n)
    assert angle is not None
    return angle, turns, info, layers


def random_angles(
    model: Any,
    tokens: Tensor,
    how: dict[str, Any],
    backend: str,
    seed: int,
    notes: list[str],
    progress: Progress | None,
) -> np.ndarray | None:
    """Angles [text layer pair] of the same texts in the same architecture with random weights."""
    from laminar_lens.models import random_twin

    try:
        twin = random_twin(model, seed=seed)
    except ModelError as error:
        notes.append(f"No curve of random weights: {error}.")
        return None
    return _angles(twin, tokens[:RANDOM_TEXTS], how, backend, "random weights", progress)[0]
