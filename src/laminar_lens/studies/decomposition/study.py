"""Each block's step as what attention and the MLP write: how the two writes meet, and what they do.

A step is attention's write plus the MLP's; that they add up is checked in every pass. Of each: its length,
how much of it lengthens the residual and how much turns it, its angle with the residual and with the step; of
the two together, their cosine, against writes from other tokens of the same layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from laminar_lens.arguments import checked, flag, whole
from laminar_lens.axes import Labels, Progress, Prompts, Starts, Wholes
from laminar_lens.errors import InputError
from laminar_lens.models.hooked import HookedModel
from laminar_lens.studies.fields import between, option
from laminar_lens.studies.options import MOST, GeometryLike, Interventions
from laminar_lens.studies.study import Answer, Study

if TYPE_CHECKING:
    import xarray as xr

    from laminar_lens.geometry import Geometry
    from laminar_lens.results import StudyResult
    from laminar_lens.studies.run import Run

BODY_FROM = 1


@dataclass(frozen=True)
class Decomposition(Study):
    """What attention and the MLP write in each step: their cosine, lengths, and how far they turn (W1–W4).

    Against writes from other tokens of the same layer.
    """

    kind: ClassVar[str] = "decomposition"
    title: ClassVar[str] = "Decomposition study"
    view: ClassVar[str] = "laminar_lens.studies.decomposition.view:VIEW"
    without: ClassVar[Mapping[str, str]] = {
        "random_init": "it compares with writes from other tokens",
        "geometries": "it measures in one geometry at a time",
        "backend": "it measures inner products, and no kernel of angles runs",
        "final_norm": "a step ends at the output of its block, before the final norm",
    }
    n_texts: ClassVar[int] = 200
    command: ClassVar[str] = "laminar_lens.studies.decomposition.command:DecompositionCommand"
    remeasured: ClassVar[tuple[str, ...]] = ("body_from", "heads")

    body_from: int = option(
        BODY_FROM,
        "Where a text's body begins: tokens before are left out, as a sink's writes are unlike others.",
        "POS",
        between(0, MOST),
    )
    heads: bool = option(False, "Also what single heads write.", negated=False)

    def accepts(self, run: "Run") -> None:
        from laminar_lens.studies.decomposition.model import check_hooks

        whole("body_from", self.body_from, least=0)
        flag("heads", self.heads)
        if not any(layer > 0 for layer in run.layers):
            raise InputError("layers is 0: hidden state 0 is written by no block; choose others")
        if self.heads and run.options.geometry_name != "raw":
            raise InputError("heads=True goes with the geometry 'raw', where the heads' writes add up")
        check_hooks(run.model, run.layers, heads=self.heads)

    def geometry(self, run: "Run") -> "Geometry":
        """Of the inputs of the blocks that write the measured hidden states."""
        from laminar_lens.geometry import named_geometry

        how, layers = run.options, [layer - 1 for layer in run.layers if layer > 0]
        made = named_geometry(
            run.model,
            how.geometry,
            prepend_bos=how.prepend_bos,
            layers=layers,
            seed=how.seed,
            progress=run.progress,
        )
        if lacking := [layer for layer in layers if made.layers and layer not in made.layers]:
            raise InputError(
                f"geometry {made.name!r} was made for hidden states {list(made.layers)}, not {lacking[0]}, "
                "which the first measured block reads: make it with that one"
            )
        return made

    def check(self, run: "Run") -> None:
        length = run.tokens.shape[1] + int(run.options.prepend_bos)
        if self.body_from > length - 2:
            raise InputError(
                f"body_from is {self.body_from}: texts of {length} tokens have no two tokens left; give "
                "less, or longer texts"
            )

    def measure(self, run: "Run") -> "xr.Dataset":
        from laminar_lens.studies.decomposition.measure import measure

        return measure(run, self.body_from, heads=self.heads)

    @classmethod
    def merge(cls, parts: "Sequence[xr.Dataset]") -> "xr.Dataset":
        from laminar_lens.studies.decomposition.merge import merged

        return merged(cls, parts)

    def answer(self, measured: "xr.Dataset") -> Answer:
        from laminar_lens.studies.decomposition.answer import answer

        return answer(measured)

    def settings(self, measured: "xr.Dataset") -> dict[str, Any]:
        parallel = bool(measured.attrs["parallel"])
        return {
            "body_from": self.body_from,
            "heads": self.heads,
            "the MLP reads": "the block's input" if parallel else "the input with attention's write",
        }


@checked(Decomposition.without)
def decomposition_study(
    model: HookedModel,
    texts: Prompts = None,
    *,
    n_texts: int | None = None,
    length: int | None = None,
    document_starts: Starts = None,
    body_from: int = BODY_FROM,
    heads: bool = False,
    groups: Labels = None,
    prepend_bos: bool = False,
    layers: Wholes = None,
    seed: int = 0,
    interventions: Interventions = None,
    geometry: GeometryLike = "raw",
    progress: Progress | None = None,
) -> "StudyResult":
    """What attention and the MLP write in each step, and how the two writes meet.

    With x a block's input, a and m what attention and the MLP add to it, the step is a + m. Numbers are means
    over the tokens of a text, then over texts. Hidden state l is written by block l − 1.

    | variable | what it is |
    |---|---|
    | `cosine` | of a and m to the same token |
    | `other` | of a to one token and m to another of the same text and layer: the null |
    | `difference`, `p_value`, `q_value` | of the two, with p by sign flips of texts, adjusted over layers |
    | `ratio` | ‖m‖/‖a‖, geometric mean |
    | `length`, `relative` | ‖w‖ of w = a, m, a + m; over ‖r‖, r the residual that it enters |
    | `along`, `across` | ⟨w, r⟩/‖r‖² (above 0 it lengthens) and the rest's length over ‖r‖ (it turns) |
    | `radial` | ⟨w, r⟩²/(‖w‖²‖r‖²): the share of the squared length that lengthens or shortens |
    | `with_residual`, `with_step` | angles of w with r and of a, m with a + m |
    | `turn` | angle between r and r + w |
    | `difference_of_adjustments` | attention's turn minus the MLP's |

    The residual that m enters is x + a, and x where attention and MLP read the same vector (GPT-J, NeoX).
    Where a norm follows a component inside of its block (Gemma 2, OLMo 2), its write is what that norm gives.

    `difference_of_adjustments` compares two turns, whose sum is not the turn of the step and which say
    nothing of direction; `along`, `across` and `cosine` do.

    Args:
        model: any causal TransformerLens model whose blocks add attention and MLP to the stream.
        texts, length, groups: as in `warmup_study`.
        n_texts: as in `warmup_study`; 200 where the model writes them.
        document_starts: cuts packed rows into their documents, as in `warmup_study`.
        body_from: position at which the body of a text begins, after a BOS and sinks; what comes before is in
            `place_cosine` (by position) and `identity_error` alone.
        heads: also the same of each head's write: `head_cosine` with m, `head_relative` and `head_along` to
            x, `head_share` of a.
        prepend_bos, layers: as in `capture_residuals`; hidden state 0 is written by no block.
        seed: of the texts, the sign flips and the bootstrap.
        interventions: change the run, as in `warmup_study`.
        geometry: of the vectors, as in `warmup_study`; a write is then the change that it makes to the mapped
            vector, in the geometry of the block's input.
        progress: called as `progress(label, done, total)`.

    There is no `random_init` (it compares with writes from other tokens), no `geometries` (one at a time), no
    `backend` (no kernel of angles runs) and no `final_norm` (no block writes it).

    Returns:
        A result of kind "decomposition" with claims W1–W4. Cosines and shares have no unit, angles are
        radians in [0, π], lengths are in the unit of the residual stream. NaN where a vector is zero, and in
        layers whose step is not the sum of its writes, as an intervention may make it (said in the
        warnings).

    Raises:
        InputError: an argument that does not fit, fewer than 2 texts of that length, or texts that mostly
            repeat each other or are unknown tokens.
        ModelError: names the architecture that has no such hook points, or in none of whose blocks attention
            and MLP add up to the step.

    Source: Elhage et al., A Mathematical Framework for Transformer Circuits (2021) (a block's output is a sum
    of writes); Benjamini & Yekutieli (2001) (false discoveries under dependence).
    """
    from laminar_lens.results import StudyResult
    from laminar_lens.studies.drive import asked

    return asked(Decomposition, StudyResult, model, texts, locals())
