"""The rotation study: how far a target turns from layer to layer, against the word before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from laminar_lens.arguments import checked
from laminar_lens.axes import Progress, Prompts, Wholes
from laminar_lens.errors import InputError
from laminar_lens.models.hooked import HookedModel
from laminar_lens.studies.fields import N_PERM, TAU, between, check_flips, option
from laminar_lens.studies.options import GeometryLike, Interventions
from laminar_lens.studies.study import Answer
from laminar_lens.studies.target import SOUGHT, WHOLE_PROMPTS, AtTarget

if TYPE_CHECKING:
    import xarray as xr

    from laminar_lens.results import StudyResult
    from laminar_lens.studies.run import Run

N_SHUFFLED, MOST_SHUFFLED = 20, 1000


@dataclass(frozen=True)
class Rotation(AtTarget):
    """How far a target turns from layer to layer, against the word before it and shuffled tokens (R1–R3).

    Also layer against layer, the run of blocks that turns a prompt's last token least, and block influence.
    """

    kind: ClassVar[str] = "rotation"
    title: ClassVar[str] = "Rotation study"
    view: ClassVar[str] = "laminar_lens.studies.rotation.view:VIEW"
    together: ClassVar[str] = "prompts differ in length, so that their tokens make no common table"
    without: ClassVar[Mapping[str, str]] = {
        **WHOLE_PROMPTS,
        "geometries": "it measures in one geometry; name it",
    }
    command: ClassVar[str] = "laminar_lens.studies.target:TargetCommand"
    remeasured: ClassVar[tuple[str, ...]] = (*SOUGHT, "n_shuffled")

    tau: float = option(0.05, *TAU)
    n_shuffled: int = option(N_SHUFFLED, "Shuffled tokens of each prompt.", "N", between(1, MOST_SHUFFLED))
    n_perm: int = option(10_000, *N_PERM)

    def __post_init__(self) -> None:
        from laminar_lens.stats.warmup import check_tau

        check_tau(self.tau)
        if not 1 <= self.n_shuffled <= MOST_SHUFFLED:
            raise InputError(f"n_shuffled={self.n_shuffled}; expected 1 … {MOST_SHUFFLED} tokens a prompt")
        check_flips(self.n_perm)

    def accepts(self, run: "Run") -> None:
        if run.layers == (0,):
            raise InputError("layers is 0 alone, the embedding, which has no layer before it: give others")

    def measure(self, run: "Run") -> "xr.Dataset":
        from laminar_lens.studies.rotation.measure import measure

        return measure(run, self.n_shuffled)

    def answer(self, measured: "xr.Dataset") -> Answer:
        from laminar_lens.studies.rotation.answer import answer

        return answer(measured, target=str(self.target), tau=self.tau, n_perm=self.n_perm)


@checked(Rotation.without)
def rotation_study(
    model: HookedModel,
    prompts: Prompts = None,
    *,
    target: Any = " her",
    occurrence: Any = "error",
    regex: bool = False,
    tau: float = 0.05,
    n_shuffled: int = N_SHUFFLED,
    n_perm: int = 10_000,
    prepend_bos: bool = False,
    final_norm: bool = False,
    layers: Wholes = None,
    seed: int = 0,
    random_init: bool = True,
    backend: str = "auto",
    interventions: Interventions = None,
    geometry: GeometryLike = "raw",
    progress: Progress | None = None,
) -> "StudyResult":
    """How far a target turns from one layer to the next, against the word before it and against shuffled
    tokens; layer against layer; and which blocks turn a prompt's last token least.

    The rotation of layer l is the angle between a token's vector there and in the layer before, so that it
    belongs to block l − 1. Of a shuffled pair the second vector is another token's of the same prompt, drawn
    once for all layers and never padding. The first and the last block are told apart from those between,
    and not averaged in; the mean over every block, as it was published, stands beside.

    Args:
        model: any TransformerLens model with a tokenizer.
        prompts: as in `sequential_study`.
        target, occurrence, regex: as in `sequential_study`; with "all", a prompt's occurrences are averaged.
        tau: the target and the word before it turn alike where they differ by less, in radians.
        n_shuffled: shuffled tokens of each target.
        n_perm: sign flips of the test by layer.
        prepend_bos, final_norm: as in `capture_residuals`; the last block's rotation then includes the norm.
        layers: hidden states, all by default; each is compared with the one before it, which is read too.
        seed: of the shuffled tokens, the bootstrap, the sign flips and the random twin.
        random_init: also the target's rotation in the same architecture with random weights.
        backend: of the angle kernels.
        interventions: change the run, as in `sequential_study`.
        geometry: in which angles are measured, as in `sequential_study`.
        progress: called as (label, done, total).

    There is no `n_texts`, `length`, `groups` or `document_starts` (each prompt is one observation, as long as
    it is), and no `geometries`.

    Returns:
        A result of kind "rotation" with claims R1a–R3. Rotations are radians in [0, π]; a pruning distance is
        the angle between two layers' vectors of a prompt's last token over π, in [0, 1]; block influence is 1
        minus the mean cosine, in [0, 2]. NaN where a vector is zero.

    Raises:
        InputError: an argument or prompt that does not fit; the message names it.
        CaptureError: an activation that is not finite.

    Source: arXiv 2403.17887 (pruning distance), arXiv 2403.03853, equation 1 (block influence).
    """
    from laminar_lens.results import StudyResult
    from laminar_lens.studies.drive import asked

    return asked(Rotation, StudyResult, model, prompts, locals())
