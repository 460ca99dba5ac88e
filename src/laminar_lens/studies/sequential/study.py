"""The sequential-angle study: the target, its baselines, fixed positions, and the published claims."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from laminar_lens.arguments import MOST_DRAWS, checked
from laminar_lens.axes import Names, Progress, Prompts, Wholes
from laminar_lens.models.hooked import HookedModel
from laminar_lens.studies.fields import N_PERM, between, check_flips, option
from laminar_lens.studies.options import MOST, MOST_TEXTS, GeometryLike, Interventions
from laminar_lens.studies.sequential.command import Part, baseline, part, texts_outside
from laminar_lens.studies.study import Answer
from laminar_lens.studies.target import SOUGHT, AtTarget
from laminar_lens.studies.warmup.study import Warmup

if TYPE_CHECKING:
    import xarray as xr

    from laminar_lens.results import StudyResult
    from laminar_lens.studies.run import Run
    from laminar_lens.studies.sequential.plan import Plan, Settings

N_DONORS = 128


@dataclass(frozen=True)
class Sequential(AtTarget):
    """The sequential-angle study: a target token's turn against baselines, and the claims made about it."""

    kind: ClassVar[str] = "sequential"
    title: ClassVar[str] = "Sequential-angle study"
    view: ClassVar[str] = "laminar_lens.studies.sequential.view:VIEW"
    together: ClassVar[str] = "pairs are drawn for the prompts together"
    command: ClassVar[str] = "laminar_lens.studies.sequential.command:SequentialCommand"
    remeasured: ClassVar[tuple[str, ...]] = (
        *SOUGHT,
        *("skip", "n_draws", "donors", "n_donors", "warmup"),
    )

    baseline: Any = option(
        "published", "Pairs to compare with: published, adjacent, matched or by_position.", "NAME", baseline
    )
    skip: Any = option(
        0, "Leave the first K positions out of every baseline.", "K", between(0, MOST), kind=int
    )
    n_draws: int = option(200, "Draws of each random baseline.", "N", between(1, MOST_DRAWS))
    n_perm: int = option(10_000, *N_PERM)
    donors: Prompts = option(
        None,
        "Texts for the matched baseline, none of them a prompt: passages, sampled or a file. Default: those "
        "of the warm-up.",
        "NAME|FILE[:FIELD]",
        texts_outside,
    )
    n_donors: int = option(
        N_DONORS, "Donors that the model writes where no warm-up does.", "N", between(1, MOST_TEXTS)
    )
    warmup: Any = option(None, "Also how many first tokens to leave out.", read=part, kind=bool, default=True)

    def chosen(self, run: "Run") -> "Settings":
        """What decides which pairs are compared."""
        from laminar_lens.studies.sequential.plan import Settings

        seed, bos = run.options.seed, run.options.prepend_bos
        return Settings(
            self.target, self.occurrence, self.regex, self.baseline, self.skip, seed, bos, self.n_draws
        )

    def __post_init__(self) -> None:
        from laminar_lens.pairs import check_baseline

        check_baseline(self.baseline)
        check_flips(self.n_perm)

    def plan(self, run: "Run", given: Prompts) -> "Plan":
        from laminar_lens.studies.sequential.plan import make_plan

        return make_plan(getattr(run.model, "tokenizer", None), given, self.chosen(run))

    def check(self, run: "Run") -> None:
        from laminar_lens.studies.sequential.texts import check_warmup_texts

        if self.warmup is None or self.warmup is True or isinstance(self.warmup, Part):
            check_warmup_texts(run.model)

    def measure(self, run: "Run") -> "xr.Dataset":
        from laminar_lens.studies.sequential.measure import measure

        return measure(run, self)

    def joined(self, measured: "xr.Dataset", parts: "Mapping[str, xr.Dataset]") -> "xr.Dataset":
        from laminar_lens.studies.sequential.beside import with_warmup

        return with_warmup(measured, parts.get(Warmup.kind))

    def answer(self, measured: "xr.Dataset") -> Answer:
        from laminar_lens.studies.sequential.answer import answer

        return answer(measured, self.baseline, self.n_perm)

    def settings(self, measured: "xr.Dataset") -> dict[str, Any]:
        return {
            "target": self.target,
            "occurrence": self.occurrence,
            "regex": self.regex,
            "baseline": self.baseline,
            "skip": self.skip,
            "seed": measured.attrs["seed"],
            "n_draws": self.n_draws,
            "n_perm": self.n_perm,
            **measured.attrs["donors"],
            "warmup": "warmup" in measured.attrs,
        }


@checked(Sequential.without)
def sequential_study(
    model: HookedModel,
    prompts: Prompts = None,
    *,
    target: Any = " her",
    occurrence: Any = "error",
    regex: bool = False,
    baseline: Any = "published",
    skip: Any = 0,
    donors: Prompts = None,
    n_donors: int = N_DONORS,
    warmup: Any = None,
    n_draws: int = 200,
    n_perm: int = 10_000,
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
) -> "StudyResult":
    """Measure a target's sequential angle against its baselines, layer by layer, and answer the claims C1–C7.

    Args:
        model: any TransformerLens model with a tokenizer.
        prompts: independent texts; each is one observation, but for those that repeat another (all of their
            tokens, or all but one in sixteen and the target's), which are left out and counted. None: the 54
            sentences around " her" that the command measures, too.
        target: text or regular expression; the pair is (token before, first token of the target).
        occurrence: "error" wants one occurrence a prompt; "first" and "last" choose, "all" averages.
        baseline: "published", "adjacent", "matched" or "by_position": the one whose modes are analysed. All
            are compared with the target.
        skip: leaves out pairs that begin in the first `skip` positions.
        donors: texts, or token ids [text pos], from outside the study for `matched`; by default the texts of
            the warm-up part, or, without it, `n_donors` passages ("passages"), or texts that the model
            writes ("sampled": novella's, and where the passages do not fit). Each prompt has donors of its
            own, at least two where they are not given.
        warmup: an earlier `warmup_study` of this model, None to run one, False to leave it out (C7 is then
            undetermined).
        n_draws: seeded draws of each random baseline; the first is the published single draw.
        n_perm: sign flips of each test.
        prepend_bos: puts the model's BOS at position 0.
        final_norm: takes the last hidden state after the final norm, as the original did.
        layers: hidden states, all by default.
        seed: of every random draw; the same seed gives the same numbers.
        random_init: also measures the same architecture with random weights.
        backend: of the angle kernels.
        interventions: one, a list (applied together), or a mapping from names to lists, such as
            `[cut(5), restart(5)]`; prompts, donors and warm-up are measured again under each, on an axis
            `intervention` with "plain" first. Texts are always written by the model as it is.
        geometry: in which angles are measured: a name of `laminar_lens.geometry.GEOMETRIES`, fitted on texts
            of its own where it needs any, or what `fit_geometry` returned.
        geometries: also how the headline changes with the geometry: True for all, or some names; computed on
            at most 200 texts, one pass for all, and fitted on passages (where the model reads none of them,
            on what it writes).
        progress: called as (label, done, total).

    There is no `n_texts` and no `length` (all prompts are measured, as long as they are), no `groups` and no
    `document_starts` (each prompt is one observation and one document).

    Returns:
        A result of kind "sequential". Angles are radians in [0, π]; NaN where a prompt has no such pair.

    Raises:
        InputError: an argument or prompt that does not fit; the message names it.
        CaptureError: an activation that is not finite.
    """
    from laminar_lens.results import StudyResult
    from laminar_lens.studies.drive import asked

    return asked(Sequential, StudyResult, model, prompts, locals())
