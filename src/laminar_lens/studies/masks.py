"""Which tokens to leave out of any other analysis: by position, and by what their vectors are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from laminar_lens.arguments import checked, wholes
from laminar_lens.axes import Progress
from laminar_lens.capture import ResidualStates
from laminar_lens.errors import InputError, ShapeError
from laminar_lens.geometry import padded
from laminar_lens.models.batches import PromptBatches, check_finite, finite_vectors, prompt_batches
from laminar_lens.models.forward import run_states
from laminar_lens.stats.sinks import MIN_COSINE, NORM_RATIO, extended, nearest_cosine, unit_vectors


def real_tokens(tokens: Any, padding: Any) -> tuple[Tensor, Bool[Tensor, "batch pos"]]:
    """Token ids [batch pos], and which of them are no padding.

    Raises:
        ShapeError: not integer ids [batch pos], or padding of another shape.
    """
    try:
        ids = torch.as_tensor(tokens)
    except (TypeError, ValueError, RuntimeError):
        raise ShapeError(
            f"tokens is a {type(tokens).__name__} that makes no tensor; give integer ids [batch pos], −1 for "
            "padding"
        ) from None
    if ids.ndim != 2 or ids.dtype.is_floating_point:
        raise ShapeError(f"tokens has shape {tuple(ids.shape)} of {ids.dtype}; give integer ids [batch pos]")
    real = ids >= 0 if padding is None else torch.as_tensor(padding).bool()
    if real.shape != ids.shape:
        raise ShapeError(f"padding has shape {tuple(real.shape)}, tokens {tuple(ids.shape)}; they must agree")
    return ids, real


def position_mask(tokens: Any, padding: Any, skip: int, bos: int | None) -> Bool[Tensor, "batch pos"]:
    """Real tokens from the skip-th of each row on, whichever side is padded; a `bos` that the row lacks
    counts as its first."""
    ids, real = real_tokens(tokens, padding)
    count = real.cumsum(dim=1)
    if bos is not None:
        count = count + (~begins_with(ids, real, bos)).long()
    return real & (count > skip)


def begins_with(ids: Tensor, real: Tensor, token: int) -> Bool[Tensor, "batch 1"]:
    """Whether each row's first real token is `token`."""
    found: Tensor = (real & (real.cumsum(dim=1) == 1) & (ids == token)).any(dim=1, keepdim=True)
    return found


def captured_rows(states: ResidualStates, layers: Any) -> list[int]:
    """Rows of captured states that hold these hidden states; all for None.

    Raises:
        InputError: names the one that was not captured.
    """
    if layers is None:
        return list(range(len(states.layers)))
    wanted = wholes("layers", layers)
    for layer in wanted:
        if layer not in states.layers:
            raise InputError(f"layer {layer} is not among the captured hidden states {list(states.layers)}")
    return [states.layers.index(layer) for layer in wanted]


@checked()
def sink_mask(
    model: Any,
    tokens: Any,
    *,
    padding: Any = None,
    bos: int | None = None,
    layers: Any = None,
    norm_ratio: float = NORM_RATIO,
    min_cosine: float = MIN_COSINE,
    progress: Progress | None = None,
) -> Bool[Tensor, "batch pos"]:
    """True at tokens that are sinks by their vectors: `sink_tokens` of all captured states, keeping none.

    The model runs once for the lengths, and twice more, through the layers that have long vectors, if any
    has: for these vectors, and for what points as they do. Of those a vector a token is kept.

    Args:
        model: any TransformerLens model.
        tokens: ids [batch pos] on either padding side.
        padding: bool [batch pos], True = real; without it a negative id is padding.
        bos: put before each row that does not begin with it; it counts in the medians, and has no column.
        layers: hidden states in which to look; all by default.
        norm_ratio, min_cosine: as in `laminar_lens.stats.sinks.sink_tokens`.
        progress: called as (label, done, total).

    Raises:
        InputError, ShapeError: tokens, padding or layers that do not fit.
    """
    ids, real = real_tokens(tokens, padding)
    missing = torch.zeros(len(ids), 1, dtype=torch.bool) if bos is None else ~begins_with(ids, real, bos)
    rows = [
        ([bos] if absent else []) + ids[row][real[row]].tolist()
        for row, absent in enumerate(missing[:, 0].tolist())
    ]
    run = prompt_batches(model, padded(rows), prepend_bos=False, final_norm=False, layers=layers)
    found = _streamed(run, norm_ratio, min_cosine, progress)
    sinks = torch.zeros_like(real)
    for row, absent in enumerate(missing[:, 0].tolist()):
        sinks[row, real[row]] = torch.from_numpy(found[row][int(absent) :])
    return sinks


def _streamed(
    run: PromptBatches, norm_ratio: float, min_cosine: float, progress: Progress | None
) -> list[np.ndarray]:
    """Whether each token of each row is a sink."""
    layers = sorted(set(run.layers))
    lengths = np.array([len(row) for row in run.rows])
    ends = np.cumsum(lengths)
    places = [np.arange(end - n, end) for end, n in zip(ends, lengths, strict=True)]
    norm = np.zeros((len(layers), int(ends[-1])), np.float32)

    def each(label: str, wanted: Sequence[int], see: Any) -> None:
        done = 0
        for indices in run.indices():
            at = np.concatenate([places[index] for index in indices])
            finite: list[Tensor] = []

            def visit(layer: int, state: Tensor, at: np.ndarray = at, finite: list[Tensor] = finite) -> None:
                finite.append(finite_vectors(state).cpu())
                see(layers.index(layer), at, state.detach().float().cpu().flatten(0, 1).numpy())

            run_states(run.model, run.tokens(indices), wanted, visit)
            check_finite(torch.stack(finite), sorted(wanted), indices, range(int(lengths[indices[0]])))
            done += len(indices)
            if progress is not None:
                progress(label, done, len(run.rows))

    def lengths_of(row: int, at: np.ndarray, x: np.ndarray) -> None:
        norm[row, at] = np.linalg.norm(x, axis=-1)

    each("lengths of vectors", layers, lengths_of)
    large = norm > norm_ratio * np.median(norm, axis=1, keepdims=True)
    rows = np.flatnonzero(large.any(axis=1)).tolist()
    found = np.zeros(norm.shape[1], dtype=bool)
    if rows:
        units: dict[int, list[np.ndarray]] = {row: [] for row in rows}
        nearest = {row: np.zeros(norm.shape[1], np.float32) for row in rows}
        wanted = [layers[row] for row in rows]

        def keep(row: int, at: np.ndarray, x: np.ndarray) -> None:
            units[row].append(unit_vectors(x[large[row, at]]))

        def compare(row: int, at: np.ndarray, x: np.ndarray) -> None:
            nearest[row][at] = nearest_cosine(x, sinks[row])

        each("long vectors", wanted, keep)
        sinks = {row: np.concatenate(units[row]) for row in rows}
        each("what points as they do", wanted, compare)
        for row in rows:
            found |= extended(large[row], nearest[row], min_cosine)
    return [found[place] for place in places]
