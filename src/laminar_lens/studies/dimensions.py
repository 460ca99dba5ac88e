"""Which dimensions make the cosine between two tokens, and what the angle is without them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.arguments import checked
from laminar_lens.axes import Progress
from laminar_lens.errors import InputError
from laminar_lens.geometry import check_name, geometry_note, named_geometry
from laminar_lens.interventions import Intervention
from laminar_lens.interventions.conditions import as_conditions, named_progress
from laminar_lens.interventions.conditions import notes as intervention_notes
from laminar_lens.models import processing_note
from laminar_lens.models.batches import prompt_batches
from laminar_lens.models.calibration import SKIP
from laminar_lens.models.forward import check_model
from laminar_lens.models.sample import check_seed
from laminar_lens.models.selection import layer_indices
from laminar_lens.models.surroundings import surrounding_notes
from laminar_lens.results import StudyResult, label_dataset, make_provenance
from laminar_lens.studies.conditions import with_conditions
from laminar_lens.studies.dimensions_claims import FEW, Halves
from laminar_lens.studies.dimensions_dataset import answer_dataset
from laminar_lens.studies.dimensions_geometry import Compared, compared
from laminar_lens.studies.dimensions_measurement import measure_contributions, measure_removal
from laminar_lens.studies.dimensions_null import like_size
from laminar_lens.studies.options import Options
from laminar_lens.studies.texts import Texts, chosen_texts

DEFAULT_TEXTS = 200
DRAWS = 50
REMOVED = 8


@checked()
def dimension_study(
    model: Any,
    texts: Any = None,
    *,
    n_texts: int = DEFAULT_TEXTS,
    length: int | None = None,
    document_starts: Any = None,
    removed: int = REMOVED,
    groups: Any = None,
    prepend_bos: bool = False,
    final_norm: bool = False,
    layers: Any = None,
    seed: int = 0,
    interventions: Any = None,
    geometry: Any = "raw",
    progress: Progress | None = None,
) -> StudyResult:
    """The few dimensions that make a cosine, if there are any: in the first pair, between position 0 and the
    body, between neighbours in the body; before and after centring on other texts.

    The contribution of dimension k to the cosine of u and v is u_k·v_k/(‖u‖‖v‖); over k they sum to it. Half
    of the texts choose the dimensions, the other half say what they do; beside them, as many dimensions drawn
    at random, and what as many of like size would make of the cosine (dimensions_null.py).

    Args:
        model: any causal TransformerLens model.
        texts, length, groups: as in `warmup_study`.
        n_texts: how many the model writes.
        document_starts: cuts packed rows into their documents, as in `warmup_study`.
        removed: the angle is measured without the first 0, 1, … so many dimensions.
        prepend_bos, final_norm, layers: as in `capture_residuals`; with a BOS, position 0 is the BOS.
        seed: of the texts, the halves, the random dimensions and the bootstrap.
        interventions: change the run, as in `warmup_study`; geometries are fitted on the plain run.
        geometry: of the vectors whose cosines are taken: a name of `laminar_lens.geometry.GEOMETRIES`,
            fitted on texts of its own where it needs any, or what `fit_geometry` returned. Beside it stands
            the same with the mean over the body of other texts removed ("centred" beside "raw",
            "layernormed, centred" beside "layernormed"); beside "centred" and "standardised", where nothing
            is left to remove, stands nothing.
        progress: called as `progress(label, done, total)`.

    Returns:
        A result of kind "dimensions" with claims D1–D4 (D4 "not applicable" without a centred geometry beside
        the study's own); angles in radians.

    Raises:
        InputError: an argument that does not fit, fewer than 4 texts, texts that mostly repeat each other or
            are unknown tokens, or as many removed as there are.

    Source: arXiv 2109.04404 (contributions, rogue dimensions).
    """
    check_model(model)
    check_seed(seed)
    width = int(model.cfg.d_model)
    if isinstance(removed, bool) or not isinstance(removed, int) or not FEW <= removed < width:
        raise InputError(f"removed is {removed!r}; expected {FEW} … {width - 1} of the {width} dimensions")
    how: dict[str, Any] = {"prepend_bos": prepend_bos, "final_norm": final_norm}
    if isinstance(geometry, str):
        check_name(geometry)
    else:
        geometry = named_geometry(model, geometry, **how)
    conditions = as_conditions(interventions)
    notes = [note for note in (processing_note(model), geometry_note(geometry)) if note]
    notes += surrounding_notes(model)
    how["layers"] = sorted(set(layer_indices(layers, int(model.cfg.n_layers))))
    chosen = chosen_texts(
        model,
        texts,
        Options(n_texts, length, document_starts, groups, prepend_bos, seed=seed),
        notes,
        progress,
    )
    halves = split(len(chosen.tokens), chosen.groups, seed)
    skip = min(SKIP, (chosen.tokens.shape[1] + int(prepend_bos)) // 2)
    geometries = compared(model, geometry, skip=skip, seed=seed, how=how, progress=progress)
    for one in geometries:
        one.check_others(chosen.tokens.tolist())
    plan = _Plan(model, chosen, halves, how, skip, geometries, removed, texts is not None, seed, notes)
    found = {
        name: _condition(plan, changes, named_progress(progress, name))
        for name, changes in conditions.items()
    }
    return StudyResult(with_conditions(model, found, conditions, groups=chosen.groups))


@dataclass(frozen=True)
class _Plan:
    """What is the same in every condition of a study."""

    model: Any
    texts: Texts
    halves: tuple[np.ndarray, np.ndarray]
    how: dict[str, Any]
    skip: int
    geometries: list[Compared]
    removed: int
    given: bool
    seed: int
    notes: list[str]

    def settings(self) -> dict[str, Any]:
        """The arguments as they were used, JSON-safe."""
        return {
            "texts": "given" if self.given else "written by the model",
            **self.texts.counts(),
            "length": self.texts.tokens.shape[1],
            "body from": self.skip,
            "removed": self.removed,
            "random draws": DRAWS,
            "grouped": self.texts.groups is not None,
            "prepend_bos": self.how["prepend_bos"],
            "final_norm": self.how["final_norm"],
            "geometry": self.geometries[0].name,
            "geometries": [one.describe() for one in self.geometries],
            **self.texts.settings,
        }


def _condition(plan: _Plan, changes: tuple[Intervention, ...], progress: Progress | None) -> xr.Dataset:
    """The labelled dataset of one condition."""
    model, seed, skip, geometries = plan.model, plan.seed, plan.skip, plan.geometries
    runs = [
        prompt_batches(model, plan.texts.tokens[half], **plan.how, interventions=changes)
        for half in plan.halves
    ]
    before, after = (measure_contributions(run, geometries, skip, progress=progress) for run in runs)
    order = np.argsort(-np.abs(before.mean), axis=-1, kind="stable")
    random = _random_orders(before.mean.shape[-1], plan.removed, seed)
    top = order[..., : plan.removed]
    removal = measure_removal(runs[1], geometries, skip, top, random, progress=progress)
    like = like_size(before, after, order, FEW, seed)
    names = tuple(one.name for one in geometries)
    labels = None if plan.texts.groups is None else plan.texts.groups[plan.halves[1]]
    facts = Halves(before, after, order, removal, like, names, runs[0].layers, plan.halves[1], labels, seed)
    tokens, settings = plan.texts.tokens.numpy(), plan.settings()
    dataset, said = answer_dataset(facts, len(tokens))
    return label_dataset(
        dataset,
        study="dimensions",
        sentence=plan.texts.ends(said),
        provenance=make_provenance(before.info, settings, backend="none", seed=seed, texts=tokens),
        settings=settings,
        warnings=[*plan.notes, *intervention_notes(model, changes, tokens.tolist())],
    )


def split(n: int, groups: np.ndarray | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts of a random half of the groups, and the others.

    Raises:
        InputError: fewer than 4 independent texts.
    """
    labels, member = np.unique(np.arange(n) if groups is None else groups, return_inverse=True)
    if len(labels) < 4:
        raise InputError(f"{len(labels)} independent texts: half of them choose, so at least 4 are needed")
    first = np.random.default_rng([seed, 21]).permutation(len(labels)) < len(labels) // 2
    return np.flatnonzero(first[member]), np.flatnonzero(~first[member])


def _random_orders(width: int, removed: int, seed: int) -> np.ndarray:
    """Dimensions drawn at random without replacement, [draw rank]."""
    rng = np.random.default_rng([seed, 22])
    return np.stack([rng.permutation(width)[:removed] for _ in range(DRAWS)])
