"""Which dimensions make the cosine between two tokens, and what the angle is without them."""

from typing import Any

import numpy as np

from laminar_lens.axes import Progress
from laminar_lens.errors import InputError
from laminar_lens.geometry import RAW, fit_geometry
from laminar_lens.interventions.conditions import as_conditions, named_progress
from laminar_lens.interventions.conditions import notes as intervention_notes
from laminar_lens.models import processing_note
from laminar_lens.models.batches import PromptBatches, prompt_batches
from laminar_lens.models.calibration import SKIP
from laminar_lens.models.forward import check_model
from laminar_lens.models.sample import check_seed
from laminar_lens.models.selection import layer_indices
from laminar_lens.results import StudyResult, label_dataset, make_provenance
from laminar_lens.studies.conditions import with_conditions
from laminar_lens.studies.dimensions_dataset import FEW, Halves, answer_dataset
from laminar_lens.studies.dimensions_measurement import measure_contributions, measure_removal
from laminar_lens.studies.warmup_texts import Texts, chosen_texts

DEFAULT_TEXTS = 200
DRAWS = 50
REMOVED = 8


def dimension_study(
    model: Any,
    texts: Any = None,
    *,
    n_texts: int = DEFAULT_TEXTS,
    length: int | None = None,
    removed: int = REMOVED,
    groups: Any = None,
    prepend_bos: bool = False,
    final_norm: bool = False,
    layers: Any = None,
    seed: int = 0,
    interventions: Any = None,
    progress: Progress | None = None,
) -> StudyResult:
    """The few dimensions that make a cosine, if there are any: in the first pair, between position 0 and the
    body, between neighbours in the body; before and after centring on other texts.

    The contribution of dimension k to the cosine of u and v is u_k·v_k/(‖u‖‖v‖); over k they sum to it. Half
    of the texts choose the dimensions, the other half say what they do; beside them, as many dimensions drawn
    at random.

    Args:
        model: any causal TransformerLens model.
        texts, length, groups: as in `warmup_study`.
        n_texts: how many the model writes.
        removed: the angle is measured without the first 0, 1, … so many dimensions.
        prepend_bos, final_norm, layers: as in `capture_residuals`; with a BOS, position 0 is the BOS.
        seed: of the texts, the halves, the random dimensions and the bootstrap.
        interventions: change the run, as in `warmup_study`; the mean of "centred" is the plain run's.
        progress: called as `progress(label, done, total)`.

    Returns:
        A result of kind "dimensions" with claims D1–D4; angles in radians.

    Raises:
        InputError: an argument that does not fit, fewer than 4 texts, or as many removed as there are.

    Source: arXiv 2109.04404 (contributions, rogue dimensions).
    """
    check_model(model)
    check_seed(seed)
    width = int(model.cfg.d_model)
    if isinstance(removed, bool) or not isinstance(removed, int) or not FEW <= removed < width:
        raise InputError(f"removed is {removed!r}; expected {FEW} … {width - 1} of the {width} dimensions")
    notes = [note] if (note := processing_note(model)) else []
    chosen = chosen_texts(model, texts, n_texts, length, groups, prepend_bos, seed, notes, progress)
    conditions = as_conditions(interventions)
    wanted = sorted(set(layer_indices(layers, int(model.cfg.n_layers))))
    how: dict[str, Any] = {"prepend_bos": prepend_bos, "final_norm": final_norm, "layers": wanted}
    halves = split(len(chosen.tokens), chosen.groups, seed)
    skip = min(SKIP, (chosen.tokens.shape[1] + int(prepend_bos)) // 2)
    centred = fit_geometry(model, "centred", seed=seed, skip=skip, **how, progress=progress)
    centred.check_others(chosen.tokens.tolist())
    random = _random_orders(width, removed, seed)
    settings = {
        "texts": "written by the model" if texts is None else "given",
        "n_texts": len(chosen.tokens),
        "length": chosen.tokens.shape[1],
        "body from": skip,
        "removed": removed,
        "random draws": DRAWS,
        "grouped": chosen.groups is not None,
        "prepend_bos": prepend_bos,
        "final_norm": final_norm,
        "geometry": ["raw", centred.describe()],
    }
    found = {}
    for name, changes in conditions.items():
        seen = named_progress(progress, name)
        runs = [_run(model, chosen, half, how, changes) for half in halves]
        before, after = (measure_contributions(run, [RAW, centred], skip, progress=seen) for run in runs)
        order = np.argsort(-np.abs(before.mean), axis=-1, kind="stable")
        removal = measure_removal(runs[1], [RAW, centred], skip, order[..., :removed], random, progress=seen)
        labels = None if chosen.groups is None else chosen.groups[halves[1]]
        facts = Halves(before, after, order, removal, runs[0].layers, halves[1], labels, seed)
        dataset, said = answer_dataset(facts, len(chosen.tokens))
        found[name] = label_dataset(
            dataset,
            study="dimensions",
            sentence=said,
            provenance=make_provenance(
                before.info, settings, backend="none", seed=seed, texts=chosen.tokens.numpy()
            ),
            settings=settings,
            warnings=notes + intervention_notes(model, changes),
        )
    return StudyResult(with_conditions(model, found, conditions, groups=chosen.groups))


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


def _run(model: Any, texts: Texts, half: np.ndarray, how: dict[str, Any], changes: Any) -> PromptBatches:
    return prompt_batches(model, texts.tokens[half], **how, interventions=changes)


def _random_orders(width: int, removed: int, seed: int) -> np.ndarray:
    """Dimensions drawn at random without replacement, [draw rank]."""
    rng = np.random.default_rng([seed, 22])
    return np.stack([rng.permutation(width)[:removed] for _ in range(DRAWS)])
