"""The same answers under other choices: BOS, final norm, tolerance, reference window; one table."""

import warnings
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from laminar_lens.arguments import checked, each, flag, number, shown
from laminar_lens.axes import Labels, Progress, Prompts, Wholes, Window
from laminar_lens.errors import InputError
from laminar_lens.geometry import Geometry, GeometryLike, check_name, named_geometry
from laminar_lens.models.fingerprint import fingerprint
from laminar_lens.models.forward import check_model
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import check_same_weights
from laminar_lens.models.surroundings import surrounding_notes
from laminar_lens.stats.warmup import NO_K, reference_pairs
from laminar_lens.stats.warmup_costs import left_out
from laminar_lens.studies.geometries import check_apart
from laminar_lens.studies.measured import to_dataset
from laminar_lens.studies.options import Options
from laminar_lens.studies.run import Run
from laminar_lens.studies.sequential.grid import checked_prompts, prompt_columns
from laminar_lens.studies.sequential.plan import Settings
from laminar_lens.studies.texts import chosen_texts
from laminar_lens.studies.warmup.command import WINDOWS
from laminar_lens.studies.warmup.measure import by_position
from laminar_lens.studies.warmup.study import Warmup

if TYPE_CHECKING:
    import pandas as pd

TOLERANCES = (0.03, 0.05, 0.1)
REFERENCES = WINDOWS


@checked(bos=each(flag), final_norm=each(flag), tau=each(number))
def sensitivity_grid(
    model: HookedModel,
    prompts: Prompts = None,
    texts: Prompts = None,
    *,
    n_texts: int | None = None,
    length: int | None = None,
    groups: Labels = None,
    target: str = " her",
    occurrence: str = "error",
    regex: bool = False,
    baseline: str = "published",
    skip: int = 0,
    layers: Wholes = None,
    bos: Any = (False, True),
    final_norm: Any = (False, True),
    tau: Any = TOLERANCES,
    reference: Any = REFERENCES,
    seed: int = 0,
    backend: str = "auto",
    geometry: GeometryLike = "raw",
    progress: Progress | None = None,
) -> "pd.DataFrame":
    """The warm-up's answer for every combination of choices, and the prompts' angles beside it.

    The texts are chosen and, with each BOS and final norm, measured once; every cell of a tolerance and a
    reference is what `warmup_study` answers of that measurement.

    Args:
        model: any causal TransformerLens model.
        prompts: texts with a `target`, as in `sequential_study`; None for the warm-up alone.
        texts, n_texts, length, groups: as in `warmup_study`.
        target, occurrence, regex, baseline, skip: of the prompts, as in `sequential_study`; not "matched", as
            this table has no donors.
        layers: hidden states, all by default.
        bos, final_norm, tau, reference: the choices, as lists; one that this model or the texts do not have
            keeps its rows, and `note` says why they are empty.
        seed, backend, geometry, progress: as in the studies; a geometry by name is fitted for each BOS and
            final norm, one that `fit_geometry` returned has one of each and leaves the others' rows empty.

    Returns:
        One row a combination: the choices, `verdict`, `k_lo`, `k_hi`, `skip`, `n_needed` (missing where there
        is none), `sign`, `first_pair` (mean excess of pair 0 over the reference in radians, in the layer
        `layer` where it is largest); with prompts also `target_angle`, `rotation`, `target_minus_baseline`
        (radians, means over prompts and layers; the baseline averaged over draws) and
        `layers_with_two_modes`; `note`.

    Raises:
        InputError: texts, prompts, a tolerance or a reference that do not fit.
    """
    check_model(model)
    for note in surrounding_notes(model):
        warnings.warn(note, UserWarning, stacklevel=3)
    weights = fingerprint(model)
    settings = Settings(target, occurrence, regex, baseline, skip, seed)
    asked = None if prompts is None else checked_prompts(model, prompts, settings)
    if not isinstance(geometry, Geometry):
        check_name(geometry)
    _check_choices({"bos": bos, "final_norm": final_norm, "tau": tau, "reference": reference})
    options = Options(
        n_texts, length, None, groups, any(bos), layers=layers, seed=seed, random_init=False, backend=backend
    )  # with room for a BOS, where any choice has one: the texts of all of them are the same
    said: list[str] = []
    chosen = chosen_texts(model, texts, options, said, progress)
    rows: list[dict[str, Any]] = []
    total = len(bos) * len(final_norm) * len(tau) * len(reference)
    for with_bos, normed in product(map(bool, bos), map(bool, final_norm)):
        base: dict[str, Any] = {"prepend_bos": with_bos, "final_norm": normed}
        try:
            made = named_geometry(model, geometry, **base, seed=seed, progress=progress)
            check_apart(chosen.source, made)
            run = Run(model, replace(options, **base), chosen, made, progress=progress)
            measured = _measured(run)
            beside = {} if asked is None else prompt_columns(run, asked, settings)
        except InputError as error:
            missing = product(tau, reference)
            rows += [
                {**base, "tau": t, "reference": _window(pairs), "note": str(error)} for t, pairs in missing
            ]
            continue
        for tolerance, pairs in product(tau, reference):
            answer = _answered(measured, tolerance, pairs, " ".join(said))
            rows.append({**base, "tau": tolerance, "reference": _window(pairs), **answer, **beside})
            if progress is not None:
                progress("sensitivity grid", len(rows), total)
    check_same_weights(model, weights)
    return _table(rows)


