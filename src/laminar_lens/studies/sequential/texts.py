"""The other texts of a sequential study: its warm-up part, and the donors of the matched baseline."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from laminar_lens.axes import Progress
from laminar_lens.errors import InputError
from laminar_lens.geometry import RAW
from laminar_lens.interventions.conditions import Conditions, as_conditions, portable
from laminar_lens.models import describe, sample_tokens
from laminar_lens.models.context import context_length
from laminar_lens.models.padding import without_pads
from laminar_lens.models.passages import GIVEN, check_language, named_texts, windows
from laminar_lens.results import json_safe
from laminar_lens.stats.observations import repeats
from laminar_lens.studies.measurement import Adjacent, Capture, adjacent_angles
from laminar_lens.studies.observations import MANY_REPEATS
from laminar_lens.studies.run import Run
from laminar_lens.studies.sequential.command import Part
from laminar_lens.studies.sequential.plan import Plan, check_donors
from laminar_lens.studies.warmup.result import WarmupResult
from laminar_lens.texts.passages import N_PASSAGES, PASSAGES, SAMPLED

DONOR_LENGTH = 64
DONORS = "give donors= of your own, or donors='sampled'"


def warmup_part(run: Run, warmup: Any, how: Capture) -> WarmupResult | None:
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
        own: dict[str, Any] = {"n_texts": part.n_texts, "geometry": how.geometry, "geometries": None}
        options = replace(run.options, interventions=changed, **own)
        found = drive(part.study, run.model, None, options, run.progress, run.kept)
        assert isinstance(found, WarmupResult)
        return found
    if not isinstance(warmup, WarmupResult):
        raise InputError(
            f"warmup is a {type(warmup).__name__}: give a result of warmup_study, None to run one, or False"
        )
    _check_warmup(warmup, run.model, fit, how)
    return warmup


def check_warmup_texts(model: Any) -> None:
    """Refuses a model that the passages are no texts for, before anything is run."""
    if named_texts(model, None) == PASSAGES:
        check_language(model, "give warmup= a result of warmup_study on other texts, or warmup=False")


def _check_warmup(warmup: WarmupResult, model: Any, conditions: Conditions, how: Capture) -> None:
    """Refuses a warm-up of another model, or one that was captured differently."""
    made, info = warmup.provenance.get("model", {}), describe(model)
    if made.get("weights_sha256", info.weights_sha256) != info.weights_sha256:
        raise InputError(
            f"warmup was measured on model {made.get('name')!r}, this is {info.name!r}: measure it again"
        )
    for name in ("prepend_bos", "final_norm"):
        was, now = bool(warmup.settings.get(name)), getattr(how, name)
        if was != now:
            raise InputError(
                f"warmup was measured with {name}={was}, this study has {name}={now}: use the same"
            )
    if made.get("geometry", RAW.describe()) != json_safe(how.geometry.describe()):
        raise InputError(
            f"warmup was measured in the geometry {made['geometry']['name']!r}, this study in "
            f"{how.geometry.name!r} (or one that was fitted otherwise): give both the same fit_geometry(...)"
        )
    missing = set(how.layers or range(info.n_layers + 1)) - set(warmup.dataset["layer"].values.tolist())
    if missing:
        raise InputError(f"warmup lacks layer {min(missing)}: measure it on the layers of this study")
    for name, changes in conditions.items():
        done = None
        if name in warmup.conditions:
            done = warmup.condition(name).provenance.get("model", {}).get("interventions", [])
        if done != json_safe([one.describe(model) for one in changes]):
            raise InputError(
                f"warmup was not measured under {name!r} as this study is: measure it with the same "
                "interventions, or give warmup=None to do so now, or False to leave it out"
            )


def donor_texts(
    model: Any,
    donors: Any,
    n: int,
    warm: WarmupResult | None,
    plan: Plan,
    how: Capture,
    seed: int,
    notes: list[str],
    progress: Progress | None,
) -> tuple[str, Any]:
    """Texts from outside the study, and what they are: given, passages, fresh samples, or None for those of
    the warm-up."""
    reach, prompts = int(plan.target.max()) + 1 - int(how.prepend_bos), len(plan.prompts)
    if donors is None and warm is not None and warm.tokens is not None:
        n_texts, length = warm.tokens.shape
        if length >= reach and n_texts >= prompts:
            return "of the warm-up", None
    named = donors if isinstance(donors, str) and donors in (PASSAGES, SAMPLED) else None
    if donors is None or named:
        room = context_length(model) - int(how.prepend_bos)
        size = max(n, 2 * prompts), min(max(DONOR_LENGTH, reach), room)
        return _own_donors(model, named, *size, 2 * prompts, seed, notes, progress)
    if not hasattr(donors, "ndim"):
        return GIVEN, check_donors(donors, plan.prompts)
    donors, padding = without_pads(model, donors)
    notes.extend([padding] if padding else [])
    return GIVEN, donors


def _own_donors(
    model: Any,
    named: str | None,
    n: int,
    length: int,
    least: int,
    seed: int,
    notes: list[str],
    progress: Progress | None,
) -> tuple[str, Any]:
    """Passages, or texts that the model writes: as named, or as the model's studies have it."""
    if (named or named_texts(model, None)) == PASSAGES:
        try:
            return PASSAGES, _passages(model, n, least, length, seed)
        except InputError as error:
            if named:
                raise
            notes.append(f'The donors of the baseline "matched" are sampled: {error}.')
    written = sample_tokens(model, n, length, seed=seed, progress=progress)
    again = int(repeats(written.tolist()).sum())
    if again > MANY_REPEATS * n:
        notes.append(
            f'{again} of the {n} donors of the baseline "matched" repeat another: the model writes the '
            "same text again and again; give donors= of your own."
        )
    return SAMPLED, written


