"""The prompts' own numbers in a sensitivity grid, which depend on BOS and final norm alone."""

from dataclasses import replace
from typing import Any

import numpy as np

from laminar_lens.errors import InputError
from laminar_lens.models.hooked import HookedModel
from laminar_lens.prompts import find_targets
from laminar_lens.stats.means import mean
from laminar_lens.studies.measurement import measured_angles
from laminar_lens.studies.run import Run
from laminar_lens.studies.sequential.comparison import modes_by_layer
from laminar_lens.studies.sequential.plan import Settings, check_settings, make_plan


def checked_prompts(model: HookedModel, prompts: object, settings: Settings) -> tuple[str, ...]:
    """The prompts, all of which have a target: only what BOS or norm rule out becomes a note."""
    texts = check_settings(prompts, settings)
    if settings.baseline == "matched":
        raise InputError(
            "baseline 'matched' has no place in the sensitivity grid, which has no donors: choose another"
        )
    if tokenizer := getattr(model, "tokenizer", None):
        find_targets(tokenizer, texts, settings.target, settings.occurrence, settings.regex)
    return texts


def prompt_columns(run: Run, prompts: tuple[str, ...], settings: Settings) -> dict[str, Any]:
    """The prompts' own numbers."""
    tokenizer, bos = getattr(run.model, "tokenizer", None), run.options.prepend_bos
    plan = make_plan(tokenizer, prompts, replace(settings, prepend_bos=bos))
    draws = plan.draws[settings.baseline]
    pairs = {"target": plan.target, "baseline": np.swapaxes(draws, 0, 1)}
    found = measured_angles(run, plan.prompts, pairs, plan.target[:, :, 1])
    aimed, baseline = mean(found.pair_angle["target"], axis=2), found.pair_angle["baseline"]
    modes = modes_by_layer(baseline[:, :, 0], settings.seed)
    return {
        "target_angle": float(mean(aimed, axis=(0, 1))),
        "rotation": float(mean(found.rotation, axis=(0, 1, 2))),
        "target_minus_baseline": float(mean(aimed - mean(baseline, axis=2), axis=(0, 1))),
        "layers_with_two_modes": sum(answer.has_two for answer in modes),
    }