def _check_choices(choices: dict[str, Any]) -> None:
    for name, given in choices.items():
        if not isinstance(given, list | tuple) or not given:
            raise InputError(f"{name} is {shown(given)}: give the choices to try as a list or tuple")
    for tau in choices["tau"]:
        if not 0 < tau < np.pi:
            raise InputError(f"tau holds {tau!r}: give tolerances in radians between 0 and π")


def _measured(run: Run) -> xr.Dataset:
    """What every cell of one BOS and final norm answers."""
    label = f"capturing texts{' with a BOS' if run.options.prepend_bos else ''}"
    return to_dataset(by_position(run, label)[0], seed=run.options.seed)


def _answered(measured: xr.Dataset, tau: float, reference: Window, note: str) -> dict[str, Any]:
    """One cell: the measurement's answer, or why texts of this length have none."""
    try:
        window = reference_pairs(measured.sizes["pair"], reference)
    except InputError as error:
        if isinstance(reference, str):  # a name that no texts would fit
            raise
        return {"note": str(error)}
    again = measured.assign_attrs(window=(window.start, window.stop))
    if again.attrs["window"] != tuple(measured.attrs["window"]):  # costs of vectors are of another reference
        costs = measured["vector_costs"]
        unknown = np.full((*costs.shape[:-1], len(left_out(window))), np.nan)
        again = again.drop_vars("vector_costs").assign(vector_costs=(costs.dims, unknown))
    answer = Warmup(tau, reference).answer(again).data
    numbers = {name: answer.attrs[name] for name in ("k_lo", "k_hi", "skip", "n_needed")}
    first = answer["delta"].isel(pair=0)
    largest = first[int(np.argmax(np.abs(first.values)))]
    return {
        "verdict": answer.attrs["verdict"],
        **{name: None if k == NO_K else k for name, k in numbers.items()},
        "sign": answer.attrs["sign"],
        "first_pair": float(largest),
        "layer": int(largest["layer"]),
        "note": note,
    }


def _window(reference: Window) -> str:
    """A reference as it is called: by name, or by its first and last pair."""
    if isinstance(reference, tuple):
        return f"{reference[0]}-{reference[1] - 1}"
    return str(reference)


def _table(rows: list[dict[str, Any]]) -> "pd.DataFrame":
    """Whole numbers stay whole where some are missing."""
    import pandas as pd

    frame = pd.DataFrame(rows)
    for name in ("k_lo", "k_hi", "skip", "n_needed", "layer", "layers_with_two_modes"):
        if name in frame:
            frame[name] = frame[name].astype("Int64")
    return frame[[name for name in frame.columns if name != "note"] + ["note"]]
