"""Sinks: tokens whose vectors are far longer than others, where attention rests, and which blocks write them.

Attention-sink research says of large models that an MLP writes a long vector at position 0 in a few early
blocks, in a few dimensions, that attention rests there, and that it is erased before the end. This study
measures each part on the model at hand, and can answer that there is no sink.
"""

from typing import Any

from laminar_lens.axes import Progress
from laminar_lens.errors import ModelError
from laminar_lens.interventions.conditions import as_conditions, named_progress
from laminar_lens.interventions.conditions import notes as intervention_notes
from laminar_lens.models import processing_note, random_twin
from laminar_lens.models.batches import PromptBatches, prompt_batches
from laminar_lens.models.forward import check_model
from laminar_lens.models.sample import check_seed
from laminar_lens.results import StudyResult, label_dataset, make_provenance
from laminar_lens.studies.conditions import with_conditions
from laminar_lens.studies.sinks_dataset import answer_dataset
from laminar_lens.studies.sinks_measurement import Sinks, measure_sinks
from laminar_lens.studies.warmup_texts import Texts, chosen_texts

DEFAULT_TEXTS = 200
RANDOM_TEXTS = 60


def sink_study(
    model: Any,
    texts: Any = None,
    *,
    n_texts: int = DEFAULT_TEXTS,
    length: int | None = None,
    groups: Any = None,
    prepend_bos: bool = False,
    seed: int = 0,
    random_init: bool = True,
    interventions: Any = None,
    progress: Progress | None = None,
) -> StudyResult:
    """Whether position 0, or another token, is a sink: by length, by attention, by massive activations.

    Every hidden state and block is measured, before the final norm.

    Args:
        model: any causal TransformerLens model.
        texts, length, groups: as in `warmup_study`; attention is counted over texts of this length, 64 tokens
            by default as in the literature.
        n_texts: how many the model writes.
        prepend_bos: puts the model's BOS first; it is then position 0, and a text one token longer than
            `length` (give 63 to count attention over 64).
        seed: of the texts, the bootstrap and the random twin.
        random_init: measure the same architecture with random weights beside it.
        interventions: change the run, as in `warmup_study`: one, a list, or a mapping name → list.
        progress: called as `progress(label, done, total)`.

    Returns:
        A result of kind "sinks" with claims S1–S6. Lengths are relative to the median length of the same
        text's vectors in the same layer; NaN where a model shows no attention, or a block's step is not the
        sum of its writes (said in the warnings).

    Raises:
        InputError: an argument that does not fit, or fewer than 2 texts of that length.

    Source: arXiv 2410.10781 (attention), arXiv 2402.17762 (massive activations).
    """
    check_model(model)
    check_seed(seed)
    notes = [note] if (note := processing_note(model)) else []
    chosen = chosen_texts(model, texts, n_texts, length, groups, prepend_bos, seed, notes, progress)
    conditions = as_conditions(interventions)
    random = _random(model, chosen, prepend_bos, seed, notes, progress) if random_init else None
    settings = {
        "texts": "written by the model" if texts is None else "given",
        "n_texts": len(chosen.tokens),
        "length": chosen.tokens.shape[1],
        "grouped": chosen.groups is not None,
        "prepend_bos": prepend_bos,
        "geometry": "raw",
        "random_init": random_init,
    }
    found = {}
    for name, changes in conditions.items():
        seen = named_progress(progress, name)
        measured = measure_sinks(_run(model, chosen, prepend_bos, changes), progress=seen)
        dataset, said = answer_dataset(measured, random, chosen.groups, model, seed=seed)
        found[name] = label_dataset(
            dataset,
            study="sinks",
            sentence=said,
            provenance=make_provenance(
                measured.info, settings, backend="none", seed=seed, texts=chosen.tokens.numpy()
            ),
            settings=settings,
            warnings=notes + measured.notes + intervention_notes(model, changes),
        )
    return StudyResult(with_conditions(model, found, conditions, groups=chosen.groups))


def _run(model: Any, texts: Texts, prepend_bos: bool, changes: Any = ()) -> PromptBatches:
    return prompt_batches(
        model, texts.tokens, prepend_bos=prepend_bos, final_norm=False, layers=None, interventions=changes
    )


def _random(
    model: Any, texts: Texts, prepend_bos: bool, seed: int, notes: list[str], progress: Progress | None
) -> Sinks | None:
    """The same texts, or a part of them, in the same architecture with random weights."""
    try:
        twin = random_twin(model, seed=seed)
    except ModelError as error:
        notes.append(f"No random weights: {error}.")
        return None
    run = _run(twin, Texts(texts.tokens[:RANDOM_TEXTS], None), prepend_bos)
    return measure_sinks(run, label="random weights", progress=progress)
