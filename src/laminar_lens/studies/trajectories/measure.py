"""What a trajectory study measures: one PCA of all states, and the target's and its neighbours' places in it.

Of every state only what the PCA holds is kept; of the target and its two neighbours, the vectors themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from laminar_lens.kernels import angle
from laminar_lens.models.batches import BATCH_TOKENS
from laminar_lens.models.forward import Visit
from laminar_lens.models.memory import Need, check_fits
from laminar_lens.stats.means import mean
from laminar_lens.studies.measured import Axes, to_dataset
from laminar_lens.studies.run import Run
from laminar_lens.studies.stream import STATES_AT_ONCE
from laminar_lens.studies.target_prompts import check_tokens
from laminar_lens.studies.trajectories.centres import every_part
from laminar_lens.studies.trajectories.principal import MOST_NUMBERS, Fit, Principal
from laminar_lens.studies.trajectories.prompts import GroupedPrompts

PLACES = ("before", "target", "after")
UNIT = "unit of the residual stream"
SQUARE = "square of that unit"
TURN = "angle between the target's successive steps"


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was measured, by prompt; lengths are the geometry's. Where each group has prompts of its own, NaN
    stands for words that a prompt is not of.

    Attributes:
        coordinate: along the axes of the PCA, of the target and of the tokens beside it.
        norm: of the target's vector.
        part: of the squared distance of two groups' means, in full; see `centres`.
        published: that distance as it is, with what chance adds.
        depth_turn, position_turn: of the target's steps from layer to layer, and from token to token.
        explained: share of the variance of all states that an axis has.
        paired: whether the same prompts are in every group.
        distance: between the target's vectors of two groups, in full, where they are.
        along, spread: what a prompt's states add to `explained` and to the whole, where all were held.
        first_share: share of the first axis' variance that position 0 has, where it is part of the PCA.
        rows: states that the PCA was fitted to; `exact`: whether all were held at once.
    """

    coordinate: Annotated[np.ndarray, Axes("prompt word place layer axis", UNIT, "coordinate")]
    norm: Annotated[np.ndarray, Axes("prompt word layer", UNIT, "norm of the target")]
    part: Annotated[np.ndarray, Axes("prompt versus layer", SQUARE, "part of the means' squared distance")]
    published: Annotated[np.ndarray, Axes("versus layer", UNIT, "distance of the groups' means, in full")]
    depth_turn: Annotated[np.ndarray, Axes("prompt word layer", "rad", f"{TURN} along depth")]
    position_turn: Annotated[np.ndarray, Axes("prompt word layer", "rad", f"{TURN} along positions")]
    explained: Annotated[np.ndarray, Axes("axis", "1", "share of the variance of all states")]
    layer: Annotated[np.ndarray, Axes("layer")]
    word: Annotated[np.ndarray, Axes("word")]
    place: Annotated[np.ndarray, Axes("place")]
    axis: Annotated[np.ndarray, Axes("axis")]
    target_at: Annotated[np.ndarray, Axes("prompt word")]
    text: Annotated[np.ndarray, Axes("prompt")]
    paired: bool
    keep_first: bool
    rows: int
    exact: bool
    distance: (
        Annotated[np.ndarray, Axes("prompt versus layer", UNIT, "distance between two groups")] | None
    ) = None
    along: Annotated[np.ndarray, Axes("prompt axis", "1", "share of the variance")] | None = None
    spread: Annotated[np.ndarray, Axes("prompt", "1", "share of the whole variance")] | None = None
    first_share: Annotated[np.ndarray, Axes("prompt", "1", "share of axis 1 that position 0 has")] | None = (
        None
    )


def measure(run: Run, *, keep_first: bool, n_components: int) -> xr.Dataset:
    """Runs each prompt of each group once."""
    plan = run.texts
    assert isinstance(plan, GroupedPrompts)
    seen = _Seen(run, plan, keep_first, n_components)
    _check_memory(run, plan, seen)
    for batch in run.angle_batches(plan.prompts, ("norm",), visit=seen.of, label="capturing prompts"):
        rows = list(batch.indices)
        seen.tokens[rows, : batch.tokens.shape[1]] = batch.tokens
        info = batch.info
    check_tokens(plan, seen.tokens, bos=int(run.options.prepend_bos))
    made = seen.fit.done()
    depth, position = seen.turns(run.options.backend)
    target = seen.states[:, 1].numpy()
    found = Measurement(
        coordinate=seen.by_group(_coordinates(made, seen.states)),
        norm=seen.by_group(np.linalg.norm(target.astype(np.float64), axis=-1)),
        **_distances(plan, target),
        depth_turn=seen.by_group(depth),
        position_turn=seen.by_group(position),
        explained=made.ratio,
        layer=np.arange(target.shape[1]),
        word=np.array(plan.words),
        place=np.array(PLACES),
        axis=np.arange(1, n_components + 1),
        target_at=seen.by_group(seen.places[:, 1]),
        text=np.array(plan.prompts[: plan.n], dtype=object),
        paired=plan.paired,
        keep_first=keep_first,
        rows=made.rows,
        exact=made.exact,
        along=made.along,
        spread=made.spread,
        first_share=mean(seen.by_group(seen.first_shares(made)), axis=1) if keep_first else None,
    )
    return to_dataset(found, info=info)


