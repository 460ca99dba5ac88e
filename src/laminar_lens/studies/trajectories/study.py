"""The trajectory study: words in the same sentences or in their own, in full and in a plane."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from laminar_lens.arguments import MOST_DRAWS, checked, shown
from laminar_lens.axes import Progress, Prompts
from laminar_lens.errors import InputError
from laminar_lens.models.hooked import HookedModel
from laminar_lens.prompts import check_target
from laminar_lens.studies.fields import TEXT, between, listed, option
from laminar_lens.studies.options import GeometryLike, Interventions
from laminar_lens.studies.study import BY_ITSELF, Answer
from laminar_lens.studies.target import SOUGHT, WHOLE_PROMPTS, AtTarget

if TYPE_CHECKING:
    import xarray as xr

    from laminar_lens.results import StudyResult
    from laminar_lens.studies.run import Run
    from laminar_lens.studies.trajectories.prompts import GroupedPrompts

PLACED = ("error", "first", "last")
"""Which occurrence is replaced; several at once would be no one trajectory."""
TARGET, INSTEAD = " her", (" him", " round")
LONGEST = 100
"""Letters of a word."""
FEWEST, MOST = 2, 50
"""Components of the PCA."""


def _words(flag: str, given: str) -> tuple[str, ...]:
    """`" him, round"` as (" him", " round"): what stands between commas, spaces and all."""
    return tuple(given.split(","))


@dataclass(frozen=True)
class Trajectories(AtTarget):
    """How far a word and others in its place are apart along the layers, and how much of it two axes show
    (T1–T3).

    One PCA over all layers and tokens; distances in full and in its plane, and how far trajectories turn.
    Words may have prompts of their own: --prompts FILE.json with {" her": ["…", …], " him": ["…", …]}.
    """

    kind: ClassVar[str] = "trajectories"
    title: ClassVar[str] = "Trajectory study"
    view: ClassVar[str] = "laminar_lens.studies.trajectories.view:VIEW"
    together: ClassVar[str] = "one PCA is fitted to all prompts, so that parts have axes of their own"
    without: ClassVar[Mapping[str, str]] = {
        **WHOLE_PROMPTS,
        **BY_ITSELF,
        "layers": "a trajectory runs through every layer",
    }
    in_groups: ClassVar[bool] = True
    command: ClassVar[str] = "laminar_lens.studies.trajectories.command:TrajectoryCommand"
    remeasured: ClassVar[tuple[str, ...]] = (*SOUGHT, "instead", "keep_first", "n_components")

    instead: Any = option(
        INSTEAD,
        'Words put in the target\'s place, between commas, with their spaces. Default: " him, round".',
        "TEXT,…",
        _words,
        kind=str,
        default=None,
        panel=TEXT,
    )
    keep_first: bool = option(False, "Position 0 is part of the PCA, too.", negated=False)
    n_components: int = option(3, "Axes of the PCA.", "N", between(FEWEST, MOST))
    n_perm: int = option(10_000, "Sign flips of each test.", "N", between(1, MOST_DRAWS))

    def __post_init__(self) -> None:
        if self.occurrence not in PLACED:
            raise InputError(
                f"occurrence {self.occurrence!r} is no one place for another word: use {listed(PLACED)}"
            )
        check_target(self.target)
        words = self.instead
        if isinstance(words, str) or not words:
            raise InputError(f"instead is {words!r}; expected other words, for example (' him', ' round')")
        given = shown(",".join(map(str, words)))
        _check_words("instead", words, f", and words have a comma between; given was {given}")
        if len({self.target, *words}) <= len(words):
            raise InputError(
                f"instead {list(words)!r} and target {self.target!r} repeat a word: groups differ"
            )
        if not FEWEST <= self.n_components <= MOST:
            raise InputError(f"n_components={self.n_components}; expected {FEWEST} … {MOST} axes")
        if self.n_perm < 1:
            raise InputError(f"n_perm={self.n_perm} draws no sign flip: give at least 1, usually 10000")

    def check_groups(self, words: Collection[Any]) -> None:
        """Refuses what is no word of a group, one group alone, and words that are given beside groups."""
        if len(words) < 2:
            raise InputError(
                f"prompts has {len(words)} group{'s' * (len(words) != 1)}; expected two or more by their "
                "words, for example {' her': [...], ' him': [...]}"
            )
        _check_words("prompts in group", words)
        for name, usual in {"target": TARGET, "instead": INSTEAD, "regex": False}.items():
            given = getattr(self, name)
            if (tuple(given) if isinstance(given, list) else given) != usual:
                given = ",".join(map(str, given)) if isinstance(given, list | tuple) else given
                raise InputError(
                    f"{name}={shown(given)} does not go with prompts in groups: the words are their names, "
                    f"{shown([*words])}"
                )

    def accepts(self, run: "Run") -> None:
        width = int(run.model.cfg.d_model)
        if width < self.n_components:
            raise InputError(f"n_components={self.n_components} for vectors of {width} numbers: give fewer")

    def plan(self, run: "Run", given: Prompts) -> "GroupedPrompts":
        """The prompts of each group, and where its word stands."""
        from laminar_lens.studies.trajectories.prompts import grouped, own_groups

        bos = int(run.options.prepend_bos)
        if isinstance(given, Mapping):
            found = own_groups(getattr(run.model, "tokenizer", None), given, self, bos=bos)
        else:
            sentences = super().plan(run, given)
            found = grouped(run.model.tokenizer, sentences, self, bos=bos)
        tokens = int(found.n_tokens.sum()) - (0 if self.keep_first else len(found.n_tokens))
        if tokens < self.n_components:
            raise InputError(
                f"the prompts have {tokens} tokens{'' if self.keep_first else ' behind position 0'}, fewer "
                f"than n_components={self.n_components}: give more prompts or fewer components"
            )
        return found

    def measure(self, run: "Run") -> "xr.Dataset":
        from laminar_lens.studies.trajectories.measure import measure

        return measure(run, keep_first=self.keep_first, n_components=self.n_components)

    def answer(self, measured: "xr.Dataset") -> Answer:
        from laminar_lens.studies.trajectories.answer import answer

        return answer(measured, n_perm=self.n_perm)

    def settings(self, measured: "xr.Dataset") -> dict[str, Any]:
        """With the words of the groups, where prompts were given by them."""
        target, *instead = measured["word"].values.tolist()
        own = {} if measured.attrs["paired"] else {"target": target, "instead": instead}
        return {**super().settings(measured), **own}


def _check_words(name: str, words: Collection[Any], more: str = "") -> None:
    for word in words:
        text = word if isinstance(word, str) else ""
        if not text.strip() or not text.isprintable() or len(text) > LONGEST:
            raise InputError(
                f"{name} {shown(word)}: a word has letters that can be printed, at most {LONGEST}{more}"
            )


@checked(Trajectories.without)
def trajectory_study(
    model: HookedModel,
    prompts: Prompts = None,
    *,
    target: Any = TARGET,
    instead: Any = INSTEAD,
    occurrence: Any = "error",
    regex: bool = False,
    keep_first: bool = False,
    n_components: int = 3,
    n_perm: int = 10_000,
    prepend_bos: bool = False,
    final_norm: bool = False,
    seed: int = 0,
    backend: str = "auto",
    interventions: Interventions = None,
    geometry: GeometryLike = "raw",
    progress: Progress | None = None,
) -> "StudyResult":
    """How far words are apart along the layers, in the same prompts or each in its own: in full, and in the
    plane of one PCA.

    Each prompt is measured once with the target and once with each other word in its place: a group of
    prompts a word, alike but for it. Groups are then compared prompt by prompt. Or prompts are given by the
    word of their group: then the means of groups are compared, without what chance adds to their distance.
    One PCA is fitted to the states of all layers and tokens of all groups (centred, not scaled;
    scikit-learn's, the incremental one above 2²⁵ numbers). A prompt is one observation. Intervals are those
    of the prompts, the axes being given.

    Args:
        model: any TransformerLens model with a tokenizer.
        prompts: as in `sequential_study`; or by the word that they have, `{" her": [...], " him": [...]}`,
            groups of two prompts or more each, of any sizes (target, instead and regex then are not given).
        target, occurrence, regex: as in `sequential_study`; "all" is no one place and refused.
        instead: the words of the other groups, as they stand in a text: a leading space counts.
        keep_first: position 0 is part of the PCA. Where it is a sink, it then is the first axis, and the
            figure says so.
        n_components: axes of the PCA, 2 to 50; the plane is that of the first two.
        n_perm: sign flips of prompts of the test of T2.
        prepend_bos, final_norm: as in `capture_residuals`; a BOS is position 0.
        seed: of the bootstrap and of sign flips.
        backend: of the kernels.
        interventions: change the run, as in `sequential_study`.
        geometry: in which vectors are measured, as in `sequential_study`.
        progress: called as (label, done, total).

    There is no `n_texts`, `length`, `groups` or `document_starts` (each prompt is one observation, as long as
    it is), no `layers` (a trajectory runs through all), no `random_init` and no `geometries`.

    Returns:
        A result of kind "trajectories" with claims T1–T3. Distances and coordinates are in the unit of the
        residual stream, relative distances over the mean of the two norms, in [0, 2]; the share that the
        plane leaves out (`hidden`) is 1 − (distance in the plane/distance in full)², in [0, 1]; turns are
        radians in [0, π] between successive steps. `mean_distance` and `mean_hidden` are of the groups' mean
        points, `published_distance` (in the plane) and `published_full` the same as published, with what
        chance adds. NaN where a distance or a step is zero, in the first and last layer for a turn along
        depth, and for a turn along positions where the target has no neighbour that is measured.

    Raises:
        InputError: an argument or prompt that does not fit, a group of one prompt, a prompt without the word
            of its group, fewer tokens than components; the message names it.
        CaptureError: an activation that is not finite.

    Sources: Jolliffe, Principal Component Analysis (2002); Hoeffding (1948) (distances of means).
    """
    from laminar_lens.results import StudyResult
    from laminar_lens.studies.drive import asked

    return asked(Trajectories, StudyResult, model, prompts, locals())
