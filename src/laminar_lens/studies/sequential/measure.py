"""What a sequential study measures: target, baselines, donors, rotations, and the warm-up beside them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import xarray as xr

from laminar_lens.results import texts_fingerprint
from laminar_lens.stats.means import mean
from laminar_lens.studies.geometries import Beside
from laminar_lens.studies.measured import Axes, to_dataset
from laminar_lens.studies.measurement import Adjacent, adjacent_angles, measured_angles
from laminar_lens.studies.run import Run
from laminar_lens.studies.sequential.plan import Plan, draw_matched
from laminar_lens.studies.sequential.texts import donor_angles, donor_texts, warmup_part
from laminar_lens.studies.target_prompts import check_tokens

if TYPE_CHECKING:
    from laminar_lens.studies.sequential.study import Sequential


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was measured; angles in radians, NaN where a prompt has no such pair.

    Attributes:
        angle: of each adjacent pair.
        target_angle, rotation: of the target's occurrences: the pair's angle, and the turn of the target
            since the layer before.
        permuted_angle: of neighbours after a permutation of each prompt's positions.
        target_pair: positions, −1 for none.
        n_tokens, token_id, token, text: of each prompt.
        published … matched: angles of each draw of a baseline; None where these prompts allow none.
        published_pair … matched_pair: positions of its pairs.
        random_curve: mean angle with random weights.
        target_beside, baseline_beside: the target's angle, and the published single draw's, in each geometry.
        d_model: width of the residual stream.
        donors: how many texts gave matched pairs, and their hash.
        length: of each token's vector, NaN after a prompt's end.
    """

    angle: Annotated[np.ndarray, Axes("layer prompt pair", "rad", "angle of each adjacent pair")]
    target_angle: Annotated[np.ndarray, Axes("layer prompt occurrence", "rad")]
    rotation: Annotated[np.ndarray, Axes("layer prompt occurrence", "rad")]
    permuted_angle: Annotated[np.ndarray, Axes("layer prompt permuted_pair", "rad")]
    target_pair: Annotated[np.ndarray, Axes("prompt occurrence end")]
    n_tokens: Annotated[np.ndarray, Axes("prompt")]
    token_id: Annotated[np.ndarray, Axes("prompt pos")]
    token: Annotated[np.ndarray, Axes("prompt pos")]
    text: Annotated[np.ndarray, Axes("prompt")]
    layer: Annotated[np.ndarray, Axes("layer")]
    d_model: int
    donors: dict[str, Any]
    published: Annotated[np.ndarray, Axes("layer prompt published_draw", "rad")] | None = None
    published_pair: Annotated[np.ndarray, Axes("published_draw prompt end")] | None = None
    adjacent: Annotated[np.ndarray, Axes("layer prompt adjacent_draw", "rad")] | None = None
    adjacent_pair: Annotated[np.ndarray, Axes("adjacent_draw prompt end")] | None = None
    by_position: Annotated[np.ndarray, Axes("layer prompt by_position_draw", "rad")] | None = None
    by_position_pair: Annotated[np.ndarray, Axes("by_position_draw prompt end")] | None = None
    matched: Annotated[np.ndarray, Axes("layer prompt matched_draw", "rad")] | None = None
    matched_pair: Annotated[np.ndarray, Axes("matched_draw prompt end")] | None = None
    random_curve: Annotated[np.ndarray, Axes("layer pair", "rad")] | None = None
    target_beside: Annotated[np.ndarray, Axes("geometry layer compared_prompt", "rad")] | None = None
    baseline_beside: Annotated[np.ndarray, Axes("geometry layer compared_prompt", "rad")] | None = None
    geometry: Annotated[np.ndarray, Axes("geometry")] | None = None
    length: Annotated[np.ndarray, Axes("layer prompt pos", "1", "length of each token's vector")] | None = (
        None
    )

    @property
    def layers(self) -> tuple[int, ...]:
        """Hidden states."""
        return tuple(int(layer) for layer in self.layer)

    def draws(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Angles [layer prompt draw] and pairs [draw prompt 2] of the baselines that these prompts allow."""
        names = ("published", "adjacent", "by_position", "matched")
        found = {name: (getattr(self, name), getattr(self, f"{name}_pair")) for name in names}
        return {name: both for name, both in found.items() if both[0] is not None}


def measure(run: Run, study: "Sequential") -> xr.Dataset:
    """Everything that prompts, donors, warm-up and random weights give, under one condition; the prompts come
    first, so that one which does not fit is named before many texts are run."""
    plan = run.texts
    assert isinstance(plan, Plan)
    pairs = {"target": plan.target, "permuted": plan.permuted}
    pairs |= {name: np.swapaxes(drawn, 0, 1) for name, drawn in plan.draws.items()}
    beside = _beside(run, plan) if run.beside else None
    visit = None if beside is None else beside.of
    found = measured_angles(run, plan.prompts, pairs, plan.target[:, :, 1], visit)
    check_tokens(plan, found.tokens, bos=int(run.options.prepend_bos))
    warm = run.once("warm-up", lambda: warmup_part(run, study.warmup))
    source, given = run.once("donors", lambda: donor_texts(run, study.donors, study.n_donors, warm, plan))
    donors = donor_angles(run, given, warm)
    draws: dict[str, np.ndarray] = {}
    for name, drawn in plan.draws.items():
        draws |= {name: found.pair_angle[name], f"{name}_pair": drawn}
    draws |= _matched(draw_matched(plan, donors, study.chosen(run), run.notes), donors)
    if warm is not None and run.condition in warm.conditions:
        run.parts[warm.kind] = warm.condition(run.condition).tree
    made = Measurement(
        angle=found.angle,
        target_angle=found.pair_angle["target"],
        rotation=found.rotation,
        permuted_angle=found.pair_angle["permuted"],
        target_pair=plan.target,
        n_tokens=plan.n_tokens,
        token_id=found.tokens,
        token=np.array(found.token_strings, dtype=object),
        text=np.array(plan.prompts, dtype=object),
        layer=np.array(found.layers),
        d_model=int(found.info["d_model"]),
        donors={"donors": source, "n_donors": len(donors.tokens)}
        | {"donors_sha256": texts_fingerprint(donors.tokens)[1]},
        length=found.length,
        random_curve=_random_curve(run, plan) if run.options.random_init else None,
        **draws,
        **({} if beside is None else _angles_beside(run, beside.angle)),
    )
    return to_dataset(made, info=found.info)


def _matched(drawn: np.ndarray | None, donors: Adjacent) -> dict[str, np.ndarray]:
    """The donors' pairs at the target's places, from the angles that all of theirs have."""
    if drawn is None:
        return {}
    text, first = drawn[..., 0], drawn[..., 1]
    found = donors.angle[:, np.maximum(text, 0), np.maximum(first, 0)]
    angle = np.swapaxes(np.where(text < 0, np.nan, found), 1, 2)
    return {"matched": angle, "matched_pair": drawn[..., 1:]}


def _random_curve(run: Run, plan: Plan) -> np.ndarray | None:
    """Mean angle [layer pair] of the same prompts in the same architecture with random weights."""
    twin = run.twin("No random-weights curve")
    if twin is None:
        return None
    return mean(adjacent_angles(twin, plan.prompts, "capturing random weights").angle, axis=1)


def _beside(run: Run, plan: Plan) -> Beside:
    """Measures target and published baseline in every geometry."""
    published = np.swapaxes(plan.draws["published"], 0, 1)[:, :1]
    asked = np.concatenate([plan.target, published], axis=1)
    return run.measured_beside(asked.shape[1], pairs=asked)


def _angles_beside(run: Run, angle: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "target_beside": mean(angle[..., :-1], axis=3),
        "baseline_beside": angle[..., -1],
        "geometry": np.array(list(run.beside)),
    }