def _passages(model: Any, n: int, least: int, length: int, seed: int) -> Tensor:
    """Tokens [text pos] of n passages, or of all that have so many.

    Raises:
        InputError: they are not of the model's language, or fewer than `least`.
    """
    chosen = windows(check_language(model, DONORS), length, min(n, N_PASSAGES), seed).rows
    enough = [row[:length] for row in chosen if len(row) >= length]
    if len(enough) < least:
        raise InputError(f"{len(enough)} passages have {length} tokens, {least} donors are needed: {DONORS}")
    return torch.tensor(enough)


def donor_angles(
    model: Any,
    donors: Any,
    warm: WarmupResult | None,
    name: str,
    how: Capture,
    notes: list[str],
    progress: Progress | None,
) -> Adjacent:
    """Adjacent angles of the donors under the condition `name`; patched states are the prompts' own.

    Args:
        model: of the study.
        donors: of `donor_texts`.
        warm: every condition's warm-up, if there is one.
        name: of the condition.
        how: with its interventions.
        notes: get what a reader must know.
        progress: called as (label, done, total).
    """
    fit = portable(how.interventions)
    if fit != how.interventions:
        notes.append('The donors of the baseline "matched" are measured without the patched states.')
    if donors is None and warm is not None:
        if name in warm.conditions:
            return _shared(warm.condition(name), model, how)
        donors = warm.tokens
    how = replace(how, interventions=fit)
    return adjacent_angles(model, donors, how, label="capturing donors", progress=progress)


def _shared(warm: WarmupResult, model: Any, how: Capture) -> Adjacent:
    """The warm-up's texts as donors: their angles are already measured."""
    tokens = np.asarray(warm.tokens)
    if how.prepend_bos:
        tokens = np.pad(tokens, ((0, 0), (1, 0)), constant_values=int(describe(model).bos_token_id or 0))
    chosen = warm.dataset["angle"].transpose("layer", "text", "pair")
    layers = tuple(how.layers or range(int(model.cfg.n_layers) + 1))
    angle = np.asarray(chosen.sel(layer=list(layers)).values, dtype=np.float64)
    return Adjacent(layers, tokens, [], angle, {})
