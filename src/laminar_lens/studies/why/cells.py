"""The four cells of a why-study: every text's first bigram, and one from inside it, in the body and as first.

A text's first bigram gets into the body by the first t tokens of another text put before it. Texts exchange
these beginnings within small sets, whose texts then depend on each other and on no other text: a set is one
observation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminar_lens.arguments import wholes
from laminar_lens.axes import Progress, Wholes
from laminar_lens.errors import CaptureError, InputError
from laminar_lens.geometry import RAW, Geometry
from laminar_lens.interventions import Intervention, cut, restart
from laminar_lens.kernels import resolve_backend, sequential_angles
from laminar_lens.models.batches import BATCH_TOKENS, check_finite, finite_vectors
from laminar_lens.models.forward import run_states
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.surroundings import blame
from laminar_lens.stats.streams import stream
from laminar_lens.stats.warmup import reference_pairs
from laminar_lens.stats.why_effects import CELLS

COMPARED = 16
"""Texts are one observation only if at least so many tokens agree, or all that there are."""

CHECKED = 16
"""So many texts are run with both interventions, and compared with what they must equal."""

IDENTITY = {torch.float64: 1e-6, torch.float32: 3e-4, torch.float16: 0.03, torch.bfloat16: 0.2}
"""Radians by which cut + restart may differ from the plain run of the text alone: rounding, a hundredfold."""


@dataclass(frozen=True)
class Exchange:
    """Which text's beginning goes before which, and what is one observation.

    Attributes:
        donor: by text, the text whose first tokens go before it; never one of its own group.
        unit: by text, a label; texts of one unit share tokens with each other and with no other text.
    """

    donor: Int[np.ndarray, " text"]
    unit: Int[np.ndarray, " text"]


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


def exchange(n: int, groups: np.ndarray | None, seed: int) -> Exchange:
    """Texts of two groups (of three, where their number is odd) get each other's beginnings.

    Raises:
        InputError: fewer than two groups.
    """
    labels = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    n_groups = int(labels.max()) + 1
    if n_groups < 2:
        raise InputError(
            "all texts are of one group, but a bigram is put behind another group's text: give texts of at "
            "least 2 groups"
        )
    order = stream(seed, "texts that exchange their beginnings").permutation(n_groups)
    members = [np.flatnonzero(labels == group) for group in order]
    donor, unit = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    starts = list(range(0, n_groups - 1, 2))
    for number, start in enumerate(starts):
        stop = n_groups if start == starts[-1] else start + 2
        for k in range(start, stop):
            other = members[k + 1 if k + 1 < stop else start]
            donor[members[k]] = np.resize(other, len(members[k]))
            unit[members[k]] = number
    return Exchange(donor, unit)


def places(at: Wholes, length: int) -> Int[np.ndarray, " place"]:
    """Positions t of the bigram (t, t+1) in the body: those given, or every reference pair of a text.

    Raises:
        InputError: not whole numbers, or none, or one that a text of this length does not have.
    """
    if at is None:
        window = reference_pairs(length - 1)
        return np.arange(window.start, window.stop)
    expected = (
        f"expected positions 1 … {length - 2} of a text of {length} tokens, so that a context goes before "
        "the bigram (at, at + 1)"
    )
    try:
        given = wholes("at", at)
    except InputError as error:
        raise InputError(f"{str(error).partition(';')[0]}; {expected}") from None
    for t in given:
        if not 1 <= t <= length - 2:
            raise InputError(f"at is {t}; {expected}")
    return np.unique(np.array(given))


def reach(at: Wholes, length: int) -> int:
    """On so many first tokens of a text depend its effects, but for T, which its last third has a part in.

    At least `COMPARED`, as beginnings of a few tokens are common to texts that are otherwise independent.
    """
    return min(length, max(COMPARED, int(places(at, length).max()) + 2))


def assign(n: int, where: Sequence[int], seed: int) -> Int[np.ndarray, " text"]:
    """For each text one of the places; all of them equally often, up to one."""
    return np.asarray(stream(seed, "places in a text").permutation(np.resize(np.array(where), n)))


def measure_cells(
    model: HookedModel,
    tokens: Int[Tensor, "text pos"],
    swapped: Exchange,
    layers: Sequence[int],
    *,
    at: Wholes = None,
    has_positions: bool = True,
    final_norm: bool = False,
    geometries: Sequence[Geometry] = (RAW,),
    interventions: Sequence[Intervention] = (),
    backend: str = "auto",
    seed: int = 0,
    label: str = "the four cells",
    progress: Progress | None = None,
) -> tuple[Cells, ...]:
    """Angles of both bigrams of every text in all cells, in each geometry.

    Each text has one position t in the body, all of `places` equally often. `interventions` change every run.

    Raises:
        InputError: `at` out of range.
        CaptureError: a vector is not finite, or cut + restart is not the plain run of the text alone.
    """
    n, length = tokens.shape
    where = places(at, length)
    t_of = assign(n, where.tolist(), seed)
    runner = _Runner(model, tuple(layers), final_norm, backend, tuple(geometries), tuple(interventions))
    steps = 3 if has_positions else 2
    report = _reporter(label, n + len(where) * steps, progress)
    angle = np.full((len(geometries), 2, len(CELLS), n, len(layers)), np.nan, dtype=np.float32)
    reference = _alone(runner, tokens, t_of, angle, report)
    left, identity = CHECKED, 0.0
    for t in where.tolist():
        rows = np.flatnonzero(t_of == t)
        if not len(rows):  # fewer texts than places
            report(steps)
            continue
        moved = torch.cat([tokens[swapped.donor[rows], :t], tokens[rows, :2]], dim=1)
        both, index = torch.cat([moved, tokens[rows, : t + 2]]), np.concatenate([rows, rows])
        angle[:, 0, 0, rows] = runner.pair(moved, t, rows)
        angle[:, 1, 3, rows] = runner.pair(tokens[rows, t : t + 2], 0, rows)
        report(1)
        changes = (cut(t), restart(t))[: 1 + has_positions]
        for cell, change in enumerate(changes, 1):
            found = runner.pair(both, t, index, (change,))
            angle[:, :, cell, rows] = found.reshape(len(angle), 2, len(rows), -1)
            report(1)
        if left > 0:
            few = rows[:left]
            raw = replace(runner, geometries=(RAW,))
            again, alone = raw.pair(moved[: len(few)], t, few, changes), raw.pair(tokens[few, :2], 0, few)
            difference, checked = _difference(again[0], alone[0])
            identity, left = max(identity, difference), left - checked
    _check_identity(identity, next(model.parameters()).dtype, has_positions, blame(model))
    return tuple(Cells(*one, t_of, identity, runner.backend) for one in zip(angle, reference, strict=True))


def _reporter(label: str, total: int, progress: Progress | None) -> Callable[[int], None]:
    done = 0

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
    """Puts the angles of each text's bigrams, run by itself, into `angle`; returns those of its reference
    pairs."""
    n, length = tokens.shape
    window = reference_pairs(length - 1)
    reference = np.empty((len(angle), n, angle.shape[-1]), dtype=np.float32)
    size = max(1, BATCH_TOKENS // length)
    for start in range(0, n, size):
        rows = np.arange(start, min(start + size, n))
        theta = runner.angles(tokens[rows], 0, rows)
        reference[:, rows] = theta[:, :, window].mean(axis=2)
        angle[:, 0, 3, rows] = theta[:, :, 0]
        angle[:, 1, 0, rows] = theta[:, np.arange(len(rows)), t_of[rows]]
        report(len(rows))
    return reference


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
    """Angles of neighbouring positions from a start on, in batches of sequences of one length."""

    model: HookedModel
    layers: tuple[int, ...]
    final_norm: bool
    asked: str
    geometries: tuple[Geometry, ...]
    interventions: tuple[Intervention, ...] = ()
    backend: str = ""

    def angles(
        self, tokens: Tensor, start: int, indices: np.ndarray, changes: Sequence[Intervention] = ()
    ) -> Float[np.ndarray, "geometry batch pair layer"]:
        """Angles of all pairs from `start` on, in the order of the layers asked for."""
        found: dict[int, np.ndarray] = {}

        def see(layer: int, state: Tensor) -> None:
            vectors = state[:, start:].detach()
            check_finite(
                finite_vectors(vectors)[None].cpu(), (layer,), indices.tolist(), range(start, state.shape[1])
            )
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
        self, tokens: Tensor, t: int, indices: np.ndarray, changes: Sequence[Intervention] = ()
    ) -> Float[np.ndarray, "geometry batch layer"]:
        """The angle of the pair (t, t+1), the last of these sequences."""
        size = max(1, BATCH_TOKENS // tokens.shape[1])
        parts = [
            self.angles(tokens[k : k + size], t, indices[k : k + size], changes)[:, :, 0]
            for k in range(0, len(tokens), size)
        ]
        return np.concatenate(parts, axis=1)


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
