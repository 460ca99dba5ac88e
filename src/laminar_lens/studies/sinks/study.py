"""Sinks: tokens whose vectors are far longer than others, where attention rests, and which blocks write them.

Attention-sink research says of large models that an MLP writes a long vector at position 0 in a few early
blocks, in a few dimensions, that attention rests there, and that it is erased before the end. This study
measures each part on the model at hand, and can answer that there is no sink.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from laminar_lens.arguments import checked
from laminar_lens.axes import Progress
from laminar_lens.studies.study import EVERY_OPTION, Answer, Study

if TYPE_CHECKING:
    import xarray as xr

    from laminar_lens.results import StudyResult
    from laminar_lens.studies.run import Run

DEFAULT_TEXTS = 200


@dataclass(frozen=True)
class Sinks(Study):
    """Whether position 0, or another token, is a sink: by length, attention and massive activations (S1–S6).

    Also which blocks write its long vector, and which erase it.
    """

    kind: ClassVar[str] = "sinks"
    title: ClassVar[str] = "Sink study"
    view: ClassVar[str] = "laminar_lens.studies.sinks.view:VIEW"
    options: ClassVar[tuple[str, ...]] = tuple(
        name for name in EVERY_OPTION if name not in ("final_norm", "layers", "backend", "geometries")
    )
    n_texts: ClassVar[int] = DEFAULT_TEXTS

    def notes(self, run: "Run") -> list[str]:
        given = run.options.geometry
        name = given if isinstance(given, str) else given.name
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


@checked()
def sink_study(
    model: Any,
    texts: Any = None,
    *,
    n_texts: int | None = None,
    length: int | None = None,
    document_starts: Any = None,
    groups: Any = None,
    prepend_bos: bool = False,
    seed: int = 0,
    random_init: bool = True,
    interventions: Any = None,
    geometry: Any = "raw",
    progress: Progress | None = None,
) -> "StudyResult":
    """Whether position 0, or another token, is a sink: by length, by attention, by massive activations.

    Every hidden state and block is measured, before the final norm.

    Args:
        model: any causal TransformerLens model.
        texts, length, groups: as in `warmup_study`; attention is counted over texts of this length, 64 tokens
            by default as in the literature.
        n_texts: as in `warmup_study`; 200 where the model writes them.
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
    from laminar_lens.studies.drive import run

    return run(
        Sinks(),
        model,
        texts,
        n_texts=n_texts,
        length=length,
        document_starts=document_starts,
        groups=groups,
        prepend_bos=prepend_bos,
        seed=seed,
        random_init=random_init,
        interventions=interventions,
        geometry=geometry,
        progress=progress,
    )
