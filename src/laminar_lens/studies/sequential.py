"""The sequential-angle study: the target, its baselines, fixed positions, and the published claims."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.arguments import checked
from laminar_lens.axes import Progress
from laminar_lens.errors import InputError, ModelError
from laminar_lens.geometry import Geometry, geometry_note, named_geometry
from laminar_lens.interventions import Intervention
from laminar_lens.interventions.conditions import (
    as_conditions,
    named_progress,
    notes,
)
from laminar_lens.models import processing_note, random_twin
from laminar_lens.models.edits import check_interventions
from laminar_lens.models.forward import check_model, check_reached
from laminar_lens.models.surroundings import surrounding_notes
from laminar_lens.pairs import BASELINES
from laminar_lens.results import StudyResult, label_dataset, make_provenance, texts_fingerprint
from laminar_lens.studies.claims import answer_claims, sentence
from laminar_lens.studies.comparison import Baseline, compare, mean
from laminar_lens.studies.conditions import with_conditions
from laminar_lens.studies.geometries import (
    MOST_TEXTS,
    angles_by_geometry,
    by_geometry,
    chosen_geometries,
    fitted,
)
from laminar_lens.studies.measurement import (
    Adjacent,
    Capture,
    Measured,
    adjacent_angles,
    chosen_layers,
    measured_angles,
)
from laminar_lens.studies.plan import (
    Plan,
    Settings,
    check_settings,
    check_tokens,
    draw_matched,
    make_plan,
)
from laminar_lens.studies.sequential_dataset import sequential_dataset
from laminar_lens.studies.sequential_texts import donor_angles, donor_texts, warmup_part
from laminar_lens.studies.warmup.result import WarmupResult

N_DONORS = 128


@checked()
def sequential_study(
    model: Any,
    prompts: Any,
    *,
    target: Any = " her",
    occurrence: Any = "error",
    regex: bool = False,
    baseline: Any = "published",
    skip: Any = 0,
    seed: int = 0,
    prepend_bos: bool = False,
    final_norm: bool = False,
    layers: Any = None,
    donors: Any = None,
    n_donors: int = N_DONORS,
    warmup: Any = None,
    random_init: bool = True,
    n_draws: int = 200,
    n_perm: int = 10_000,
    backend: str = "auto",
    interventions: Any = None,
    geometry: Any = "raw",
    geometries: Any = None,
    progress: Progress | None = None,
) -> StudyResult:
    """Measure a target's sequential angle against its baselines, layer by layer, and answer the claims C1–C7.

    Args:
        model: any TransformerLens model with a tokenizer.
        prompts: independent texts; each is one observation, but for those that repeat another (all of their
            tokens, or all but one in sixteen and the target's), which are left out and counted.
        target: text or regular expression; the pair is (token before, first token of the target).
        occurrence: "error" wants one occurrence a prompt; "first" and "last" choose, "all" averages.
        baseline: "published", "adjacent", "matched" or "by_position": the one whose modes are analysed. All
            are compared with the target.
        skip: leaves out pairs that begin in the first `skip` positions.
        seed: of every random draw; the same seed gives the same numbers.
        prepend_bos: puts the model's BOS at position 0.
        final_norm: takes the last hidden state after the final norm, as the original did.
        layers: hidden states, all by default.
        donors: texts, or token ids [text pos], from outside the study for `matched`; by default the texts of
            the warm-up part, or, without it, `n_donors` that the model writes. Each prompt has donors of
            its own, at least two where the model writes them.
        warmup: an earlier `warmup_study` of this model, None to run one, False to leave it out (C7 is then
            undetermined).
        random_init: also measures the same architecture with random weights.
        n_draws: seeded draws of each random baseline; the first is the published single draw.
        n_perm: sign flips of each test.
        backend: of the angle kernels.
        interventions: one, a list (applied together), or a mapping from names to lists, such as
            `[cut(5), restart(5)]`; prompts, donors and warm-up are measured again under each, on an axis
            `intervention` with "plain" first. Texts are always written by the model as it is.
        geometry: in which angles are measured: a name of `laminar_lens.geometry.GEOMETRIES`, fitted on texts
            of its own where it needs any, or what `fit_geometry` returned.
        geometries: also how the headline changes with the geometry: True for all, or some names; computed on
            at most 200 texts, one pass for all.
        progress: called as (label, done, total).

    Returns:
        A result of kind "sequential". Angles are radians in [0, π]; NaN where a prompt has no such pair.

    Raises:
        InputError: an argument or prompt that does not fit; the message names it.
        CaptureError: an activation that is not finite.
    """
    check_model(model)
    settings = Settings(target, occurrence, regex, baseline, skip, seed, prepend_bos, n_draws)
    texts = check_settings(prompts, settings)
    if n_perm < 1:
        raise InputError(f"n_perm={n_perm} draws no sign flip: give at least 1, usually 10000")
    plan = make_plan(getattr(model, "tokenizer", None), texts, settings)
    how = Capture(prepend_bos, final_norm, chosen_layers(model, layers), backend)
    if len(plan.prompts) < 2:
        raise InputError("prompts holds one prompt, but each is one observation: give at least 2, better 50")
    if note := processing_note(model):
        plan.notes.insert(0, note)
    if note := geometry_note(geometry):
        plan.notes.append(note)
    plan.notes.extend(surrounding_notes(model))
    conditions = as_conditions(interventions)
    for changes in conditions.values():  # before anything runs
        lengths = plan.n_tokens.tolist()
        check_interventions(model, changes, lengths, prepend_bos=prepend_bos)
        if changes:
            check_reached(model, changes, max(how.layers or [int(model.cfg.n_layers)]))
    made = named_geometry(
        model, geometry, prepend_bos=prepend_bos, final_norm=final_norm, seed=seed, progress=progress
    )
    beside = fitted(model, chosen_geometries(geometries), run_of(how), seed, progress)
    how = replace(how, geometry=made)
    warm = warmup_part(model, warmup, conditions, how, seed, progress)
    tokens = donor_texts(model, donors, n_donors, warm, plan, how, seed, progress)
    study = _Study(model, plan, settings, how, warm, tokens, random_init, n_perm, beside)
    found = {
        name: _condition(study, name, changes, named_progress(progress, name))
        for name, changes in conditions.items()
    }
    return StudyResult(with_conditions(model, found, conditions))


@dataclass(frozen=True)
class _Study:
    """What is the same in every condition; `warm` holds every condition that a warm-up has."""

    model: Any
    plan: Plan
    settings: Settings
    how: Capture
    warm: WarmupResult | None
    donors: Any
    random_init: bool
    n_perm: int
    geometries: dict[str, Geometry]


def _condition(
    study: _Study, name: str, changes: tuple[Intervention, ...], progress: Progress | None
) -> xr.Dataset:
    """The labelled dataset of one condition."""
    model, settings, seed = study.model, study.settings, study.settings.seed
    plan = replace(study.plan, notes=[*study.plan.notes, *notes(model, changes, study.plan.ids)])
    how = replace(study.how, interventions=changes)
    measured = _measure(model, plan, how, progress)
    check_tokens(plan, measured.tokens, bos=int(how.prepend_bos))
    warm = None if study.warm is None or name not in study.warm.conditions else study.warm.condition(name)
    donated = donor_angles(model, study.donors, study.warm, name, how, plan.notes, progress)
    baselines = _baselines(plan, measured, donated, settings, study.n_perm, progress)
    random = _random_curve(model, plan, how, seed, progress) if study.random_init else None
    dataset = sequential_dataset(plan, measured, baselines, random, warm, chosen=settings.baseline, seed=seed)
    if study.geometries:
        dataset = dataset.assign(_in_geometries(study, plan, how, progress))
    claims = answer_claims(dataset, baselines, chosen=settings.baseline, warmup=warm, seed=seed)
    used = {
        **asdict(settings),
        "final_norm": how.final_norm,
        "layers": list(measured.layers),
        "n_perm": study.n_perm,
        "geometry": how.geometry.name,
    }
    used |= {"n_donors": len(donated.tokens), "donors_sha256": texts_fingerprint(donated.tokens)[1]}
    used |= {"n_prompts": len(plan.checked.keep), "observations": plan.checked.n}
    used |= {"random_init": study.random_init, "warmup": warm is not None}
    used |= {"interventions": [one.label for one in changes]} if changes else {}
    return label_dataset(
        dataset.assign(claims),
        study="sequential",
        sentence=plan.checked.ends(sentence(measured.layers, baselines[settings.baseline], warm)),
        provenance=make_provenance(
            measured.info, used, backend=str(measured.info["backend"]), seed=seed, texts=plan.prompts
        ),
        settings=used,
        warnings=plan.notes,
    )


def _measure(model: Any, plan: Plan, how: Capture, progress: Progress | None) -> Measured:
    """Everything that the prompts themselves give, in one pass."""
    pairs = {"target": plan.target, "permuted": plan.permuted}
    pairs |= {name: np.swapaxes(drawn, 0, 1) for name, drawn in plan.draws.items()}
    return measured_angles(model, plan.prompts, pairs, plan.target[:, :, 1], how, progress=progress)


def run_of(how: Capture) -> dict[str, Any]:
    """The arguments of `capture_residuals`."""
    names = ("prepend_bos", "final_norm", "layers", "interventions")
    return {name: getattr(how, name) for name in names}


def _in_geometries(study: _Study, plan: Plan, how: Capture, progress: Progress | None) -> dict[str, Any]:
    """Target and published baseline in every geometry."""
    published = np.swapaxes(plan.draws["published"], 0, 1)[:, :1]
    asked = np.concatenate([plan.target, published], axis=1)[:MOST_TEXTS]
    angle = angles_by_geometry(
        study.model,
        plan.prompts[:MOST_TEXTS],
        study.geometries,
        run_of(how),
        pairs=asked,
        backend=how.backend,
        progress=progress,
    )
    values = {
        "target": (mean(angle[..., :-1], axis=3), "angle of the target"),
        "baseline": (angle[..., -1], "angle of the published baseline's single draw"),
    }
    return dict(by_geometry(values, study.geometries, None, study.settings.seed))


def _baselines(
    plan: Plan,
    measured: Measured,
    donors: Adjacent,
    settings: Settings,
    n_perm: int,
    progress: Progress | None,
) -> dict[str, Baseline]:
    """Every baseline that these prompts allow, in the order of `BASELINES`."""
    angles = {name: measured.pair_angle[name] for name in plan.draws}
    pairs = dict(plan.draws)
    drawn = draw_matched(plan, donors, settings)
    if drawn is not None:
        text, first = drawn[..., 0], drawn[..., 1]
        found = donors.angle[:, np.maximum(text, 0), np.maximum(first, 0)]
        angles["matched"] = np.swapaxes(np.where(text < 0, np.nan, found), 1, 2)
        pairs["matched"] = drawn[..., 1:]
    target = mean(measured.pair_angle["target"], axis=2)
    compared = {}
    for done, name in enumerate(BASELINES):
        if progress is not None:
            progress("comparing baselines", done, len(BASELINES))
        if name in angles:
            compared[name] = compare(
                target,
                plan.target[:, 0],
                name,
                angles[name],
                pairs[name],
                measured.layers,
                n_perm=n_perm,
                seed=settings.seed,
            )
    if progress is not None:
        progress("comparing baselines", len(BASELINES), len(BASELINES))
    return compared


def _random_curve(
    model: Any, plan: Plan, how: Capture, seed: int, progress: Progress | None
) -> np.ndarray | None:
    """Mean angle [layer pair] of the same prompts in the same architecture with random weights."""
    try:
        twin = random_twin(model, seed=seed)
    except ModelError as error:
        plan.notes.append(f"No random-weights curve: {error}.")
        return None
    how = replace(how, geometry=how.geometry.for_model(twin))
    angles = adjacent_angles(twin, plan.prompts, how, label="capturing random weights", progress=progress)
    return mean(angles.angle, axis=1)
