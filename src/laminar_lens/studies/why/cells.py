"""The four cells of a why-study: every text's first bigram, and one from inside it, in the body and as
first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminar_lens.axes import Progress, Wholes
from laminar_lens.errors import CaptureError
from laminar_lens.geometry import RAW, Geometry
from laminar_lens.interventions import Intervention, cut, restart
from laminar_lens.kernels import resolve_backend, sequential_angles
from laminar_lens.models.batches import BATCH_TOKENS, check_finite, finite_vectors
from laminar_lens.models.forward import run_states
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.surroundings import blame
from laminar_lens.stats.warmup import reference_pairs
from laminar_lens.stats.why_effects import CELLS
from laminar_lens.studies.run import Run
from laminar_lens.studies.why.places import Exchange, assign, places

NEAR_TOKENS = 1024
"""Tokens of a batch of texts with cuts at several places: fewer places, fewer tokens run for nothing."""

CHECKED = 16
"""So many texts are run with both interventions, and compared with what they must equal."""

IDENTITY = {torch.float64: 1e-6, torch.float32: 3e-4, torch.float16: 0.03, torch.bfloat16: 0.2}
"""Radians by which cut + restart may differ from the plain run of the text alone: rounding, a hundredfold."""


@dataclass(frozen=True)
class Cells:
    """What was measured in one geometry, in radians.

    Attributes:
        angle: [place cell text layer]; place 0 is a text's first bigram, 1 one from inside. NaN in the cell
            "restart" of a model without positional embeddings that can be restarted.
        reference: [text layer], the mean over the text's reference pairs.
        at: by text, the position t of the bigrams in the body.
        identity: the largest difference between cut + restart and the text alone, of raw vectors.
    """

    angle: Float[np.ndarray, "place cell text layer"]
    reference: Float[np.ndarray, "text layer"]
    at: Int[np.ndarray, " text"]
    identity: float
    backend: str


def measure_cells(
    run: Run,
    tokens: Int[Tensor, "text pos"],
    swapped: Exchange,
    *,
    at: Wholes = None,
    has_positions: bool = True,
    geometries: Sequence[Geometry] = (RAW,),
    label: str = "the four cells",
) -> tuple[Cells, ...]:
    """Angles of both bigrams of every text in all cells, in each geometry.

    Each text has one position t in the body, all of `places` equally often.

    Raises:
        InputError: `at` out of range.
        CaptureError: a vector is not finite, or cut + restart is not the plain run of the text alone.
    """
    (n, length), model, layers = tokens.shape, run.model, run.layers
    t_of = assign(n, places(at, length).tolist(), run.options.seed)
    changes = (cut(t_of), restart(t_of))[: 1 + has_positions]
    names = [one.name for one in geometries]
    kinds, raw = (*geometries, RAW), (*names, RAW.name).index(RAW.name)
    kinds = kinds[: max(len(names), raw + 1)]
    how = run.options
    runner = _Runner(model, layers, how.final_norm, how.backend, kinds, run.changes)
    report = _reporter(label, n * (2 + 2 * len(changes)), run.progress)
    angle = np.full((len(kinds), 2, len(CELLS), n, len(layers)), np.nan, dtype=np.float32)
    reference = _alone(runner, tokens, t_of, angle, report)
    left, identity = CHECKED, 0.0
    for rows in _near(t_of, length):
        t = t_of[rows]
        own = tokens[rows, : t.max() + 2]
        moved = _moved(tokens[swapped.donor[rows]], own, t)
        angle[:, 0, 0, rows] = runner.pair(moved, t, rows)
        report(len(rows))
        both, at_both, index = torch.cat([moved, own]), np.tile(t, 2), np.tile(rows, 2)
        for cell, change in enumerate(changes, 1):
            found = runner.pair(both, at_both, index, (change,))
            angle[:, :, cell, rows] = found.reshape(len(angle), 2, len(rows), -1)
            report(2 * len(rows))
        if left > 0:
            few = rows[:left] if has_positions else rows  # a cut alone was run on all
            again = angle[raw, 0, 1, few]
            if has_positions:
                again = runner.pair(moved[:left], t[:left], few, changes)[raw]
            difference, checked = _difference(again, angle[raw, 0, 3, few])
            identity, left = max(identity, difference), left - checked * has_positions
    _check_identity(identity, next(model.parameters()).dtype, has_positions, blame(model))
    found_in = zip(angle, reference, geometries, strict=False)
    return tuple(Cells(one, mean, t_of, identity, runner.backend) for one, mean, _ in found_in)


def _reporter(label: str, total: int, progress: Progress | None) -> Callable[[int], None]:
    done = 0
    if progress is not None:
        progress(label, 0, total)

    def report(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(label, done, total)

    return report


def _alone(
    runner: "_Runner",
    tokens: Int[Tensor, "text pos"],
    t_of: Int[np.ndarray, " text"],
    angle: Float[np.ndarray, "geometry place cell text layer"],
    report: Callable[[int], None],
) -> Float[np.ndarray, "geometry text layer"]:
    """Puts the angles of each text's bigrams, in the text and run by themselves, into `angle`; returns those
    of its reference pairs."""
    n, length = tokens.shape
    window = reference_pairs(length - 1)
    reference = np.empty((len(angle), n, angle.shape[-1]), dtype=np.float32)
    for rows in _parts(np.arange(n), length, BATCH_TOKENS):
        theta = runner.angles(tokens[rows], rows)
        reference[:, rows] = theta[:, :, window].mean(axis=2)
        angle[:, 0, 3, rows] = theta[:, :, 0]
        angle[:, 1, 0, rows] = theta[:, np.arange(len(rows)), t_of[rows]]
        report(len(rows))
    bigrams = tokens.gather(1, torch.from_numpy(_pair(t_of)))
    angle[:, 1, 3] = runner.pair(bigrams, np.zeros(n, dtype=np.int64), np.arange(n))
    return reference


def _parts(rows: np.ndarray, length: int, most: int) -> list[np.ndarray]:
    """Rows in parts of at most so many tokens."""
    size = max(1, most // length)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _near(t_of: Int[np.ndarray, " text"], length: int) -> list[np.ndarray]:
    """Texts in batches, those of near places together: each runs as far as the farthest of its batch."""
    return _parts(np.argsort(t_of, kind="stable"), length, NEAR_TOKENS)


def _pair(t: Int[np.ndarray, " batch"]) -> Int[np.ndarray, "batch 2"]:
    """Positions t and t + 1."""
    return np.asarray(t[:, None] + np.arange(2))


def _moved(
    before: Int[Tensor, "batch longer"], own: Int[Tensor, "batch pos"], t: Int[np.ndarray, " batch"]
) -> Int[Tensor, "batch pos"]:
    """The first t tokens of other texts with each text's own behind them, as long as `own`."""
    place = torch.arange(own.shape[1]) - torch.from_numpy(t)[:, None]
    return torch.where(place < 0, before[:, : own.shape[1]], own.gather(1, place.clamp(min=0)))


