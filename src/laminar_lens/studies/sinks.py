"""Sinks: tokens whose vectors are far longer than others, where attention rests, and which blocks write them.

Attention-sink research says of large models that an MLP writes a long vector at position 0 in a few early
blocks, in a few dimensions, that attention rests there, and that it is erased before the end. This study
measures each part on the model at hand, and can answer that there is no sink.
"""

from typing import Any

from laminar_lens.arguments import checked
from laminar_lens.axes import Progress
from laminar_lens.errors import ModelError
from laminar_lens.geometry import Geometry, named_geometry
from laminar_lens.interventions.conditions import as_conditions, named_progress
from laminar_lens.interventions.conditions import notes as intervention_notes
from laminar_lens.models import processing_note, random_twin
from laminar_lens.models.batches import PromptBatches, prompt_batches
from laminar_lens.models.forward import check_model
from laminar_lens.models.sample import check_seed
from laminar_lens.models.surroundings import surrounding_notes
from laminar_lens.results import StudyResult, label_dataset, make_provenance
from laminar_lens.studies.conditions import with_conditions
from laminar_lens.studies.options import Options
from laminar_lens.studies.sinks_dataset import answer_dataset
from laminar_lens.studies.sinks_measurement import Sinks, measure_sinks
from laminar_lens.studies.texts import Texts, chosen_texts

DEFAULT_TEXTS = 200
RANDOM_TEXTS = 60


@checked()
def sink_study(
    model: Any,
    texts: Any = None,
    *,
    n_texts: int = DEFAULT_TEXTS,
    length: int | None = None,
    document_starts: Any = None,
    groups: Any = None,
    prepend_bos: bool = False,
    seed: int = 0,
    random_init: bool = True,
    interventions: Any = None,
    geometry: Any = "raw",
    progress: Progress | None = None,
) -> StudyResult:
    """Whether position 0, or another token, is a sink: by length, by attention, by massive activations.

    Every hidden state and block is measured, before the final norm.

    Args:
        model: any causal TransformerLens model.
        texts, length, groups: as in `warmup_study`; attention is counted over texts of this length, 64 tokens
            by default as in the literature.
        n_texts: how many the model writes.
        document_starts: cuts packed rows into their documents, as in `warmup_study`.
        prepend_bos: puts the model's BOS first; it is then position 0, and a text one token longer than
            `length` (give 63 to count attention over 64).
        seed: of the texts, the bootstrap and the random twin.
        random_init: measure the same architecture with random weights beside it.
        interventions: change the run, as in `warmup_study`: one, a list, or a mapping name → list.
        geometry: in which lengths and activations are measured, as in `warmup_study`; attention does not
            depend on it. Who writes and erases a sink is answered in raw alone, where writes add up.
        progress: called as `progress(label, done, total)`.

    Returns:
        A result of kind "sinks" with claims S1–S6. Lengths are relative to the median length of the same
        text's vectors in the same layer; NaN where a block's step is not the sum of its writes (said in the
        warnings). Without variables of attention where the model shows none, and of writes in another
        geometry than raw.

    Raises:
        InputError: an argument that does not fit, fewer than 2 texts of that length, or texts that mostly
            repeat each other or are unknown tokens.

    Source: arXiv 2410.10781 (attention), arXiv 2402.17762 (massive activations).
    """
    check_model(model)
    check_seed(seed)
    notes = [note] if (note := processing_note(model)) else []
    notes += surrounding_notes(model)
    conditions = as_conditions(interventions)
    seen_in = named_geometry(model, geometry, prepend_bos=prepend_bos, seed=seed, progress=progress)
    notes += _geometry_notes(seen_in)
    chosen = chosen_texts(
        model,
        texts,
        Options(n_texts, length, document_starts, groups, prepend_bos, seed=seed),
        notes,
        progress,
    )
    seen_in.check_others(chosen.tokens.tolist())
    random = _random(model, chosen, prepend_bos, seen_in, seed, notes, progress) if random_init else None
    settings = {
        "texts": "written by the model" if texts is None else "given",
        **chosen.counts(),
        "length": chosen.tokens.shape[1],
        "grouped": chosen.groups is not None,
        "prepend_bos": prepend_bos,
        "geometry": seen_in.name,
        "random_init": random_init,
    }
    settings |= chosen.settings
    found = {}
    for name, changes in conditions.items():
        run = _run(model, chosen, prepend_bos, changes)
        measured = measure_sinks(run, geometry=seen_in, progress=named_progress(progress, name))
        dataset, said = answer_dataset(measured, random, chosen.groups, model, seed=seed)
        found[name] = label_dataset(
            dataset,
            study="sinks",
            sentence=chosen.ends(said),
            provenance=make_provenance(
                measured.info, settings, backend="none", seed=seed, texts=chosen.tokens.numpy()
            ),
            settings=settings,
            warnings=notes + measured.notes + intervention_notes(model, changes, chosen.tokens.tolist()),
        )
    return StudyResult(with_conditions(model, found, conditions, groups=chosen.groups))


def _geometry_notes(geometry: Geometry) -> list[str]:
    """What a reader must know of lengths that are not those of the residual stream itself; none for raw."""
    if geometry.name == "raw":
        return []
    return [
        f"Lengths and activations are measured in the geometry {geometry.name!r}, not of residual vectors as "
        "they are; published thresholds were set for those.",
        "Who writes and who erases a sink (S4, S5) refers to the geometry 'raw', where writes add up: not "
        "answered.",
    ]


def _run(model: Any, texts: Texts, prepend_bos: bool, changes: Any = ()) -> PromptBatches:
    return prompt_batches(
        model, texts.tokens, prepend_bos=prepend_bos, final_norm=False, layers=None, interventions=changes
    )


def _random(
    model: Any,
    texts: Texts,
    prepend_bos: bool,
    geometry: Geometry,
    seed: int,
    notes: list[str],
    progress: Progress | None,
) -> Sinks | None:
    """The same texts, or a part of them, in the same architecture with random weights."""
    try:
        twin = random_twin(model, seed=seed)
    except ModelError as error:
        notes.append(f"No random weights: {error}.")
        return None
    run = _run(twin, Texts(texts.tokens[:RANDOM_TEXTS], None), prepend_bos)
    return measure_sinks(run, geometry=geometry.for_model(twin), label="random weights", progress=progress)
