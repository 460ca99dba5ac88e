"""Why first pairs stand apart: decided by cutting the context, restarting positions, or both."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr

from laminar_lens.arguments import checked
from laminar_lens.axes import Progress
from laminar_lens.errors import InputError
from laminar_lens.geometry import Geometry, geometry_note, named_geometry
from laminar_lens.interventions import Intervention, restart
from laminar_lens.interventions.conditions import as_conditions, named_progress
from laminar_lens.interventions.conditions import notes as intervention_notes
from laminar_lens.kernels import resolve_backend
from laminar_lens.models import processing_note
from laminar_lens.models.edits import check_interventions
from laminar_lens.models.forward import check_model, check_reached
from laminar_lens.models.info import check_final_norm, describe
from laminar_lens.models.sample import check_seed
from laminar_lens.models.selection import layer_indices
from laminar_lens.models.surroundings import surrounding_notes, surroundings
from laminar_lens.results import StudyResult, Summary, label_dataset, make_provenance
from laminar_lens.results.complete import complete
from laminar_lens.results.effects import effect_rows
from laminar_lens.stats.warmup import check_tau, reference_pairs
from laminar_lens.stats.why import by_observation, effects
from laminar_lens.studies.conditions import with_conditions
from laminar_lens.studies.geometries import by_geometry, chosen_geometries, fitted
from laminar_lens.studies.options import Options
from laminar_lens.studies.texts import Texts, chosen_texts
from laminar_lens.studies.why_dataset import answer_dataset
from laminar_lens.studies.why_measurement import (
    Cells,
    Exchange,
    exchange,
    measure,
    places,
    random_effects,
    reach,
)

DEFAULT_TEXTS = 400
"""Simultaneous intervals of ±0.04 rad where a bigram's angle moves by 0.3 rad (sd): an effect of 2τ shows."""


class WhyResult(StudyResult):
    """The answer of `why_study`: what makes first pairs stand apart, by layer and over all layers."""

    study: ClassVar[str | None] = "why"

    @property
    @complete
    def verdict(self) -> str:
        """ "position", "context", "either", "jointly", "none" or "undetermined"."""
        return str(self.dataset.attrs["verdict"])

    @property
    @complete
    def found(self) -> list[dict[str, Any]]:
        """What the verdict rests on: layers named by half of the texts, with E11, E10 and E01 (rad, 95%
        intervals) as the other half has them; at most one entry a direction."""
        return list(json.loads(self.dataset.attrs["found"]))

    @property
    @complete
    def by_layer(self) -> list[dict[str, Any]]:
        """Verdict, sign and every effect, one dictionary a layer; intervals are simultaneous."""
        return effect_rows(self.dataset)

    @complete
    def summary(self) -> Summary:
        """As every study's, with the effects by layer under `effects`."""
        return Summary({**super().summary(), "effects": self.by_layer})


