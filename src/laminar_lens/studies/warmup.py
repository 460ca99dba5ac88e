"""How many first tokens to leave out of a statistic on this model: measured on texts, answered in one
sentence."""

from dataclasses import dataclass
from typing import Any

import xarray as xr

from laminar_lens.arguments import checked
from laminar_lens.axes import Progress
from laminar_lens.geometry import Geometry, geometry_note, named_geometry
from laminar_lens.interventions import Intervention
from laminar_lens.interventions.conditions import as_conditions, named_progress
from laminar_lens.interventions.conditions import notes as intervention_notes
from laminar_lens.models import processing_note
from laminar_lens.models.forward import check_model
from laminar_lens.models.sample import check_seed
from laminar_lens.models.surroundings import surrounding_notes
from laminar_lens.results import label_dataset, make_provenance
from laminar_lens.stats.warmup import check_tau, reference_pairs
from laminar_lens.studies.conditions import with_conditions
from laminar_lens.studies.geometries import (
    MOST_TEXTS,
    angles_by_geometry,
    by_geometry,
    chosen_geometries,
    fitted,
)
from laminar_lens.studies.warmup_dataset import answer_dataset
from laminar_lens.studies.warmup_measurement import Measurement, measure, random_angles
from laminar_lens.studies.warmup_result import WarmupResult as WarmupResult
from laminar_lens.studies.warmup_texts import DEFAULT_TEXTS, Texts, chosen_texts


@checked()
def warmup_study(
    model: Any,
    texts: Any = None,
    *,
    n_texts: int = DEFAULT_TEXTS,
    length: int | None = None,
    document_starts: Any = None,
    tau: float = 0.05,
    reference: Any = None,
    groups: Any = None,
    prepend_bos: bool = False,
    final_norm: bool = False,
    layers: Any = None,
    seed: int = 0,
    random_init: bool = True,
    backend: str = "auto",
    interventions: Any = None,
    geometry: Any = "raw",
    geometries: Any = None,
    progress: Progress | None = None,
) -> WarmupResult:
    """How many first tokens stand apart from the rest of their texts: decided, undetermined, or drift.

    Decided by δ, the mean over texts of a pair's angle minus that of the same text's reference pairs. The
    paired shift, the same bigram first and deep inside its text, is reported beside it and decides nothing.

    Args:
        model: any causal TransformerLens model.
        texts: None to let the model write its own; texts (the first `length` tokens of each), a file with
            one text a line, several files (windows of one file are one group), or token ids [text pos],
            padded as in `capture_residuals`.
        n_texts: how many the model writes.
        length: tokens a text; 64 by default, or what the context allows, or the width of token ids
            without padding.
        document_starts: where documents start in packed rows: a token id (the first token of a document), or
            for token ids bool [text pos]. Each document is then measured as a text by itself: positions count
            from its start, and no attention crosses documents. The first token of a row always starts one.
        tau: differences below this, in radians, do not matter; between 0 and π.
        reference: pairs that all others are compared with: "last third" (default), "last half",
            "last quarter", a slice, or (first, stop).
        groups: one label a text; texts of one group count as one observation.
        prepend_bos, final_norm, layers: as in `capture_residuals`; with a BOS, position 0 is the BOS.
        seed: of the texts, the bootstrap, the random twin and the split of the texts.
        random_init: measure the same architecture with random weights beside it.
        backend: kernel of the angles.
        interventions: one, a list (applied together), or a mapping from names to lists, such as
            `[cut(5), restart(5)]`; the same texts are measured again under each, on an axis `intervention`
            with "plain" first. Texts are always written by the model as it is.
        geometry: in which angles are measured: a name of `laminar_lens.geometry.GEOMETRIES`, fitted on texts
            of its own where it needs any, or what `fit_geometry` returned.
        geometries: also how the headline changes with the geometry: True for all, or some names; computed on
            at most 200 texts, one pass for all.
        progress: called as `progress(label, done, total)`.

    Raises:
        InputError: an argument that does not fit, fewer than 2 independent texts of that length, or texts
            that mostly repeat each other or are unknown tokens (fewer repeats count once, and are said).

    Source: laminar-lens, definition of the experiment, "Warm-up, a three-valued answer".
    """
    check_model(model)
    check_seed(seed)
    check_tau(tau)
    conditions = as_conditions(interventions)
    how: dict[str, Any] = {"prepend_bos": prepend_bos, "final_norm": final_norm, "layers": layers}
    said = [note for note in (processing_note(model), geometry_note(geometry)) if note]
    said += surrounding_notes(model)
    beside = fitted(model, chosen_geometries(geometries), how, seed, progress)
    how["geometry"] = named_geometry(
        model, geometry, prepend_bos=prepend_bos, final_norm=final_norm, seed=seed, progress=progress
    )
    chosen = chosen_texts(
        model, texts, n_texts, length, groups, prepend_bos, seed, said, progress, document_starts
    )
    plan = _Plan(model, chosen, how, tau, reference, seed, random_init, backend, texts is not None, beside)
    found = {
        name: _condition(plan, changes, said, named_progress(progress, name))
        for name, changes in conditions.items()
    }
    return WarmupResult(with_conditions(model, found, conditions, groups=chosen.groups))


