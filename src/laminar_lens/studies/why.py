"""Why first pairs stand apart: decided by cutting the context, restarting positions, or both."""

import json
from typing import Any, ClassVar

import torch

from laminar_lens.axes import Progress
from laminar_lens.errors import InputError
from laminar_lens.interventions import restart
from laminar_lens.kernels import resolve_backend
from laminar_lens.models import processing_note
from laminar_lens.models.forward import check_model
from laminar_lens.models.info import check_final_norm, describe
from laminar_lens.models.sample import check_seed
from laminar_lens.models.selection import layer_indices
from laminar_lens.results import StudyResult, Summary, label_dataset, make_provenance
from laminar_lens.results.effects import effect_rows
from laminar_lens.stats.warmup import check_tau, reference_pairs
from laminar_lens.studies.warmup_texts import chosen_texts
from laminar_lens.studies.why_dataset import answer_dataset
from laminar_lens.studies.why_measurement import exchange, measure, places, random_effects

DEFAULT_TEXTS = 400
"""Simultaneous intervals of ±0.04 rad where a bigram's angle moves by 0.3 rad (sd): an effect of 2τ shows."""


class WhyResult(StudyResult):
    """The answer of `why_study`: what makes first pairs stand apart, by layer and over all layers."""

    study: ClassVar[str | None] = "why"

    @property
    def verdict(self) -> str:
        """ "position", "context", "either", "jointly", "none" or "undetermined"."""
        return str(self.dataset.attrs["verdict"])

    @property
    def found(self) -> list[dict[str, Any]]:
        """What the verdict rests on: layers named by half of the texts, with E11, E10 and E01 (rad, 95%
        intervals) as the other half has them; at most one entry a direction."""
        return list(json.loads(self.dataset.attrs["found"]))

    @property
    def by_layer(self) -> list[dict[str, Any]]:
        """Verdict, sign and every effect, one dictionary a layer; intervals are simultaneous."""
        return effect_rows(self.dataset)

    def summary(self) -> Summary:
        """As every study's, with the effects by layer under `effects`."""
        return Summary({**super().summary(), "effects": self.by_layer})


def why_study(
    model: Any,
    texts: Any = None,
    *,
    n_texts: int = DEFAULT_TEXTS,
    length: int | None = None,
    at: Any = None,
    tau: float = 0.05,
    groups: Any = None,
    final_norm: bool = False,
    layers: Any = None,
    seed: int = 0,
    random_init: bool = True,
    backend: str = "auto",
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
        length: tokens a text, 64 by default (or what the context or the given ids allow).
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
        progress: called as `progress(label, done, total)`.

    Raises:
        InputError: an argument that does not fit, or fewer than 4 independent texts of that length.
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
    notes = [note] if (note := processing_note(model)) else []
    chosen = chosen_texts(model, texts, n_texts, length, groups, False, seed, notes, progress)
    n, width = chosen.tokens.shape
    where = places(at, width).tolist()
    swapped = exchange(n, chosen.groups, seed)
    has_positions = _can_restart(model, notes)
    how = {
        "at": at,
        "has_positions": has_positions,
        "final_norm": final_norm,
        "backend": backend,
        "seed": seed,
    }
    cells = measure(model, chosen.tokens, swapped, wanted, **how, progress=progress)
    random = (
        random_effects(model, chosen.tokens, wanted, notes, **how, progress=progress) if random_init else {}
    )
    dataset, said = answer_dataset(
        cells,
        swapped,
        chosen.tokens.numpy(),
        chosen.groups,
        wanted,
        tau=tau,
        has_positions=has_positions,
        random=random,
        seed=seed,
        notes=notes,
    )
    window = reference_pairs(width - 1)
    settings = {
        "texts": "written by the model" if texts is None else "given",
        "n_texts": n,
        "length": width,
        "at": where,
        "reference": [window.start, window.stop],
        "tau": tau,
        "grouped": chosen.groups is not None,
        "position_factor": dataset.attrs["position_factor"],
        "prepend_bos": False,
        "final_norm": final_norm,
        "layers": list(wanted),
        "random_init": random_init,
    }
    info = {**describe(model).as_dict(), "prepend_bos": False, "final_norm": final_norm}
    provenance = make_provenance(
        info, settings, backend=cells.backend, seed=seed, texts=chosen.tokens.numpy()
    )
    return WhyResult(
        label_dataset(
            dataset,
            study="why",
            sentence=said,
            provenance=provenance | {"interventions": ["cut(t)"] + ["restart(t)"] * has_positions},
            settings=settings,
            warnings=notes,
        )
    )


def _can_restart(model: Any, notes: list[str]) -> bool:
    """Whether the model adds positional embeddings; that there is no other position in it is checked by the
    identity at run time."""
    try:
        restart(1).check(model, 3)
    except InputError as error:
        notes.append(f"The position factor is not applicable, so position is no possible answer: {error}.")
        return False
    return True