class _Seen:
    """What is kept of prompts, batch by batch.

    Attributes:
        places: [prompt place] positions of the target and of the tokens beside it, −1 where there is none
            that is measured.
        states: [prompt place layer d_model]; NaN where there is no place.
        first: the same of position 0, [prompt layer d_model], where it is part of the PCA.
    """

    def __init__(self, run: Run, plan: GroupedPrompts, keep_first: bool, n: int) -> None:
        layers, width = int(run.model.cfg.n_layers) + 1, int(run.model.cfg.d_model)
        self.run, self.plan, self.skip = run, plan, int(not keep_first)
        prompts, at = len(plan.prompts), plan.target[:, 0, 1]
        before = np.where(at - 1 >= self.skip, at - 1, -1)
        self.places = np.stack([before, at, np.where(at + 1 < plan.n_tokens, at + 1, -1)], axis=1)
        self.states = torch.full((prompts, len(PLACES), layers, width), torch.nan)
        self.first = torch.zeros((prompts if keep_first else 0, layers, width))
        self.tokens = np.full((prompts, int(plan.n_tokens.max())), -1)
        self.fit = Fit(layers * int((plan.n_tokens - self.skip).sum()), width, n, plan.n)

    def of(self, indices: Sequence[int]) -> Visit:
        """What sees the hidden states of a batch."""
        rows = torch.tensor(list(indices))
        places = torch.from_numpy(self.places[list(indices)])

        def see(layer: int, state: Tensor) -> None:
            x = self.run.geometry.apply(layer, state.detach()).float().cpu()
            taken = x[torch.arange(len(rows))[:, None], places.clamp(min=0)]
            taken[places < 0] = torch.nan
            self.states[rows, :, layer] = taken
            if not self.skip:
                self.first[rows, layer] = x[:, 0]
            of = np.repeat(self.plan.row[list(indices)], x.shape[1] - self.skip)
            self.fit.add(x[:, self.skip :].reshape(-1, x.shape[-1]).numpy(), of)

        return see

    def by_group(self, x: np.ndarray) -> np.ndarray:
        """[prompt word …] of what is [prompt of all groups …]; NaN, or −1, where a prompt is not of it."""
        missing = -1 if x.dtype.kind == "i" else np.nan
        found = np.full((self.plan.n, len(self.plan.words), *x.shape[1:]), missing, x.dtype)
        found[self.plan.row, self.plan.group] = x
        return found

    def turns(self, backend: str) -> tuple[np.ndarray, np.ndarray]:
        """Of the target along depth and along positions, [prompt layer] each, a prompt at a time."""
        depth, position = np.full((2, self.states.shape[0], self.states.shape[2]), np.nan)
        for row, prompt in enumerate(self.states.double()):
            steps = prompt[1].diff(dim=0)
            depth[row, 1:-1] = angle(steps[:-1], steps[1:], backend=backend).numpy()
            along = prompt.diff(dim=0)
            position[row] = angle(along[0], along[1], backend=backend).numpy()
        return depth, position

    def first_shares(self, made: Principal) -> np.ndarray:
        """[prompt]; their mean is the share of axis 1's variance that position 0 has."""
        along = made.project(self.first.double().numpy())[..., 0]
        whole = made.variance[0] * (made.rows - 1) / len(along)
        return np.asarray((along**2).sum(axis=1) / whole)


def _distances(plan: GroupedPrompts, target: np.ndarray) -> dict[str, np.ndarray]:
    """How far groups are apart, from the target's vectors [prompt of all groups layer d_model]."""
    of = [plan.group == one for one in range(len(plan.words))]
    groups, rows = [target[one] for one in of], [plan.row[one] for one in of]
    means = [one.mean(axis=0, dtype=np.float64) for one in groups]
    pairs = list(combinations(range(len(groups)), 2))
    found = {
        "part": every_part(groups, rows, plan.n, paired=plan.paired),
        "published": np.stack([_length(means[a], means[b]) for a, b in pairs]),
    }
    if plan.paired:
        found["distance"] = np.stack([_length(groups[a], groups[b]) for a, b in pairs], axis=1)
    return found


def _coordinates(made: Principal, states: Tensor) -> np.ndarray:
    """[prompt place layer axis], a prompt at a time: vectors are widened."""
    return np.stack([made.project(prompt.double().numpy()) for prompt in states])


def _length(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """‖x − y‖ over the last axis, in float64."""
    return np.asarray(np.linalg.norm(x.astype(np.float64) - y, axis=-1))


def _check_memory(run: Run, plan: GroupedPrompts, seen: _Seen) -> None:
    """Counts what is kept before anything is run."""
    length = int(plan.n_tokens.max())
    batch = min(len(plan.prompts), max(1, BATCH_TOKENS // length))
    vectors = seen.states.numel() + seen.first.numel()
    size = f"{seen.fit.rows} states for the PCA, at most {MOST_NUMBERS} numbers or some blocks at a time"
    # the PCA's block, with what is computed from it, and the targets' vectors, some of them widened
    need = Need(
        "vectors", size, 3 * seen.fit.held.nbytes + 8 * vectors, STATES_AT_ONCE, advice="fewer other words"
    )
    check_fits(run.model, need, batch=batch, length=length)