@dataclass(frozen=True)
class _Plan:
    """What is the same in every condition of a study."""

    model: Any
    texts: Texts
    how: dict[str, Any]
    tau: float
    reference: Any
    seed: int
    random_init: bool
    backend: str
    given: bool
    geometries: dict[str, Geometry]


def _condition(
    plan: _Plan, changes: tuple[Intervention, ...], said: list[str], progress: Progress | None
) -> xr.Dataset:
    """The labelled dataset of one condition."""
    said = [*said, *intervention_notes(plan.model, changes, plan.texts.tokens.tolist())]
    how = {**plan.how, "interventions": changes}
    measured = measure(plan.model, plan.texts, how, plan.reference, plan.backend, said, progress)
    random = (
        random_angles(plan.model, plan.texts.tokens, how, plan.backend, plan.seed, said, progress)
        if plan.random_init
        else None
    )
    dataset, sentence = answer_dataset(
        measured,
        random,
        tau=plan.tau,
        reference=plan.reference,
        seed=plan.seed,
        notes=said,
        progress=progress,
    )
    if plan.geometries:
        dataset = dataset.assign(_in_geometries(plan, changes, measured, progress))
    settings = {
        "texts": "given" if plan.given else "written by the model",
        **plan.texts.counts(),
        "length": plan.texts.tokens.shape[1],
        "tau": plan.tau,
        "reference": [int(dataset.attrs["reference_start"]), int(dataset.attrs["reference_stop"])],
        "grouped": plan.texts.groups is not None,
        "prepend_bos": plan.how["prepend_bos"],
        "final_norm": plan.how["final_norm"],
        "layers": list(measured.layers),
        "random_init": plan.random_init,
        "geometry": plan.how["geometry"].name,
    }
    settings |= plan.texts.settings
    settings |= {"interventions": [one.label for one in changes]} if changes else {}
    provenance = make_provenance(
        measured.info,
        settings,
        backend=str(measured.info["backend"]),
        seed=plan.seed,
        texts=plan.texts.tokens.numpy(),
    )
    return label_dataset(
        dataset,
        study="warmup",
        sentence=plan.texts.ends(sentence),
        provenance=provenance,
        settings=settings,
        warnings=said,
    )


def _in_geometries(
    plan: _Plan, changes: tuple[Intervention, ...], measured: Measurement, progress: Progress | None
) -> dict[str, xr.Variable]:
    """The first pair's excess in every geometry."""
    run = {name: plan.how[name] for name in ("prepend_bos", "final_norm", "layers")}
    angle = angles_by_geometry(
        plan.model,
        plan.texts.tokens[:MOST_TEXTS],
        plan.geometries,
        {**run, "interventions": changes},
        backend=plan.backend,
        progress=progress,
    )
    window = reference_pairs(angle.shape[-1], plan.reference)
    excess = angle[..., 0] - angle[..., window].mean(-1)
    groups = None if plan.texts.groups is None else plan.texts.groups[:MOST_TEXTS]
    name = "angle of the first pair minus the mean over the reference pairs of the same text"
    return by_geometry({"excess": (excess, name)}, plan.geometries, groups, plan.seed)
