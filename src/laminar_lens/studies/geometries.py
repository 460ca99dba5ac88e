"""How a study's headline changes with the geometry in which angles are measured: all of them in one pass."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from laminar_lens.arguments import texts
from laminar_lens.axes import Progress
from laminar_lens.errors import InputError
from laminar_lens.geometry import GEOMETRIES, Geometry, check_name, fit_geometries
from laminar_lens.meter import AngleMeter
from laminar_lens.models.batches import prompt_batches
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.passes import each_batch, run_batch
from laminar_lens.stats.bootstrap import simultaneous_band
from laminar_lens.studies.columns import BAND, with_ends
from laminar_lens.texts.passages import PASSAGES

MOST_TEXTS = 200
"""So many texts are measured in every geometry: the comparison is beside the study, not the study."""


def chosen_geometries(given: Any) -> tuple[str, ...]:
    """Names to compare: none for None or False, all for True; "raw" is always the first.

    Raises:
        InputError: an unknown name.
    """
    if given is None:
        return ()
    if isinstance(given, bool | np.bool_):
        return GEOMETRIES if given else ()
    names = texts("geometries", given)
    if not names:
        raise InputError(f"geometries is empty: give True for all, or some of {', '.join(GEOMETRIES)}")
    return tuple(dict.fromkeys(["raw", *(check_name(name) for name in names)]))


def fitted(
    model: HookedModel, names: Sequence[str], run: Mapping[str, Any], seed: int, progress: Progress | None
) -> dict[str, Geometry]:
    """The geometries by name; one pass over texts that the model writes for them."""
    how = {name: run[name] for name in ("prepend_bos", "final_norm", "layers")}
    return fit_geometries(model, names, **how, seed=seed, progress=progress) if names else {}


def check_apart(source: Any, geometry: Geometry) -> None:
    """Refuses to measure the passages in a geometry that was fitted on them.

    Raises:
        InputError: names the geometry.
    """
    if source == PASSAGES and geometry.settings.get("texts") == PASSAGES:
        raise InputError(
            f"geometry {geometry.name!r} was fitted on the passages, which are measured: fit it on other "
            "texts, or on what the model writes (fit_geometry's default)"
        )


def angles_by_geometry(
    model: HookedModel,
    prompts: Any,
    geometries: Mapping[str, Geometry],
    run: Mapping[str, Any],
    *,
    pairs: np.ndarray | None = None,
    backend: str = "auto",
    progress: Progress | None = None,
) -> np.ndarray:
    """Angles in radians of adjacent pairs, [geometry layer text pair], or of `pairs` [text pair 2] instead.

    One forward pass a batch, whatever the number of geometries; `run` holds the arguments of
    `capture_residuals`.
    """
    batches = prompt_batches(model, prompts, batch_size=None, **run)
    layers = tuple(sorted(set(batches.layers)))
    bos = int(batches.info["prepend_bos"] is True)
    width = batches.longest - 1 if pairs is None else pairs.shape[1]
    for geometry in geometries.values():
        geometry.check_others([row[bos:] for row in batches.rows])
    found = np.full((len(geometries), len(layers), len(batches.rows), width), np.nan)
    how: dict[str, Any] = {"layers": layers, "backend": backend, "final_norm": batches.final_norm}
    how["measures"] = ("sequential",) if pairs is None else ()
    for indices in each_batch(batches, "other geometries", progress):
        rows = list(indices)
        asked = None if pairs is None else pairs[rows]
        meters = [AngleMeter(model, pairs=asked, geometry=one, **how) for one in geometries.values()]
        run_batch(batches, indices, partial(_see, meters))
        for row, meter in enumerate(meters):
            angle = meter.result()["sequential" if pairs is None else "pair"].cpu().numpy()
            found[row][:, rows, : angle.shape[2]] = angle
    return found


def _see(meters: Sequence[AngleMeter], layer: int, state: Tensor) -> None:
    for meter in meters:
        meter.observe(layer, state)


def by_geometry(
    values: Mapping[str, tuple[np.ndarray, str]],
    geometries: Iterable[str],
    groups: np.ndarray | None,
    seed: int,
) -> dict[str, xr.Variable]:
    """Means over texts of quantities [geometry layer text] in radians, with 95% intervals that hold in all
    geometries and layers at once, as the layer that is shown is chosen by them.

    Args:
        values: by name, the numbers and what they are.
        geometries: names, in the order of the first axis.
        groups: one label a text.
        seed: of the bootstrap.
    """
    found: dict[str, xr.Variable] = {}
    axes = ("geometry", "layer")
    for name, (quantity, meaning) in values.items():
        band = simultaneous_band(np.moveaxis(quantity, 2, 0), groups=groups, seed=seed)
        found |= with_ends(f"geometry_{name}", axes, band, meaning, "rad", ends=BAND)
    found["geometry"] = xr.Variable(("geometry",), list(geometries))
    return found
