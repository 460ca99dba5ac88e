"""The other texts of a sequential study: its warm-up part, and the donors of the matched baseline."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from laminar_lens.axes import PLAIN
from laminar_lens.errors import InputError, a_kind
from laminar_lens.geometry import RAW
from laminar_lens.interventions.conditions import Conditions, as_conditions, portable
from laminar_lens.models import describe, sample_tokens
from laminar_lens.models.context import context_length
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import bos_token_id, describe_name
from laminar_lens.models.padding import without_pads
from laminar_lens.models.passages import GIVEN, check_language, named_texts, notes_of_a_part, windows
from laminar_lens.results import json_safe
from laminar_lens.stats.observations import repeats
from laminar_lens.studies.measurement import Adjacent, adjacent_angles
from laminar_lens.studies.observations import MANY_REPEATS
from laminar_lens.studies.run import Run
from laminar_lens.studies.sequential.command import Part
from laminar_lens.studies.sequential.plan import Plan, check_donors
from laminar_lens.studies.warmup.result import WarmupResult
from laminar_lens.texts.passages import N_PASSAGES, PASSAGES, SAMPLED

DONOR_LENGTH = 64
DONORS = "give donors= of your own, or donors='sampled'"


def warmup_part(run: Run, warmup: object) -> WarmupResult | None:
    """The warm-up part: run now, given and checked, or left out. Patched states fit no other texts: a
    condition with them has none."""
    if warmup is False:
        return None
    conditions = as_conditions(run.options.interventions)
    fit = {name: changes for name, changes in conditions.items() if portable(changes) == changes}
    if warmup is None or warmup is True or isinstance(warmup, Part):
        from laminar_lens.studies.drive import drive

        part = warmup if isinstance(warmup, Part) else Part()
        changed = {name: changes for name, changes in fit.items() if changes} or None
        own: dict[str, Any] = {"n_texts": part.n_texts, "geometry": run.geometry, "geometries": None}
        options = replace(run.options, interventions=changed, **own)
        found = drive(part.study, run.model, None, options, run.progress, run.kept)
        assert isinstance(found, WarmupResult)
        run.notes.extend(notes_of_a_part(run.model, found.condition(PLAIN).warnings, run.notes))
        return found
    if not isinstance(warmup, WarmupResult):
        raise InputError(
            f"warmup is {a_kind(warmup)}: give a result of warmup_study, None to run one, or False"
        )
    _check_warmup(warmup, run, fit)
    run.notes.extend(notes_of_a_part(run.model, warmup.condition(PLAIN).warnings, run.notes))
    return warmup


def check_warmup_texts(model: HookedModel) -> None:
    """Refuses a model that the passages are no texts for, before anything is run."""
    if named_texts(model, None) == PASSAGES:
        check_language(model, "give warmup= a result of warmup_study on other texts, or warmup=False")


def _check_warmup(warmup: WarmupResult, run: Run, conditions: Conditions) -> None:
    """Refuses a warm-up of another model, or one that was captured differently."""
    made, info, geometry = warmup.provenance.get("model", {}), describe(run.model), run.geometry
    if made.get("weights_sha256", info.weights_sha256) != info.weights_sha256:
        raise InputError(
            f"warmup was measured on model {made.get('name')!r}, this is {info.name!r}: measure it again"
        )
    for name in ("prepend_bos", "final_norm"):
        was, now = bool(warmup.settings.get(name)), getattr(run.options, name)
        if was != now:
            raise InputError(
                f"warmup was measured with {name}={was}, this study has {name}={now}: use the same"
            )
    if made.get("geometry", RAW.describe()) != json_safe(geometry.describe()):
        raise InputError(
            f"warmup was measured in the geometry {made['geometry']['name']!r}, this study in "
            f"{geometry.name!r} (or one that was fitted otherwise): give both the same fit_geometry(...)"
        )
    missing = set(run.layers) - set(warmup.dataset["layer"].values.tolist())
    if missing:
        raise InputError(f"warmup lacks layer {min(missing)}: measure it on the layers of this study")
    for name, changes in conditions.items():
        done = None
        if name in warmup.conditions:
            done = warmup.condition(name).provenance.get("model", {}).get("interventions", [])
        if done != json_safe([one.describe(run.model) for one in changes]):
            raise InputError(
                f"warmup was not measured under {name!r} as this study is: measure it with the same "
                "interventions, or give warmup=None to do so now, or False to leave it out"
            )


def donor_texts(run: Run, donors: Any, n: int, warm: WarmupResult | None, plan: Plan) -> tuple[str, Any]:
    """Texts from outside the study, and what they are: given, passages, fresh samples, or None for those of
    the warm-up."""
    bos, prompts = int(run.options.prepend_bos), len(plan.prompts)
    reach = int(plan.target.max()) + 1 - bos
    if donors is None and warm is not None and warm.tokens is not None:
        n_texts, length = warm.tokens.shape
        if length >= reach and n_texts >= prompts:
            return "of the warm-up", None
    named = donors if isinstance(donors, str) and donors in (PASSAGES, SAMPLED) else None
    if donors is None or named:
        length = min(max(DONOR_LENGTH, reach), context_length(run.model) - bos)
        return _own_donors(run, named, max(n, 2 * prompts), length, 2 * prompts)
    if not hasattr(donors, "ndim"):
        return GIVEN, check_donors(donors, plan.prompts)
    donors, padding = without_pads(run.model, donors)
    run.notes.extend([padding] if padding else [])
    return GIVEN, donors


def _own_donors(run: Run, named: str | None, n: int, length: int, least: int) -> tuple[str, Any]:
    """Passages, or texts that the model writes: as named, or as the model's studies have it."""
    model, seed = run.model, run.options.seed
    if (named or named_texts(model, None)) == PASSAGES:
        try:
            return PASSAGES, _passages(model, n, least, length, seed)
        except InputError as error:
            if named:
                raise
            run.notes.append(f'The donors of the baseline "matched" are sampled: {error}.')
    elif not named:
        own = f"{describe_name(model)} writes its own"
        run.notes.append(f'The donors of the baseline "matched" are sampled: {own}.')
    written = sample_tokens(model, n, length, seed=seed, progress=run.progress)
    again = int(repeats(written.tolist()).sum())
    if again > MANY_REPEATS * n:
        run.notes.append(
            f'{again} of the {n} donors of the baseline "matched" repeat another: the model writes the '
            "same text again and again; give donors of your own."
        )
    return SAMPLED, written