def _difference(again: np.ndarray, alone: np.ndarray) -> tuple[float, int]:
    """The largest difference where the text alone has an angle, and in how many texts it has all of them.

    An angle that only the text alone has differs without bound.
    """
    defined = np.isfinite(alone)
    apart = np.abs(again - alone)[defined]
    worst = float(np.where(np.isnan(apart), np.inf, apart).max(initial=0.0))
    return worst, int(defined.all(axis=1).sum())


@dataclass
class _Runner:
    """Angles of neighbouring positions in batches of sequences of one length."""

    model: HookedModel
    layers: tuple[int, ...]
    final_norm: bool
    asked: str
    geometries: tuple[Geometry, ...]
    interventions: tuple[Intervention, ...] = ()
    backend: str = ""

    def angles(
        self,
        tokens: Tensor,
        indices: np.ndarray,
        changes: Sequence[Intervention] = (),
        select: Callable[[Tensor], Tensor] = lambda state: state,
    ) -> Float[np.ndarray, "geometry batch pair layer"]:
        """Angles of neighbours among the selected vectors, in the order of the layers asked for."""
        found: dict[int, np.ndarray] = {}

        def see(layer: int, state: Tensor) -> None:
            finite = finite_vectors(state)[None].cpu()
            check_finite(finite, (layer,), indices.tolist(), range(state.shape[1]))
            vectors = select(state.detach())
            self.backend = resolve_backend(self.asked, vectors)
            angles = [
                sequential_angles(one.apply(layer, vectors), backend=self.backend) for one in self.geometries
            ]
            found[layer] = torch.stack([x.float() for x in angles]).cpu().numpy()

        run_states(
            self.model,
            tokens,
            self.layers,
            see,
            final_norm=self.final_norm,
            interventions=(*self.interventions, *changes),
            indices=indices.tolist(),
        )
        return np.stack([found[layer] for layer in self.layers], axis=-1)

    def pair(
        self, tokens: Tensor, t: np.ndarray, indices: np.ndarray, changes: Sequence[Intervention] = ()
    ) -> Float[np.ndarray, "geometry batch layer"]:
        """The angle of each text's pair (t, t + 1)."""

        def run(rows: np.ndarray) -> np.ndarray:
            columns = torch.from_numpy(_pair(t[rows]))[..., None]

            def chosen(state: Tensor) -> Tensor:
                return state.take_along_dim(columns.to(state.device), dim=1)

            return self.angles(tokens[rows], indices[rows], changes, chosen)[:, :, 0]

        parts = _parts(np.arange(len(tokens)), tokens.shape[1], BATCH_TOKENS)
        return np.concatenate([run(rows) for rows in parts], axis=1)


def _check_identity(difference: float, dtype: torch.dtype, has_positions: bool, outside: str) -> None:
    allowed = IDENTITY.get(dtype, IDENTITY[torch.float32])
    if difference > allowed:
        what = "cut and restart together are" if has_positions else "cut alone is"
        inside = "this model's attention or positions work in a way that these interventions do not reach"
        why = f"{outside}, which may be why: take that away and measure again" if outside else inside
        raise CaptureError(
            f"{what} not the plain run of the text from there on: angles differ by {difference:.2g} rad, "
            f"{allowed:g} are allowed for {str(dtype).removeprefix('torch.')}; {why}; no cause can be told"
        )
