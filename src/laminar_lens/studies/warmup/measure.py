"""What a warm-up study measures: angles of every text, started once as it is and once deep inside, and
random weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import xarray as xr
from torch import Tensor

from laminar_lens.axes import Window
from laminar_lens.errors import InputError
from laminar_lens.geometry import Geometry
from laminar_lens.interventions.conditions import portable
from laminar_lens.models.edits import check_interventions
from laminar_lens.models.forward import Visit
from laminar_lens.stats.warmup import reference_pairs
from laminar_lens.stats.warmup_costs import SPANS, Plan, left_out, measured_texts, vector_costs
from laminar_lens.studies.geometries import Beside
from laminar_lens.studies.measured import Axes, to_dataset
from laminar_lens.studies.run import Run

RANDOM_TEXTS = 100
VECTOR_TEXTS = 64
"""Costs of means of vectors are measured on so many texts, if one batch holds them."""


@dataclass(frozen=True)
class Measurement:
    """What was measured, in radians.

    Attributes:
        angle: of adjacent positions.
        paired: the angle of a bigram as a text's pair p minus the same bigram's, the reference window's start
            deeper; None where texts are too short.
        vector_costs: bias and spread by text, of the mean vector (in typical lengths) and of the first axis
            (in radians), see `laminar_lens.stats.warmup_costs`; `vector_text` says of which texts.
        random_angle: angle, with random weights.
        excess: of the first pair over the reference pairs, in each geometry.
        group: of each text, where texts of one group count as one.
        bos: 1 where position 0 is a BOS.
        window: first and last + 1 of the reference pairs.
    """

    angle: Annotated[np.ndarray, Axes("text layer pair", "rad", "angle of adjacent positions")]
    vector_costs: Annotated[np.ndarray, Axes("layer statistic part vector_text span k")]
    vector_text: Annotated[np.ndarray, Axes("vector_text")]
    token_id: Annotated[np.ndarray, Axes("text pos")]
    layer: Annotated[np.ndarray, Axes("layer")]
    bos: int
    window: Sequence[int]
    paired: Annotated[np.ndarray, Axes("text layer paired_pair", "rad")] | None = None
    random_angle: Annotated[np.ndarray, Axes("random_text layer pair", "rad")] | None = None
    excess: Annotated[np.ndarray, Axes("geometry layer compared_text", "rad")] | None = None
    geometry: Annotated[np.ndarray, Axes("geometry")] | None = None
    group: Annotated[np.ndarray, Axes("text")] | None = None


def measure(run: Run, reference: Window) -> xr.Dataset:
    """Angles of every text and of the same text started anew at the reference window; means of vectors of a
    few."""
    pairs = run.tokens.shape[1] + int(run.options.prepend_bos) - 1
    beside = run.measured_beside(pairs) if run.beside else None
    found, info = by_position(run, "angles by position", reference, beside)
    window = slice(*found.window)
    return to_dataset(
        replace(
            found,
            paired=_paired(run, found.angle, window.start, found.bos),
            random_angle=_random(run) if run.options.random_init else None,
            excess=None if beside is None else _excess(beside.angle, window),
            geometry=np.array(list(run.beside)) if run.beside else None,
        ),
        info=info,
    )


def by_position(
    run: Run, label: str, reference: Window = None, beside: Beside | None = None
) -> tuple[Measurement, dict[str, Any]]:
    """What the answer rests on, without what is reported beside it, and how it was captured; `beside` sees
    the same states."""
    bos = int(run.options.prepend_bos)
    window = reference_pairs(run.tokens.shape[1] + bos - 1, reference)
    places = slice(window.start, window.stop + 1)  # of the pairs' positions
    costs = _Costs(run.geometry, Plan(run.tokens.shape[1] + bos, places, SPANS, left_out(window)))

    def visit(texts: Sequence[int]) -> Visit:
        others = None if beside is None else beside.of(texts)

        def see(layer: int, state: Tensor) -> None:
            costs.see(layer, state)
            if others is not None:
                others(layer, state)

        return see

    angle, layers, info = _angles(run, run.tokens, label, visit)
    found = Measurement(
        angle=angle,
        vector_costs=np.stack([costs.found[layer] for layer in layers]),
        vector_text=measured_texts(costs.texts),
        token_id=run.tokens.numpy().astype(np.int64),
        layer=np.array(layers),
        bos=bos,
        window=(window.start, window.stop),
        group=run.groups,
    )
    return found, info


class _Costs:
    """Costs of means of vectors, by layer, of the first batch's texts."""

    def __init__(self, geometry: Geometry, plan: Plan) -> None:
        self._geometry, self._plan = geometry, plan
        self.found: dict[int, np.ndarray] = {}
        self.texts = 0

    def see(self, layer: int, state: Tensor) -> None:
        """Takes a hidden state [text pos d_model], unless the layer's was seen."""
        if layer in self.found:
            return
        x = self._geometry.apply(layer, state[:VECTOR_TEXTS].detach()).float().cpu().numpy()
        self.texts = len(x)
        self.found[layer] = np.stack([[one.bias, one.spread] for one in vector_costs(x, self._plan)])


def _paired(run: Run, angle: np.ndarray, start: int, bos: int) -> np.ndarray | None:
    """Each bigram's angle as an early pair of a text, minus its own deep inside."""
    anew = run.tokens[:, start:]
    if anew.shape[1] < 2 or not _fits(run, anew.shape[1] + bos):
        return None
    fresh, *_ = _angles(run, anew, "the same pairs as first pairs")
    reach = min(fresh.shape[-1], angle.shape[-1] - start, start)
    paired = fresh[..., :reach] - angle[..., start : start + reach]
    paired[..., :bos] = np.nan  # the pair of BOS and first token has no counterpart
    return np.asarray(paired)


def _fits(run: Run, length: int) -> bool:
    """Whether the interventions can be repeated on the same texts started anew; if not, a note says why."""
    try:
        check_interventions(run.model, run.changes, [length])
    except InputError as error:
        run.notes.append(f"No paired shift: {error}.")
        return False
    if portable(run.changes) != run.changes:
        run.notes.append("No paired shift: the patched states belong to the texts as they are.")
        return False
    return True


def _excess(angle: np.ndarray, window: slice) -> np.ndarray:
    """Of the first pair over the reference pairs, [geometry layer text]."""
    return np.asarray(angle[..., 0] - angle[..., window].mean(-1))


def _random(run: Run) -> np.ndarray | None:
    """Angles [text layer pair] of the same texts in the same architecture with random weights."""
    twin = run.twin("No curve of random weights")
    return None if twin is None else _angles(twin, run.tokens[:RANDOM_TEXTS], "random weights")[0]


def _angles(
    run: Run, tokens: Tensor, label: str, visit: Callable[[Sequence[int]], Visit] | None = None
) -> tuple[np.ndarray, tuple[int, ...], dict[str, Any]]:
    """Adjacent angles [text layer pair] as float32; `visit` as in `iter_angles`."""
    angle: np.ndarray | None = None
    layers: tuple[int, ...] = ()
    info: dict[str, Any] = {}
    for batch in run.angle_batches(tokens, label=label, visit=visit):
        theta = batch.angles["sequential"].astype(np.float32)
        if angle is None:
            angle = np.full((len(tokens), *theta.shape[::2]), np.nan, dtype=np.float32)
        angle[batch.indices] = theta.transpose(1, 0, 2)
        layers, info = batch.layers, batch.info
    assert angle is not None
    return angle, layers, info