def _passages(model: HookedModel, n: int, least: int, length: int, seed: int) -> Tensor:
    """Tokens [text pos] of n passages, or of all that have so many.

    Raises:
        InputError: they are not of the model's language, or fewer than `least`.
    """
    chosen = windows(check_language(model, DONORS), length, min(n, N_PASSAGES), seed).rows
    enough = [row[:length] for row in chosen if len(row) >= length]
    if len(enough) < least:
        raise InputError(f"{len(enough)} passages have {length} tokens, {least} donors are needed: {DONORS}")
    return torch.tensor(enough)


def donor_angles(run: Run, donors: Any, warm: WarmupResult | None) -> Adjacent:
    """Adjacent angles of the donors of `donor_texts` under the run's condition, of which `warm` holds every
    one; patched states are the prompts' own."""
    fit = portable(run.changes)
    if fit != run.changes:
        run.notes.append('The donors of the baseline "matched" are measured without the patched states.')
    if donors is None and warm is not None:
        if run.condition in warm.conditions:
            return _shared(warm.condition(run.condition), run)
        donors = warm.tokens
    return adjacent_angles(replace(run, changes=fit), donors, "capturing donors")


def _shared(warm: WarmupResult, run: Run) -> Adjacent:
    """The warm-up's texts as donors: their angles are already measured."""
    tokens = np.asarray(warm.tokens)
    if run.options.prepend_bos:
        bos = int(bos_token_id(run.model) or 0)
        tokens = np.pad(tokens, ((0, 0), (1, 0)), constant_values=bos)
    chosen = warm.dataset["angle"].transpose("layer", "text", "pair")
    angle = np.asarray(chosen.sel(layer=list(run.layers)).values, dtype=np.float64)
    return Adjacent(run.layers, tokens, [], angle, {})
