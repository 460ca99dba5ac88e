"""Sinks: tokens whose vectors are far longer than others, where attention rests, and which blocks write them.

Attention-sink research says of large models that an MLP writes a long vector at position 0 in a few early
blocks, in a few dimensions, that attention rests there, and that it is erased before the end. This study
measures each part on the model at hand, and can answer that there is no sink.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from laminar_lens.arguments import checked
from laminar_lens.axes import Labels, Names, Progress, Prompts, Starts, Wholes
from laminar_lens.models.hooked import HookedModel
from laminar_lens.studies.options import GeometryLike, Interventions
from laminar_lens.studies.study import Answer, Study

if TYPE_CHECKING:
    import xarray as xr

    from laminar_lens.results import StudyResult
    from laminar_lens.studies.run import Run


@dataclass(frozen=True)
class Sinks(Study):
    """Whether position 0, or another token, is a sink: by length, attention and massive activations (S1–S6).

    Also which blocks write its long vector, and which erase it.
    """

    kind: ClassVar[str] = "sinks"
    title: ClassVar[str] = "Sink study"
    view: ClassVar[str] = "laminar_lens.studies.sinks.view:VIEW"
    without: ClassVar[Mapping[str, str]] = {"backend": "it measures lengths, and no kernel of angles runs"}
    n_texts: ClassVar[int] = 200

    def notes(self, run: "Run") -> list[str]:
        name = run.options.geometry_name
        if name == "raw":
            return []
        return [
            f"Lengths and activations are measured in the geometry {name!r}, not of residual "
            "vectors as they are; published thresholds were set for those.",
            "Who writes and who erases a sink (S4, S5b) refers to the geometry 'raw', where writes add up: "
            "not answered.",
        ]

    def measure(self, run: "Run") -> "xr.Dataset":
        from laminar_lens.studies.sinks.measure import measure

        return measure(run)

    @classmethod
    def merge(cls, parts: "Sequence[xr.Dataset]") -> "xr.Dataset":
        from laminar_lens.studies.sinks.merge import merged

        return merged(cls, parts)

    def answer(self, measured: "xr.Dataset") -> Answer:
        from laminar_lens.studies.sinks.answer import answer

        return answer(measured)


@checked(Sinks.without)
def sink_study(
    model: HookedModel,
    texts: Prompts = None,
    *,
    n_texts: int | None = None,
    length: int | None = None,
    document_starts: Starts = None,
    groups: Labels = None,
    prepend_bos: bool = False,
    final_norm: bool = False,
    layers: Wholes = None,
    seed: int = 0,
    random_init: bool = True,
    interventions: Interventions = None,
    geometry: GeometryLike = "raw",
    geometries: Names = None,
    progress: Progress | None = None,
) -> "StudyResult":
    """Whether position 0, or another token, is a sink: by length, by attention, by massive activations.

    Args:
        model: any causal TransformerLens model.
        texts, length, groups: as in `warmup_study`; attention is counted over texts of this length, 64 tokens
            by default as in the literature.
        n_texts: as in `warmup_study`; 200 where the model writes them.
        document_starts: cuts packed rows into their documents, as in `warmup_study`.
        prepend_bos: puts the model's BOS first; it is then position 0, and a text one token longer than
            `length` (give 63 to count attention over 64).
        final_norm: takes the last hidden state after the final norm; whether a sink is erased before is then
            not answered.
        layers: hidden states, all by default; attention and writes are those of the blocks that they come out
            of. Who writes a sink is answered where all layers up to the longest are measured, who erases it
            where all after it are.
        seed: of the texts, the bootstrap and the random twin.
        random_init: measure the same architecture with random weights beside it.
        interventions: change the run, as in `warmup_study`: one, a list, or a mapping name → list.
        geometry: in which lengths and activations are measured, as in `warmup_study`; attention does not
            depend on it. Who writes and erases a sink is answered in raw alone, where writes add up.
        geometries: also position 0's length in others: True for all, or some names; of the same passes.
        progress: called as `progress(label, done, total)`.

    There is no `backend`: lengths are measured, and no kernel of angles runs.

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
    from laminar_lens.results import StudyResult
    from laminar_lens.studies.drive import asked

    return asked(Sinks, StudyResult, model, texts, locals())
