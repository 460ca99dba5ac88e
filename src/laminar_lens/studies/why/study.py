"""Why first pairs stand apart: decided by cutting the context, restarting positions, or both."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from laminar_lens.arguments import checked
from laminar_lens.axes import Labels, Names, Progress, Prompts, Starts, Wholes
from laminar_lens.errors import InputError
from laminar_lens.models.hooked import HookedModel
from laminar_lens.studies.fields import TAU, TEXT, option
from laminar_lens.studies.options import GeometryLike, Interventions
from laminar_lens.studies.study import Answer, Study
from laminar_lens.studies.why.command import places as read_places

if TYPE_CHECKING:
    import xarray as xr

    from laminar_lens.studies.run import Run
    from laminar_lens.studies.texts import Texts
    from laminar_lens.studies.why.result import WhyResult

"""Simultaneous intervals of ±0.04 rad where a bigram's angle moves by 0.3 rad (sd): an effect of 2τ shows."""


@dataclass(frozen=True)
class Why(Study):
    """Why first pairs stand apart: position, context, either, jointly, none or undetermined (claim C8).

    The same two tokens are measured inside a text as they are, with their context cut off, with restarted
    positions, and both.
    """

    kind: ClassVar[str] = "why"
    title: ClassVar[str] = "Why-study"
    view: ClassVar[str] = "laminar_lens.studies.why.view:VIEW"
    result: ClassVar[str] = "laminar_lens.studies.why.result:WhyResult"
    together: ClassVar[str] = "texts exchange their beginnings with each other"
    without: ClassVar[Mapping[str, str]] = {
        "prepend_bos": "a pair with a BOS has no counterpart inside a text"
    }
    n_texts: ClassVar[int] = 400
    least: ClassVar[int] = 4  # texts exchange their beginnings
    command: ClassVar[str] = "laminar_lens.studies.why.command:WhyCommand"
    remeasured: ClassVar[tuple[str, ...]] = ("at",)

    tau: float = option(0.05, *TAU)
    at: Wholes = option(
        None,
        "Positions of the pair inside a text, for example 42-62. Default: the last third of a text.",
        "LIST",
        read_places,
        panel=TEXT,
    )

    def __post_init__(self) -> None:
        from laminar_lens.stats.warmup import check_tau

        check_tau(self.tau)

    def accepts(self, run: "Run") -> None:
        from laminar_lens.models.edits import check_interventions

        for one in run.changes:
            if not one.everywhere:
                raise InputError(
                    f"{one.label} does not treat all positions of any text alike, but a why-study moves "
                    "texts, and cuts and restarts them itself: give remove_dimensions, remove_write or "
                    "scale_norm without positions"
                )
        check_interventions(run.model, run.changes, [2])

    def texts(self, run: "Run", given: Prompts) -> "Texts":
        from laminar_lens.studies.texts import chosen_texts
        from laminar_lens.studies.why.places import reach

        return chosen_texts(
            run.model,
            given,
            run.options,
            run.notes,
            run.progress,
            usual=self.n_texts,
            reach=lambda n: reach(self.at, n),
        )

    def check(self, run: "Run") -> None:
        from laminar_lens.studies.why.places import exchange, places

        places(self.at, run.tokens.shape[1])
        exchange(len(run.tokens), run.groups, run.options.seed)

    def measure(self, run: "Run") -> "xr.Dataset":
        from laminar_lens.studies.why.measure import measure

        return measure(run, self.at)

    def answer(self, measured: "xr.Dataset") -> Answer:
        from laminar_lens.studies.why.answer import answer

        return answer(measured, self.tau)

    def settings(self, measured: "xr.Dataset") -> dict[str, Any]:
        from laminar_lens.stats.warmup import reference_pairs
        from laminar_lens.studies.why.places import places

        window = reference_pairs(measured.sizes["pos"] - 1)
        applies = measured.attrs["has_positions"]
        return {
            "at": places(self.at, measured.sizes["pos"]).tolist(),
            "reference": [window.start, window.stop],
            "tau": self.tau,
            "prepend_bos": False,
            "cells": ["cut(t)", *(["restart(t)"] if applies else [])],
            "position_factor": "applicable" if applies else "not applicable",
        }


@checked(Why.without)
def why_study(
    model: HookedModel,
    texts: Prompts = None,
    *,
    n_texts: int | None = None,
    length: int | None = None,
    document_starts: Starts = None,
    at: Wholes = None,
    tau: float = 0.05,
    groups: Labels = None,
    final_norm: bool = False,
    layers: Wholes = None,
    seed: int = 0,
    random_init: bool = True,
    backend: str = "auto",
    interventions: Interventions = None,
    geometry: GeometryLike = "raw",
    geometries: Names = None,
    progress: Progress | None = None,
) -> "WhyResult":
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
        texts: as in `warmup_study`: the passages by default.
        n_texts: as in `warmup_study`; 400 where the model writes them.
        length: tokens a text; 64 by default, or what the context allows, or the width of token ids
            without padding.
        document_starts: cuts packed rows into their documents, as in `warmup_study`.
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
        interventions: as in `warmup_study`, such as `remove_write("mlp", 2)`: all four cells are measured
            again under each, beside `cut` and `restart`. Texts are moved to other places here, so only
            interventions that treat all positions alike make sense.
        geometry: as in `warmup_study`: in which angles are measured.
        geometries: also how E11 changes with the geometry: True for all, or some names; of the same passes.
        progress: called as `progress(label, done, total)`.

    Raises:
        InputError: an argument that does not fit, fewer than 4 independent texts of that length, or texts
            that mostly repeat each other or are unknown tokens.
        CaptureError: a vector is not finite, or cut + restart is not the plain run of the text alone.

    Source: docs/definition.md, §4.
    """
    from laminar_lens.studies.drive import asked
    from laminar_lens.studies.why.result import WhyResult

    return asked(Why, WhyResult, model, texts, locals())
