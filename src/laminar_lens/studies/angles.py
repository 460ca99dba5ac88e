"""Every angle of one kind for given prompts, as a labelled dataset: numbers for other people's analyses."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from laminar_lens.axes import Progress
from laminar_lens.capture import ResidualStates, iter_residuals
from laminar_lens.errors import InputError
from laminar_lens.kernels import (
    pairwise_angles,
    resolve_backend,
    rotation_angles,
    sequential_angles,
    step_lengths,
    turning_angles,
)
from laminar_lens.models.info import processing_note
from laminar_lens.prompts import check_prompts
from laminar_lens.results import label_dataset, make_provenance
from laminar_lens.studies.measurement import chosen_layers

if TYPE_CHECKING:
    import pandas as pd

Kernel = Callable[..., Tensor]

KINDS: dict[str, tuple[Kernel, tuple[str, ...], str, str]] = {
    "sequential": (sequential_angles, ("pair",), "rad", "angle between a position and the next"),
    "rotation": (rotation_angles, ("pos",), "rad", "angle by which a token turned since the layer before"),
    "turning": (turning_angles, ("corner",), "rad", "angle between successive differences along positions"),
    "step_length": (step_lengths, ("pos",), "1", "distance that a token moved since the layer before"),
    "pairwise": (pairwise_angles, ("pos", "other"), "rad", "angle between two positions"),
}
"""Kernel, axes after (layer, prompt), unit and meaning of each kind of angle."""

SINCE_LAYER_BEFORE = ("rotation", "step_length")


def angle_table(
    model: Any,
    prompts: Any,
    *,
    what: str = "sequential",
    prepend_bos: bool = False,
    final_norm: bool = False,
    layers: Any = None,
    backend: str = "auto",
    progress: Progress | None = None,
) -> xr.Dataset:
    """Angles of every prompt, layer and place, with tokens as coordinates.

    Args:
        model: any TransformerLens model.
        prompts: texts.
        what: "sequential", "rotation", "turning", "step_length" or "pairwise".
        prepend_bos, final_norm, layers: as in `capture_residuals`.
        backend: of the angle kernels.
        progress: called as (label, done, total).

    Returns:
        Variable `what`, dims (layer, prompt, place): `pair` p is (p, p + 1), `corner` p the turn at p + 1.
        Radians in [0, π] (step_length: the unit of the residual stream); NaN after a prompt's end, and in
        layer 0 for what is measured since the layer before. `StudyResult(table).save(path)` writes it.

    Raises:
        InputError: an unknown `what`; prompts or layers that do not fit, or are too short for this angle.
    """
    if what not in KINDS:
        raise InputError(f"what {what!r} is unknown: use one of {', '.join(KINDS)}")
    texts = check_prompts(prompts)
    kernel, axes, unit, meaning = KINDS[what]
    shown = chosen_layers(model, layers) or tuple(range(int(model.cfg.n_layers) + 1))
    since = what in SINCE_LAYER_BEFORE
    captured = tuple(sorted({*shown, *(max(layer - 1, 0) for layer in shown)})) if since else shown
    parts: dict[int, np.ndarray] = {}
    tokens: dict[int, list[str]] = {}
    info: dict[str, object] = {}
    how: dict[str, Any] = {"prepend_bos": prepend_bos, "final_norm": final_norm, "layers": captured}
    for indices, states in iter_residuals(model, texts, progress=progress, **how):
        measured = _measured(states, kernel, what, shown, backend)
        parts |= {index: measured[:, row] for row, index in enumerate(indices)}
        tokens |= dict(zip(indices, states.token_strings(), strict=True))
        info = {**states.info, "backend": resolve_backend(backend, states.values)}
    note = processing_note(model)
    used = {"what": what, "prepend_bos": prepend_bos, "final_norm": final_norm, "layers": list(shown)}
    return label_dataset(
        _dataset(parts, tokens, texts, what, shown, axes, {"units": unit, "long_name": meaning}),
        study="angles",
        sentence=f"{meaning.capitalize()}: {len(texts)} prompts, {len(shown)} hidden states.",
        provenance=make_provenance(info, used, backend=str(info["backend"]), seed=0, texts=texts),
        settings=used,
        warnings=[note] if note else [],
    )


def angle_rows(table: xr.Dataset) -> "pd.DataFrame":
    """A table of `angle_table` as rows, one for each angle that is defined, with the tokens it belongs to.

    Returns:
        Columns layer, prompt, the place, `token` (at a pair's first position, a corner's middle), then
        `next_token` or `other_token` where there are two, and the angle.
    """
    what = str(table.attrs["what"])
    rows = table[what].to_series().dropna().reset_index()
    tokens, prompt = table["token"].values, rows["prompt"].to_numpy()
    place = rows[str(table[what].dims[2])].to_numpy()
    rows["token"] = tokens[prompt, place + 1 if what == "turning" else place]
    if what == "sequential":
        rows["next_token"] = tokens[prompt, place + 1]
    if what == "pairwise":
        rows["other_token"] = tokens[prompt, rows["other"].to_numpy()]
    return rows[[name for name in rows.columns if name != what] + [what]]


def _measured(
    states: ResidualStates, kernel: Kernel, what: str, shown: tuple[int, ...], backend: str
) -> np.ndarray:
    """One batch's angles [layer prompt place …] in the layers that are shown."""
    width = states.values.shape[2]
    needed = {"sequential": 2, "turning": 3}.get(what, 1)
    if width < needed:
        text = states.texts[0] if states.texts else ""
        raise InputError(
            f"prompt {text!r} has {width} tokens, {what} angles need {needed}; write a longer prompt"
        )
    if what not in SINCE_LAYER_BEFORE:
        return _numpy(kernel(states.values, backend=backend))
    rows = []
    for layer in shown:
        before = [states.layers.index(max(layer - 1, 0)), states.layers.index(layer)]
        moved = kernel(states.values[before], backend=backend)
        rows.append(moved if layer > 0 else torch.full_like(moved, torch.nan))
    return _numpy(torch.cat(rows))


def _dataset(
    parts: dict[int, np.ndarray],
    tokens: dict[int, list[str]],
    texts: tuple[str, ...],
    what: str,
    layers: tuple[int, ...],
    axes: tuple[str, ...],
    attrs: dict[str, str],
) -> xr.Dataset:
    """Prompts of different lengths in one array, NaN after each one's end."""
    widest = max(parts.values(), key=lambda part: part.shape[1])
    values = np.full((len(layers), len(texts), *widest.shape[1:]), np.nan, dtype=widest.dtype)
    for index, part in parts.items():
        values[:, index][(slice(None), *map(slice, part.shape[1:]))] = part
    width = max(map(len, tokens.values()))
    strings = [(tokens[index] + [""] * width)[:width] for index in range(len(texts))]
    coords = {
        "layer": list(layers),
        "prompt": range(len(texts)),
        "pos": range(width),
        **{axis: range(size) for axis, size in zip(axes, widest.shape[1:], strict=True)},
        "text": ("prompt", np.array(texts, dtype=object)),
        "token": (("prompt", "pos"), np.array(strings, dtype=object)),
        "n_tokens": ("prompt", [len(tokens[index]) for index in range(len(texts))]),
    }
    variable = {what: (("layer", "prompt", *axes), values, attrs)}
    return xr.Dataset(variable, coords=coords, attrs={"what": what})


def _numpy(values: Tensor) -> np.ndarray:
    return np.asarray(values.detach().cpu().numpy())
