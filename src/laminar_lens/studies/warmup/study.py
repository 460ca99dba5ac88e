"""How many first tokens to leave out of a statistic on this model: measured on texts, answered in one
sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from laminar_lens.arguments import checked
from laminar_lens.axes import Labels, Names, Progress, Prompts, Starts, Wholes, Window
from laminar_lens.errors import InputError
from laminar_lens.models.hooked import HookedModel
from laminar_lens.studies.fields import TAU, option
from laminar_lens.studies.options import USUAL_TEXTS, GeometryLike, Interventions
from laminar_lens.studies.study import Answer, Study
from laminar_lens.studies.warmup.command import window

if TYPE_CHECKING:
    import xarray as xr

    from laminar_lens.studies.run import Run
    from laminar_lens.studies.warmup.result import WarmupResult


@dataclass(frozen=True)
class Warmup(Study):
    """How many first tokens to leave out of a statistic on this model, or that it cannot be told."""

    kind: ClassVar[str] = "warmup"
    title: ClassVar[str] = "Warm-up study"
    view: ClassVar[str] = "laminar_lens.studies.warmup.view:VIEW"
    result: ClassVar[str] = "laminar_lens.studies.warmup.result:WarmupResult"
    without: ClassVar[Mapping[str, str]] = {}
    n_texts: ClassVar[int] = USUAL_TEXTS
    command: ClassVar[str] = "laminar_lens.studies.warmup.command:WarmupCommand"
    remeasured: ClassVar[tuple[str, ...]] = ("reference",)

    tau: float = option(0.05, *TAU)
    reference: Window = option(
        None,
        "Pairs that the others are compared with: 42-62, or last-half. Default: the last third.",
        "A-B",
        window,
    )

    def __post_init__(self) -> None:
        from laminar_lens.stats.warmup import check_tau

        check_tau(self.tau)

    def check(self, run: "Run") -> None:
        from laminar_lens.stats.warmup import reference_pairs

        reference_pairs(run.tokens.shape[1] + int(run.options.prepend_bos) - 1, self.reference)

    def measure(self, run: "Run") -> "xr.Dataset":
        from laminar_lens.studies.warmup.measure import measure

        return measure(run, self.reference)

    def answer(self, measured: "xr.Dataset") -> Answer:
        from laminar_lens.studies.warmup.answer import answer

        return answer(measured, self.tau)

    @classmethod
    def merge(cls, parts: "Sequence[xr.Dataset]") -> "xr.Dataset":
        from laminar_lens.studies.geometries import MOST_TEXTS
        from laminar_lens.studies.merge import by_text
        from laminar_lens.studies.warmup.measure import RANDOM_TEXTS, VECTOR_TEXTS

        if (n := parts[0].sizes["text"]) < VECTOR_TEXTS:
            raise InputError(
                f"part 0 of a warmup study has {n} texts, and means of vectors are measured on the first "
                f"{VECTOR_TEXTS}: begin with a part of so many"
            )
        most = {"random_text": RANDOM_TEXTS, "compared_text": MOST_TEXTS}
        return by_text(
            cls, parts, dict.fromkeys(("vector_costs", "vector_text"), lambda parts: parts[0]), most
        )

    def settings(self, measured: "xr.Dataset") -> dict[str, Any]:
        return {"tau": self.tau, "reference": list(measured.attrs["window"])}


@checked()
def warmup_study(
    model: HookedModel,
    texts: Prompts = None,
    *,
    n_texts: int | None = None,
    length: int | None = None,
    document_starts: Starts = None,
    tau: float = 0.05,
    reference: Window = None,
    groups: Labels = None,
    prepend_bos: bool = False,
    final_norm: bool = False,
    layers: Wholes = None,
    seed: int = 0,
    random_init: bool = True,
    backend: str = "auto",
    interventions: Interventions = None,
    geometry: GeometryLike = "raw",
    geometries: Names = None,
    progress: Progress | None = None,
) -> "WarmupResult":
    """How many first tokens stand apart from the rest of their texts: exact, bracketed,
    undetermined, or drift.

    Decided by δ, the mean over texts of a pair's angle minus that of the same text's reference pairs. The
    paired shift, the same bigram first and deep inside its text, is reported beside it and decides nothing.

    Args:
        model: any causal TransformerLens model.
        texts: "passages" (the default): windows of the 480 English `passages`, each from a random token on;
            "sampled": the model writes them (novella's default). Or your own: texts (the first `length`
            tokens of each), token ids [text pos], padded as in `capture_residuals`, or the path of a file
            with one text a line, of .json, .jsonl or .parquet (Path("FILE:FIELD") where the field is not
            "text"), of one of these as .gz, or of a data set's folder; of several text files, each is one
            text, and its windows are one group.
        n_texts: how many passages, all by default, or how many texts the model writes, 1,200 by default.
        length: tokens a text; 64 by default, or what the context allows, or the width of token ids
            without padding.
        document_starts: where documents start in packed rows: a token id (the first token of a document), or
            for token ids bool [text pos]. Each document is then measured as a text by itself: positions count
            from its start, and no attention crosses documents. The first token of a row always starts one.
        tau: differences below this, in radians, do not matter; between 0 and π.
        reference: pairs that all others are compared with: "last third" (default), "last half",
            "last quarter", a slice, or (first, stop).
        groups: one label a text; texts of one group count as one observation.
        prepend_bos, final_norm, layers: as in `capture_residuals`; with a BOS, position 0 is the BOS.
        seed: of the texts, the bootstrap, the random twin and the split of the texts.
        random_init: measure the same architecture with random weights beside it.
        backend: kernel of the angles.
        interventions: one, a list (applied together), or a mapping from names to lists, such as
            `[cut(5), restart(5)]`; the same texts are measured again under each, beside the condition
            "plain". Texts are always written by the model as it is.
        geometry: in which angles are measured: a name of `laminar_lens.geometry.GEOMETRIES`, fitted on texts
            of its own where it needs any, or what `fit_geometry` returned.
        geometries: also how the headline changes with the geometry: True for all, or some names; computed on
            at most 200 texts, one pass for all.
        progress: called as `progress(label, done, total)`.

    Raises:
        InputError: an argument that does not fit, fewer than 2 independent texts of that length, or texts
            that mostly repeat each other or are unknown tokens (fewer repeats count once, and are said).

    Source: docs/definition.md, §3.
    """
    from laminar_lens.studies.drive import asked
    from laminar_lens.studies.warmup.result import WarmupResult

    return asked(Warmup, WarmupResult, model, texts, locals())
