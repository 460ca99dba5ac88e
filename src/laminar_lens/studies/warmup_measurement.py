"""What a warm-up study measures: angles of every text, started once as it is and once deep inside, and
random weights."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from laminar_lens.axes import Progress
from laminar_lens.errors import InputError, ModelError
from laminar_lens.geometry import RAW
from laminar_lens.interventions.conditions import portable
from laminar_lens.models.edits import as_interventions, check_interventions
from laminar_lens.stats.warmup import reference_pairs
from laminar_lens.stats.warmup_shape import leading_axis_turn
from laminar_lens.studies.stream import iter_angles
from laminar_lens.studies.warmup_texts import Texts

RANDOM_TEXTS = 200
AXIS_TEXTS = 32
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
    notes: list[str],
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
    if anew.shape[1] >= 2 and _fits(model, how, anew.shape[1] + bos, notes):
        fresh, *_ = _angles(model, anew, how, backend, "the same pairs as first pairs", progress)
        reach = min(fresh.shape[-1], angle.shape[-1] - start, start)
        paired = fresh[..., :reach] - angle[..., start : start + reach]
        paired[..., :bos] = np.nan  # the pair of BOS and first token has no counterpart
    return Measurement(angle, paired, axes, layers, texts.tokens.numpy(), texts.groups, bos, info)


def _fits(model: Any, how: dict[str, Any], length: int, notes: list[str]) -> bool:
    """Whether the interventions can be repeated on the same texts started anew; if not, `notes` says why."""
    changes = as_interventions(how.get("interventions"))
    try:
        check_interventions(model, changes, [length])
    except InputError as error:
        notes.append(f"No paired shift: {error}.")
        return False
    if portable(changes) != changes:
        notes.append("No paired shift: the patched states belong to the texts as they are.")
        return False
    return True


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
    n = len(tokens)
    angle: np.ndarray | None = None
    turns: dict[int, np.ndarray] = {}
    info: dict[str, Any] = {}
    layers: tuple[int, ...] = ()

    def turn(layer: int, state: Tensor) -> None:
        if axes and layer not in turns:
            seen = how.get("geometry", RAW).apply(layer, state[:AXIS_TEXTS].detach())
            first = seen.float().cpu().numpy()
            turns[layer] = leading_axis_turn(first, min(K_MAX, first.shape[1] - 2))

    stream = iter_angles(
        model, tokens, ("sequential",), backend=backend, visit=turn, label=label, progress=progress, **how
    )
    for batch in stream:
        theta = batch.angles["sequential"].astype(np.float32)
        if angle is None:
            angle = np.full((n, *theta.shape[::2]), np.nan, dtype=np.float32)
        angle[batch.indices] = theta.transpose(1, 0, 2)
        layers, info = batch.layers, batch.info
    assert angle is not None
    return angle, np.stack([turns[layer] for layer in layers]) if axes else None, info, layers


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
    how = {**how, "geometry": how.get("geometry", RAW).for_model(twin)}
    return _angles(twin, tokens[:RANDOM_TEXTS], how, backend, "random weights", progress)[0]
