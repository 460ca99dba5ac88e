"""Which dimensions make the cosine between two tokens, and what the angle is without them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from laminar_lens.arguments import checked
from laminar_lens.axes import Labels, Progress, Prompts, Starts, Wholes
from laminar_lens.errors import InputError
from laminar_lens.models.hooked import HookedModel
from laminar_lens.studies.fields import between, option
from laminar_lens.studies.options import MOST, GeometryLike, Interventions
from laminar_lens.studies.study import Answer, Study

if TYPE_CHECKING:
    import xarray as xr

    from laminar_lens.geometry import Geometry, GeometryLike
    from laminar_lens.results import StudyResult
    from laminar_lens.studies.run import Run

SPARE = 64
"""Passages that are not measured: geometries are fitted on them."""
REMOVED = 8
FEW = 3


@dataclass(frozen=True)
class Dimensions(Study):
    """Whether three dimensions make over half of a cosine, and what the angle is without them (D1–D4).

    Of the first pair, between position 0 and the body, of neighbours in it.
    """

    kind: ClassVar[str] = "dimensions"
    title: ClassVar[str] = "Dimension study"
    view: ClassVar[str] = "laminar_lens.studies.dimensions.view:VIEW"
    together: ClassVar[str] = "half of the texts choose the dimensions, the others are measured"
    without: ClassVar[Mapping[str, str]] = {
        "random_init": "it compares with dimensions at random",
        "backend": "its angles are sums over dimensions, and no kernel of angles runs",
        "geometries": "it compares its geometry with the same one centred",
    }
    n_texts: ClassVar[int] = 200
    spare: ClassVar[int] = SPARE
    least: ClassVar[int] = 4  # one half chooses what the other measures
    remeasured: ClassVar[tuple[str, ...]] = ("removed",)

    removed: int = option(
        REMOVED, "Up to how many dimensions are taken out of the angle.", "K", between(FEW, MOST)
    )

    def geometry(self, run: "Run") -> "Geometry":
        """Fitted while measuring: what is removed from it depends on how long the texts are."""
        from laminar_lens.geometry import RAW, check_name, named_geometry

        given, how = run.options.geometry, run.options
        if isinstance(given, str):
            check_name(given)
            return RAW
        return named_geometry(run.model, given, prepend_bos=how.prepend_bos, final_norm=how.final_norm)

    def accepts(self, run: "Run") -> None:
        width = int(run.model.cfg.d_model)
        if not isinstance(self.removed, int) or not FEW <= self.removed < width:
            raise InputError(
                f"removed is {self.removed!r}; expected {FEW} … {width - 1} of the {width} dimensions"
            )

    def check(self, run: "Run") -> None:
        from laminar_lens.studies.dimensions.measure import split

        split(len(run.tokens), run.groups, run.options.seed)

    def measure(self, run: "Run") -> "xr.Dataset":
        from laminar_lens.studies.dimensions.measure import measure

        return measure(run, self.removed)

    def answer(self, measured: "xr.Dataset") -> Answer:
        from laminar_lens.studies.dimensions.answer import answer

        return answer(measured)

    def settings(self, measured: "xr.Dataset") -> dict[str, Any]:
        return {
            "body from": measured.attrs["body_from"],
            "removed": self.removed,
            "random draws": measured.sizes["draw"],
            "geometry": str(measured["geometry"].values[0]),
            "compared": measured["geometry"].values.tolist(),
        }


@checked(Dimensions.without)
def dimension_study(
    model: HookedModel,
    texts: Prompts = None,
    *,
    n_texts: int | None = None,
    length: int | None = None,
    document_starts: Starts = None,
    removed: int = REMOVED,
    groups: Labels = None,
    prepend_bos: bool = False,
    final_norm: bool = False,
    layers: Wholes = None,
    seed: int = 0,
    interventions: Interventions = None,
    geometry: GeometryLike = "raw",
    progress: Progress | None = None,
) -> "StudyResult":
    """The few dimensions that make a cosine, if there are any: in the first pair, between position 0 and the
    body, between neighbours in the body; before and after centring on other texts.

    The contribution of dimension k to the cosine of u and v is u_k·v_k/(‖u‖‖v‖); over k they sum to it. Half
    of the texts choose the dimensions, the other half say what they do; beside them, as many dimensions drawn
    at random, and what as many of like size would make of the cosine (null.py).

    Args:
        model: any causal TransformerLens model.
        texts, length, groups: as in `warmup_study`.
        n_texts: how many passages, by default all but 64, on which geometries are fitted, or how many texts
            the model writes, 200 by default.
        document_starts: cuts packed rows into their documents, as in `warmup_study`.
        removed: the angle is measured without the first 0, 1, … so many dimensions.
        prepend_bos, final_norm, layers: as in `capture_residuals`; with a BOS, position 0 is the BOS.
        seed: of the texts, the halves, the random dimensions and the bootstrap.
        interventions: change the run, as in `warmup_study`; geometries are fitted on the plain run.
        geometry: of the vectors whose cosines are taken: a name of `laminar_lens.geometry.GEOMETRIES`,
            fitted where it needs texts on 64 passages that are not measured, or, where fewer are left, on
            what the model writes; or what `fit_geometry` returned. Beside it stands the same with the mean
            over the body of other texts removed ("centred" beside "raw", "layernormed, centred" beside
            "layernormed"); beside "centred" and "standardised", where nothing is left to remove, stands
            nothing.
        progress: called as `progress(label, done, total)`.

    There is no `random_init` (it compares with dimensions at random), no `geometries` (with its own geometry,
    centred) and no `backend` (angles are sums over dimensions).

    Returns:
        A result of kind "dimensions" with claims D1–D4 (D4 "not applicable" without a centred geometry beside
        the study's own); angles in radians.

    Raises:
        InputError: an argument that does not fit, fewer than 4 texts, texts that mostly repeat each other or
            are unknown tokens, or as many removed as there are.

    Source: arXiv 2109.04404 (contributions, rogue dimensions).
    """
    from laminar_lens.results import StudyResult
    from laminar_lens.studies.drive import asked

    return asked(Dimensions, StudyResult, model, texts, locals())
