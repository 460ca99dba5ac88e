"""The path study: how far tokens travel along the layers, and whether it goes with the next token's logit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from laminar_lens.arguments import checked
from laminar_lens.axes import Labels, Progress, Prompts, Starts
from laminar_lens.models.hooked import HookedModel
from laminar_lens.studies.fields import N_PERM, check_flips, option
from laminar_lens.studies.options import GeometryLike, Interventions
from laminar_lens.studies.study import BY_ITSELF, Answer, Study

if TYPE_CHECKING:
    import xarray as xr

    from laminar_lens.results import StudyResult
    from laminar_lens.studies.run import Run


@dataclass(frozen=True)
class Paths(Study):
    """How far tokens travel along the layers, how straight, and whether their norm grows (P3).

    Also whether a path's length goes with the logit (P1) or the log-probability (P2) of the true next token.
    """

    kind: ClassVar[str] = "paths"
    title: ClassVar[str] = "Path study"
    view: ClassVar[str] = "laminar_lens.studies.paths.view:VIEW"
    without: ClassVar[Mapping[str, str]] = {
        **BY_ITSELF,
        "layers": "a path runs through every layer",
    }
    n_texts: ClassVar[int] = 200

    n_perm: int = option(10_000, *N_PERM)

    def __post_init__(self) -> None:
        check_flips(self.n_perm)

    def notes(self, run: "Run") -> list[str]:
        name = run.options.geometry_name
        if name == "raw":
            return []
        return [
            f"Steps, paths and norms are measured in the geometry {name!r}; the next token's logit does not "
            "depend on it."
        ]

    def measure(self, run: "Run") -> "xr.Dataset":
        from laminar_lens.studies.paths.measure import measure

        return measure(run)

    def answer(self, measured: "xr.Dataset") -> Answer:
        from laminar_lens.studies.paths.answer import answer

        return answer(measured, n_perm=self.n_perm)


@checked(Paths.without)
def path_study(
    model: HookedModel,
    texts: Prompts = None,
    *,
    n_texts: int | None = None,
    length: int | None = None,
    document_starts: Starts = None,
    groups: Labels = None,
    n_perm: int = 10_000,
    prepend_bos: bool = False,
    final_norm: bool = False,
    seed: int = 0,
    backend: str = "auto",
    interventions: Interventions = None,
    geometry: GeometryLike = "raw",
    progress: Progress | None = None,
) -> "StudyResult":
    """How far tokens travel from layer to layer, how straight, and whether that goes with how well the next
    token is predicted.

    A step is the distance between a token's vectors in a layer and in the one before; a path is the sum of
    its steps, its displacement the distance from the embedding, and tortuosity path over displacement: 1 on a
    straight line. A relative step is over the norm of the vector that it leaves.

    A text's positions are correlated by themselves: path length with the logit, and with the log-probability,
    of the token that comes next. What is said is the mean over texts, each counted once, with its interval;
    the correlation over the tokens of all texts at once, as it was published, stands beside without one. Held
    fixed are the unigram log-probabilities, counted in these texts, of the token and of the next.

    Args:
        model: any causal TransformerLens model.
        texts, length, groups: as in `warmup_study`.
        n_texts: as in `warmup_study`; 200 where the model writes them.
        document_starts: cuts packed rows into their documents, as in `warmup_study`.
        n_perm: sign flips of the test of all correlations.
        prepend_bos: puts the model's BOS first; it then is position 0.
        final_norm: takes the last hidden state after the final norm, which is then part of the last step.
        seed: of the texts, the bootstrap and the sign flips.
        backend: of the kernels.
        interventions: change the run, and so the logits, as in `warmup_study`.
        geometry: in which lengths are measured, as in `warmup_study`; logits do not depend on it.
        progress: called as `progress(label, done, total)`.

    There is no `layers` (a path runs through all), no `random_init` and no `geometries`.

    Returns:
        A result of kind "paths" with claims P1a–P3. Lengths are in the unit of the residual stream, logits as
        the model gives them, log-probabilities in nats. NaN at the last position, which has no next token;
        where a displacement or a norm is 0; and for a correlation of fewer than 4 positions (6 with
        frequencies held fixed), or of what does not vary.

    Raises:
        InputError: an argument that does not fit, fewer than 2 texts of that length, or texts that mostly
            repeat each other or are unknown tokens.
        ModelError: logits that are not the unembedding of the normed last state.
    """
    from laminar_lens.results import StudyResult
    from laminar_lens.studies.drive import asked

    return asked(Paths, StudyResult, model, texts, locals())