@checked()
def why_study(
    model: Any,
    texts: Any = None,
    *,
    n_texts: int = DEFAULT_TEXTS,
    length: int | None = None,
    document_starts: Any = None,
    at: Any = None,
    tau: float = 0.05,
    groups: Any = None,
    final_norm: bool = False,
    layers: Any = None,
    seed: int = 0,
    random_init: bool = True,
    backend: str = "auto",
    interventions: Any = None,
    geometry: Any = "raw",
    geometries: Any = None,
    progress: Progress | None = None,
) -> WhyResult:
    """Why the first pair of a text stands apart: position, context, either, jointly, none or undetermined.

    Each text's first bigram is measured as it is, inside another text (behind the first tokens of another
    text, at positions t and t + 1), there with the context cut off (`cut(t)`), with restarted positions
    (`restart(t)`), and both, which is the text alone. The same is done with a bigram from inside. The excess
    of a first pair is T + E11: the tokens' own part, and what being first adds. The verdict is on E11. T also
    holds what the seam does, where one text goes on as another; bigrams from inside have none.

    There is no `prepend_bos`: a pair with a BOS has no counterpart inside a text.

    Args:
        model: any causal TransformerLens model. Where positions cannot be restarted (rotary, ALiBi), the
            position factor is not applicable and the verdict is context, none or undetermined.
        texts: None to let the model write its own; texts (the first `length` tokens of each), a file with
            one text a line, several files (windows of one file are one group), or token ids [text pos].
        n_texts: how many the model writes.
        length: tokens a text; 64 by default, or what the context allows, or the width of token ids
            without padding.
        document_starts: cuts packed rows into their documents, as in `warmup_study`.
        at: position t of the bigram in the body, or several that texts take in turn; by default the last
            third of a text, whose pairs are also the body's mean.
        tau: effects below this, in radians, are none; between 0 and π.
        groups: one label a text; texts of one group count as one observation, and none gets its beginning
            from its own group.
        final_norm, layers: as in `capture_residuals`.
        seed: of the texts, who gives a beginning to whom, the bootstrap, the split of the texts and the
            random twin.
        random_init: show the same effects in the same architecture with random weights, of a few texts.
        backend: kernel of the angles.
        interventions: as in `warmup_study`, such as `remove_write("mlp", 2)`: all four cells are measured
            again under each, beside `cut` and `restart`. Texts are moved to other places here, so only
            interventions that treat all positions alike make sense.
        geometry: as in `warmup_study`: in which angles are measured.
        geometries: also how E11 changes with the geometry: True for all, or some names; of the same passes.
        progress: called as `progress(label, done, total)`.

    Raises:
        InputError: an argument that does not fit, fewer than 4 independent texts of that length, or texts
            that mostly repeat each other or are unknown tokens.
        CaptureError: a vector is not finite, or cut + restart is not the plain run of the text alone.

    Source: laminar-lens, definition of the experiment, §4.
    """
    check_model(model)
    check_seed(seed)
    check_tau(tau)
    resolve_backend(backend, torch.zeros(1, device=model.cfg.device))
    if final_norm:
        check_final_norm(model)
    wanted = tuple(sorted(set(layer_indices(layers, int(model.cfg.n_layers)))))
    conditions = as_conditions(interventions)
    for changes in conditions.values():
        _check_everywhere(model, changes)
        check_reached(model, changes, max(wanted))
    notes = [note for note in (processing_note(model), geometry_note(geometry)) if note]
    notes += surrounding_notes(model)
    run: dict[str, Any] = {"prepend_bos": False, "final_norm": final_norm, "layers": wanted}
    beside = fitted(model, chosen_geometries(geometries), run, seed, progress)
    chosen_geometry = named_geometry(model, geometry, **run, seed=seed, progress=progress)
    chosen = chosen_texts(
        model,
        texts,
        Options(n_texts, length, document_starts, groups, seed=seed),
        notes,
        progress,
        reach=lambda n: reach(at, n),
    )
    rows = chosen.tokens.tolist()
    for one in (chosen_geometry, *beside.values()):
        one.check_others(rows)
    how = {
        "at": at,
        "has_positions": _can_restart(model, notes),
        "final_norm": final_norm,
        "backend": backend,
        "seed": seed,
    }
    settings = {
        "texts": "written by the model" if texts is None else "given",
        **chosen.counts(),
        "length": len(rows[0]),
        "at": places(at, len(rows[0])).tolist(),
        "reference": [(window := reference_pairs(len(rows[0]) - 1)).start, window.stop],
        "tau": tau,
        "grouped": chosen.groups is not None,
        "prepend_bos": False,
        "final_norm": final_norm,
        "layers": list(wanted),
        "random_init": random_init,
        "geometry": chosen_geometry.name,
    }
    settings |= chosen.settings
    swapped = exchange(len(rows), chosen.groups, seed)
    plan = _Plan(model, chosen, swapped, wanted, how, settings, chosen_geometry, beside)
    found = {
        name: _condition(plan, changes, notes, named_progress(progress, name))
        for name, changes in conditions.items()
    }
    return WhyResult(with_conditions(model, found, conditions, groups=swapped.unit))


