"""Angles of many prompts, batch by batch, through an `AngleMeter`: no hidden state outlives its measuring."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from laminar_lens.axes import Progress, Prompts
from laminar_lens.errors import InputError
from laminar_lens.geometry import RAW, Geometry
from laminar_lens.measures import MEASURES
from laminar_lens.meter import AngleMeter
from laminar_lens.models.batches import PromptBatches, prompt_batches, token_strings
from laminar_lens.models.forward import Visit
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.memory import Need, check_fits
from laminar_lens.models.passes import each_batch

STATES_AT_ONCE = 3
"""The one being measured, the previous one, and what the kernels widen."""


@dataclass(frozen=True)
class AngleBatch:
    """Angles of prompts of equal length.

    Attributes:
        indices: the prompts.
        layers: hidden states, in increasing order.
        tokens: ids [batch pos], BOS included.
        token_strings: the same as text.
        angles: by measure, as `AngleMeter.result` gives them.
        info: the model, how it was run, and the backend that measured.
    """

    indices: list[int]
    layers: tuple[int, ...]
    tokens: np.ndarray
    token_strings: list[list[str]]
    angles: dict[str, np.ndarray]
    info: dict[str, Any]


def iter_angles(
    model: HookedModel,
    prompts: Prompts,
    measures: Iterable[str],
    *,
    pairs: np.ndarray | None = None,
    backend: str = "auto",
    visit: Callable[[Sequence[int]], Visit] | None = None,
    geometry: Geometry = RAW,
    label: str = "angles",
    progress: Progress | None = None,
    **captured: Any,
) -> Iterator[AngleBatch]:
    """Measures prompts in batches of equal length, shortest first; all is checked before the first runs.

    Args:
        model, prompts: as in `capture_residuals`, and so are the arguments `captured`.
        measures: as in `AngleMeter`.
        pairs: [prompt pair 2], −1 for none; measured as "pair".
        backend: of the angle kernels.
        visit: called with the prompts of a batch, gives what sees each of their hidden states too.
        geometry: in which angles are measured; `visit` sees the states as they are.
        label, progress: progress is called as (label, prompts done, prompts).

    Raises:
        InputError: an argument that does not fit, more angles than memory holds, or a text that the geometry
            was fitted on.
        CaptureError: a vector is not finite: names prompt, hidden state and position.
    """
    run = prompt_batches(model, prompts, **captured)
    chosen = tuple(measures)
    geometry.check_others(run.texts_only)
    run.info["geometry"] = geometry.describe()
    if own := [one.describe() for one in map(MEASURES.get, chosen) if one.function is not None]:
        run.info["measures"] = own
    _check_lengths(run, chosen)
    _check_memory(run, chosen, 0 if pairs is None else pairs.shape[1])
    how = {"backend": backend, "geometry": geometry, "final_norm": run.final_norm}
    return _run(run, chosen, pairs, how, visit, label, progress)


def _run(
    run: PromptBatches,
    measures: tuple[str, ...],
    pairs: np.ndarray | None,
    how: dict[str, Any],
    visit: Callable[[Sequence[int]], Visit] | None,
    label: str,
    progress: Progress | None,
) -> Iterator[AngleBatch]:
    ran: set[str] = set()
    layers = tuple(sorted(set(run.layers)))
    for batch in each_batch(run, label, progress):
        indices = batch.indices
        tokens = run.tokens(indices)
        asked, place = (None, None) if pairs is None else _distinct(pairs[list(indices)])
        meter = AngleMeter(run.model, measures=measures, pairs=asked, layers=layers, **how)
        batch.run(partial(_see, meter, None if visit is None else visit(indices)))
        ran.add(meter.backend)
        angles = {name: values.cpu().numpy() for name, values in meter.result().items()}
        if place is not None:
            angles["pair"] = angles["pair"][:, np.arange(len(indices))[:, None], place]
        strings = token_strings(getattr(run.model, "tokenizer", None), tokens, torch.ones_like(tokens).bool())
        info = {**run.info, "backend": ", ".join(sorted(ran))}
        yield AngleBatch(list(indices), layers, tokens.numpy(), strings, angles, info)


def _see(meter: AngleMeter, visit: Visit | None, layer: int, state: Tensor) -> None:
    meter.observe(layer, state)
    if visit is not None:
        visit(layer, state)


def _distinct(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Pairs to measure, and where each of [batch pair 2] is among them; None if they are measured one by one.

    Seeded draws repeat pairs, in either order: of short prompts there are fewer distinct ones than draws.
    """
    missing = (pairs < 0).any(axis=-1, keepdims=True)
    ordered = np.where(missing, -1, np.sort(pairs, axis=-1))
    width = int(ordered.max(initial=0)) + 2
    code = (ordered[..., 0] + 1) * width + ordered[..., 1] + 1
    distinct, back = np.unique(code, return_inverse=True)
    if len(distinct) >= pairs.shape[1]:
        return ordered, None
    return np.stack(np.divmod(distinct, width), axis=-1) - 1, back.reshape(code.shape)


def _check_lengths(run: PromptBatches, measures: Sequence[str]) -> None:
    """Refuses a prompt that is too short to have such an angle."""
    for measure in measures:
        needed = MEASURES.get(measure).tokens
        for index, row in enumerate(run.rows):
            if len(row) < needed:
                name = f"prompt {index}" if run.texts is None else f"prompt {run.texts[index]!r}"
                raise InputError(
                    f"{name} has {len(row)} tokens, {measure} angles need {needed}; write a longer prompt"
                )


def _check_memory(run: PromptBatches, measures: Sequence[str], n_pairs: int) -> None:
    """Counts the angles of all prompts, and the few states of the largest batch."""
    squares = sum("other" in (MEASURES.get(name).dims or ()) for name in measures)
    lines = len(measures) - squares
    numbers = sum(squares * len(row) ** 2 + lines * len(row) + n_pairs for row in run.rows)
    layers = len(run.layers)
    size = f"{layers} layers × {numbers} angles of {len(run.rows)} prompts"
    need = Need("angles", size, 8 * layers * numbers, STATES_AT_ONCE)
    batch, length = run.largest()
    check_fits(run.model, need, batch=batch, length=length)
