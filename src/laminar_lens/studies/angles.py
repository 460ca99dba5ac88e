"""Every angle of one kind for given prompts, as a labelled dataset: numbers for other people's analyses."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from laminar_lens.arguments import checked
from laminar_lens.axes import PLAIN, Progress, Prompts, Wholes
from laminar_lens.geometry import GeometryLike, named_geometry
from laminar_lens.interventions.conditions import as_conditions, named_progress, notes
from laminar_lens.measures import AXES as TOKEN_AXES
from laminar_lens.measures import MEASURES
from laminar_lens.models.edits import Interventions
from laminar_lens.models.forward import check_model
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import processing_note
from laminar_lens.models.selection import with_previous
from laminar_lens.models.surroundings import surrounding_notes
from laminar_lens.models.tokens import token_rows
from laminar_lens.prompts import check_prompts
from laminar_lens.results import label_dataset, make_provenance
from laminar_lens.results.tree import answer_of, names
from laminar_lens.studies.conditions import with_conditions
from laminar_lens.studies.options import Options
from laminar_lens.studies.run import Run
from laminar_lens.studies.stream import AngleBatch

if TYPE_CHECKING:
    import pandas as pd


@checked()
def angle_table(
    model: HookedModel,
    prompts: Prompts,
    *,
    what: str = "sequential",
    prepend_bos: bool = False,
    final_norm: bool = False,
    layers: Wholes = None,
    backend: str = "auto",
    interventions: Interventions = None,
    geometry: GeometryLike = "raw",
    progress: Progress | None = None,
) -> xr.Dataset | xr.DataTree:
    """Angles of every prompt, layer and place, with tokens as coordinates.

    Args:
        model: any TransformerLens model.
        prompts: texts.
        what: "sequential", "rotation", "norm", "step", "turning", "pairwise", or one of `register_measure`.
        prepend_bos, final_norm, layers: as in `capture_residuals`.
        backend: of the angle kernels.
        interventions: one, a list (applied together), or a mapping from names to lists, such as
            `[cut(5), restart(5)]`; there is then a tree with a table of each, "plain" first.
        geometry: as in `sequential_study`; lengths are then of the mapped vectors.
        progress: called as (label, done, total).

    Returns:
        Variable `what`, dims (layer, prompt, place): `pair` p is (p, p + 1), `corner` p the turn at p + 1.
        Radians in [0, π] (norm, step: the unit of the residual stream); NaN after a prompt's end, and in
        layer 0 for what is measured since the layer before. `StudyResult(table).save(path)` writes it.

    Raises:
        InputError: an unknown `what`; prompts or layers that do not fit, or are too short for this angle.
    """
    check_model(model)
    MEASURES.get(what)
    texts = check_prompts(prompts)
    conditions = as_conditions(interventions)
    options = Options(prepend_bos=prepend_bos, final_norm=final_norm, layers=layers, backend=backend)
    made = named_geometry(model, geometry, prepend_bos=prepend_bos, final_norm=final_norm, progress=progress)
    tables = {}
    for name, changes in conditions.items():
        told = named_progress(progress, name)
        run = Run(model, options, geometry=made, condition=name, changes=changes, progress=told)
        tables[name] = _table(run, what, texts)
    tree = with_conditions(model, tables, conditions)
    return tree if len(tables) > 1 else tables[PLAIN]


def _table(run: Run, what: str, texts: tuple[str, ...]) -> xr.Dataset:
    """The table of one condition."""
    measure, model, shown = MEASURES.get(what), run.model, run.layers
    since = measure.between_layers
    parts: dict[int, np.ndarray] = {}
    tokens: dict[int, list[str]] = {}
    info: dict[str, Any] = {}
    read = with_previous(shown) if since else shown
    for batch in run.angle_batches(texts, (what,), layers=read, label="residual stream"):
        found = _shown(batch, what, shown, since)
        parts |= {index: found[:, row] for row, index in enumerate(batch.indices)}
        tokens |= dict(zip(batch.indices, batch.token_strings, strict=True))
        info = batch.info
    note, how = processing_note(model), run.options
    used = {"what": what, "prepend_bos": how.prepend_bos, "final_norm": how.final_norm}
    used |= {"layers": list(shown), "geometry": run.geometry.name}
    used |= {"interventions": [one.label for one in run.changes]} if run.changes else {}
    axes = measure.dims_of(
        [part.shape[1:] for part in parts.values()], [len(tokens[index]) for index in parts]
    )
    attrs = {"units": measure.unit, "long_name": measure.long_name}
    own = notes(model, run.changes, token_rows(model, texts)[0])
    return label_dataset(
        _dataset(parts, tokens, texts, what, shown, axes, attrs),
        study="angles",
        sentence=f"{measure.long_name.capitalize()}: {len(texts)} prompts, {len(shown)} hidden states.",
        provenance=make_provenance(info, used, backend=str(info["backend"]), seed=0, texts=texts),
        settings=used,
        warnings=[*([note] if note else []), *surrounding_notes(model), *own],
    )


def angle_rows(table: xr.Dataset | xr.DataTree) -> "pd.DataFrame":
    """A table of `angle_table` as rows, one for each angle that is defined, with the tokens it belongs to.

    Returns:
        Columns layer, prompt (before them the intervention, where there are several), the place, `token`
        (at a pair's first position, a corner's middle), then `next_token` or `other_token` where there are
        two, and what was measured. Where no axis is one of tokens, no token stands there.
    """
    if isinstance(table, xr.Dataset):
        return _rows(table)
    import pandas as pd

    parts = {name: _rows(answer_of(table, name)) for name in names(table)}
    return pd.concat([rows.assign(intervention=name) for name, rows in parts.items()], ignore_index=True)[
        ["intervention", *next(iter(parts.values())).columns]
    ]


def _rows(table: xr.Dataset) -> "pd.DataFrame":
    what = str(table.attrs["what"])
    rows = table[what].to_series().dropna().reset_index()
    tokens, prompt, dims = table["token"].values, rows["prompt"].to_numpy(), table[what].dims
    axis = next((str(dim) for dim in dims if dim in TOKEN_AXES), "")
    if axis:
        place = rows[axis].to_numpy()
        rows["token"] = tokens[prompt, place + 1 if axis == "corner" else place]
        if axis == "pair":
            rows["next_token"] = tokens[prompt, place + 1]
    if "other" in dims:
        rows["other_token"] = tokens[prompt, rows["other"].to_numpy()]
    return rows[[name for name in rows.columns if name != what] + [what]]


def _shown(batch: AngleBatch, measure: str, layers: tuple[int, ...], since: bool) -> np.ndarray:
    """One batch's angles [layer prompt place …] in the layers that are shown; NaN in layer 0 where they are
    measured since the layer before."""
    found = batch.angles[measure]
    rows = [batch.layers.index(layer) - since for layer in layers]
    return np.stack([found[row] if row >= 0 else np.full_like(found[0], np.nan) for row in rows])


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
    sizes = [max(size) for size in zip(*(part.shape[1:] for part in parts.values()), strict=True)]
    dtype = next(iter(parts.values())).dtype
    values = np.full((len(layers), len(texts), *sizes), np.nan, dtype=dtype)
    for index, part in parts.items():
        values[:, index][(slice(None), *map(slice, part.shape[1:]))] = part
    width = max(map(len, tokens.values()))
    strings = [(tokens[index] + [""] * width)[:width] for index in range(len(texts))]
    coords = {
        "layer": list(layers),
        "prompt": range(len(texts)),
        "pos": range(width),
        **{axis: range(size) for axis, size in zip(axes, sizes, strict=True)},
        "text": ("prompt", np.array(texts, dtype=object)),
        "token": (("prompt", "pos"), np.array(strings, dtype=object)),
        "n_tokens": ("prompt", [len(tokens[index]) for index in range(len(texts))]),
    }
    variable = {what: (("layer", "prompt", *axes), values, attrs)}
    return xr.Dataset(variable, coords=coords, attrs={"what": what})