@dataclass(frozen=True)
class _Plan:
    """What is the same in every condition of a study."""

    model: Any
    texts: Texts
    swapped: Exchange
    layers: tuple[int, ...]
    how: dict[str, Any]
    settings: dict[str, Any]
    geometry: Geometry
    beside: dict[str, Geometry]


def _condition(
    plan: _Plan, changes: tuple[Intervention, ...], notes: list[str], progress: Progress | None
) -> xr.Dataset:
    """The labelled dataset of one condition."""
    notes = [*notes, *intervention_notes(plan.model, changes)]
    has_positions = bool(plan.how["has_positions"])
    kinds = (plan.geometry, *(one for one in plan.beside.values() if one.name != plan.geometry.name))
    how = {**plan.how, "interventions": changes, "geometries": kinds}
    tokens = plan.texts.tokens
    found = measure(plan.model, tokens, plan.swapped, plan.layers, **how, progress=progress)
    seed, cells = int(plan.how["seed"]), found[0]
    random = {}
    if plan.settings["random_init"]:
        how["geometries"] = kinds[:1]
        random = random_effects(plan.model, tokens, plan.layers, notes, **how, progress=progress)
    dataset, answer = answer_dataset(
        cells,
        plan.swapped,
        tokens.numpy(),
        plan.texts.groups,
        plan.layers,
        tau=plan.settings["tau"],
        has_positions=has_positions,
        random=random,
        seed=seed,
        notes=notes,
    )
    if plan.beside:
        dataset = dataset.assign(_in_geometries(plan, found, kinds))
    settings = {**plan.settings, "position_factor": dataset.attrs["position_factor"]}
    settings |= {"interventions": [one.label for one in changes]} if changes else {}
    info = {**describe(plan.model).as_dict(), **surroundings(plan.model)}
    info |= {"prepend_bos": False, "final_norm": settings["final_norm"]}
    info |= {"geometry": plan.geometry.describe()}
    provenance = make_provenance(info, settings, backend=cells.backend, seed=seed, texts=tokens.numpy())
    provenance |= {"cells": ["cut(t)"] + ["restart(t)"] * has_positions}
    return label_dataset(
        dataset,
        study="why",
        sentence=plan.texts.ends(answer),
        provenance=provenance,
        settings=settings,
        warnings=notes,
    )


def _in_geometries(
    plan: _Plan, found: tuple[Cells, ...], kinds: Iterable[Geometry]
) -> dict[str, xr.Variable]:
    """E11 in every geometry."""
    by_name = {kind.name: _e11(cells) for kind, cells in zip(kinds, found, strict=True)}
    values = {"E11": by_name[plan.geometry.name]} | {name: by_name[name] for name in plan.beside}
    averaged, _ = by_observation(values, plan.texts.groups, plan.swapped.unit)
    quantity = np.stack([averaged[name].T for name in plan.beside])
    meaning = "E11: what being first does to a text's first bigram"
    return by_geometry({"E11": (quantity, meaning)}, plan.beside, None, int(plan.how["seed"]))


def _e11(cells: Cells) -> np.ndarray:
    return effects(cells.angle[0], cells.angle[1], cells.reference)["E11"]


def _check_everywhere(model: Any, changes: tuple[Intervention, ...]) -> None:
    """Refuses what would not be the same where a text stands elsewhere."""
    for one in changes:
        if not one.everywhere:
            raise InputError(
                f"{one.label} does not treat all positions of any text alike, but a why-study moves texts, "
                "and cuts and restarts them itself: give remove_dimensions, remove_write or scale_norm "
                "without positions"
            )
    check_interventions(model, changes, [2])


def _can_restart(model: Any, notes: list[str]) -> bool:
    """Whether the model adds positional embeddings; that there is no other position in it is checked by the
    identity at run time."""
    try:
        restart(1).check(model, 3)
    except InputError as error:
        notes.append(f"The position factor is not applicable, so position is no possible answer: {error}.")
        return False
    return True
