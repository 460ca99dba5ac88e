"""What a why-study measures: the four cells of every text, in each geometry, and with random weights."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import xarray as xr

from laminar_lens.axes import Wholes
from laminar_lens.errors import InputError
from laminar_lens.interventions import restart
from laminar_lens.models.hooked import HookedModel
from laminar_lens.stats.why_effects import EFFECTS, effects
from laminar_lens.studies.measured import Axes, to_dataset
from laminar_lens.studies.run import Run
from laminar_lens.studies.why.cells import measure_cells
from laminar_lens.studies.why.places import exchange

RANDOM_TEXTS = 100


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was measured, in radians.

    Attributes:
        angle, reference, at, identity: see `Cells`.
        donor, unit: see `Exchange`.
        has_positions: whether the model's positions can be restarted.
        random_effect: mean effects of the same architecture with random weights.
        e11: what being first does, in each geometry.
        group: of each text, where texts of one group count as one.
    """

    angle: Annotated[np.ndarray, Axes("place cell text layer", "rad", "angle of the pair")]
    reference: Annotated[np.ndarray, Axes("text layer", "rad", "mean angle of the text's reference pairs")]
    at: Annotated[np.ndarray, Axes("text", "", "position of the bigrams in the body")]
    donor: Annotated[np.ndarray, Axes("text", "", "text whose first tokens go before this one's")]
    unit: Annotated[np.ndarray, Axes("text", "", "observation that the text is part of")]
    token_id: Annotated[np.ndarray, Axes("text pos")]
    layer: Annotated[np.ndarray, Axes("layer")]
    identity: float
    has_positions: bool
    random_effect: Annotated[np.ndarray, Axes("effect layer", "rad")] | None = None
    e11: Annotated[np.ndarray, Axes("geometry text layer", "rad")] | None = None
    geometry: Annotated[np.ndarray, Axes("geometry")] | None = None
    group: Annotated[np.ndarray, Axes("text")] | None = None

    @property
    def layers(self) -> tuple[int, ...]:
        """Hidden states."""
        return tuple(int(layer) for layer in self.layer)


def measure(run: Run, at: Wholes) -> xr.Dataset:
    """All cells of every text in the study's geometry and those beside it, and of a few with random
    weights."""
    rows = run.tokens.tolist()
    for one in (run.geometry, *run.beside.values()):
        one.check_others(rows)
    has_positions = _can_restart(run.model, run.notes)
    swapped = exchange(len(rows), run.groups, run.options.seed)
    kinds = (run.geometry, *(one for one in run.beside.values() if one.name != run.geometry.name))
    found = measure_cells(run, run.tokens, swapped, at=at, has_positions=has_positions, geometries=kinds)
    e11 = {
        kind.name: effects(one.angle[0], one.angle[1], one.reference)["E11"]
        for kind, one in zip(kinds, found, strict=True)
    }
    return to_dataset(
        Measurement(
            angle=found[0].angle,
            reference=found[0].reference,
            at=found[0].at,
            donor=swapped.donor,
            unit=swapped.unit,
            token_id=run.tokens.numpy().astype(np.int64),
            layer=np.array(run.layers),
            identity=found[0].identity,
            has_positions=has_positions,
            random_effect=_random_effects(run, at, has_positions) if run.options.random_init else None,
            e11=np.stack([e11[name] for name in run.beside]) if run.beside else None,
            geometry=np.array(list(run.beside)) if run.beside else None,
            group=run.groups,
        ),
        info={
            "prepend_bos": False,
            "final_norm": run.options.final_norm,
            "geometry": run.geometry.describe(),
            "backend": found[0].backend,
        },
    )


def _can_restart(model: HookedModel, notes: list[str]) -> bool:
    """Whether the model adds positional embeddings; that there is no other position in it is checked by the
    identity at run time."""
    try:
        restart(1).check(model, 3)
    except InputError as error:
        notes.append(f"The position factor is not applicable, so position is no possible answer: {error}.")
        return False
    return True


def _random_effects(run: Run, at: Wholes, has_positions: bool) -> np.ndarray | None:
    """Mean effects [effect layer] of the first texts in the same architecture with random weights."""
    twin = run.twin("No effects of random weights")
    if twin is None:
        return None
    few = run.tokens[:RANDOM_TEXTS]
    swapped = exchange(len(few), None, run.options.seed)
    how: dict[str, Any] = {"geometries": (twin.geometry,), "label": "random weights"}
    cells = measure_cells(twin, few, swapped, at=at, has_positions=has_positions, **how)[0]
    found = effects(cells.angle[0], cells.angle[1], cells.reference)
    return np.stack([found[name].mean(axis=0) for name in EFFECTS])
