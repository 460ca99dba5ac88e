"""What a rotation study measures: every token's turn since the layer before, and layers against each other.

Of a hidden state only the vectors of targets, and of each prompt's last token, outlive its measuring, and
these until their batch is done.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from laminar_lens.kernels import angle, pairwise_angles
from laminar_lens.models.forward import Visit
from laminar_lens.models.memory import Need, check_fits
from laminar_lens.models.selection import with_previous
from laminar_lens.stats.means import mean
from laminar_lens.stats.streams import stream
from laminar_lens.studies.measured import Axes, to_dataset
from laminar_lens.studies.run import Run
from laminar_lens.studies.stream import STATES_AT_ONCE, AngleBatch
from laminar_lens.studies.target_prompts import TargetPrompts, check_tokens

AT = ("target", "last")
"""Tokens whose layers are compared with each other."""
BETWEEN = "angle between two layers' vectors of one token"


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was measured; angles in radians.

    Attributes:
        target, before, shuffled: rotation since the layer before, of the target, of the token before it, and
            from the target to shuffled tokens; each prompt's mean over occurrences and draws.
        influence: 1 minus the mean cosine between a token's vector and its own in the layer before, over all
            of a prompt's tokens.
        between: angles of `AT` between all layers that were read.
        layer: hidden states; `state` and `to_state` are all that were read.
        target_pair: positions of the word before the target, and of the target; −1 for none.
        shuffled_at: positions of the shuffled tokens.
        n_layers: number of the model's last hidden state.
        random: mean rotation of the target with random weights.
    """

    target: Annotated[np.ndarray, Axes("prompt layer", "rad", "rotation of the target")]
    before: Annotated[np.ndarray, Axes("prompt layer", "rad", "rotation of the word before it")]
    shuffled: Annotated[np.ndarray, Axes("prompt layer", "rad", "angle from the target to shuffled tokens")]
    influence: Annotated[np.ndarray, Axes("prompt layer", "1", "block influence")]
    between: Annotated[np.ndarray, Axes("prompt which state to_state", "rad", BETWEEN)]
    layer: Annotated[np.ndarray, Axes("layer")]
    state: Annotated[np.ndarray, Axes("state")]
    which: Annotated[np.ndarray, Axes("which")]
    target_pair: Annotated[np.ndarray, Axes("prompt occurrence end")]
    shuffled_at: Annotated[np.ndarray, Axes("prompt occurrence draw")]
    n_tokens: Annotated[np.ndarray, Axes("prompt")]
    token_id: Annotated[np.ndarray, Axes("prompt pos")]
    text: Annotated[np.ndarray, Axes("prompt")]
    n_layers: int
    random: Annotated[np.ndarray, Axes("layer", "rad")] | None = None


def measure(run: Run, n_shuffled: int) -> xr.Dataset:
    """Runs each prompt once, and once more with random weights."""
    plan = run.texts
    assert isinstance(plan, TargetPrompts)
    shown = np.array([layer for layer in run.layers if layer > 0])
    read = with_previous(shown.tolist())
    seen = Seen(run, plan, shuffled_places(plan, n_shuffled, run.options.seed), read)
    for batch in _batches(run, plan, read, seen.of, n_shuffled):
        seen.add(batch)
    check_tokens(plan, seen.tokens, bos=int(run.options.prepend_bos))
    rows = np.searchsorted(read, shown) - 1
    made = Measurement(
        target=_over_occurrences(seen.rotation[0], plan)[:, rows],
        before=_over_occurrences(seen.rotation[1], plan)[:, rows],
        shuffled=mean(seen.shuffled, axis=(1, 2))[:, rows],
        influence=seen.influence[:, rows],
        between=seen.between,
        layer=shown,
        state=np.array(read),
        which=np.array(AT),
        target_pair=plan.target,
        shuffled_at=seen.places,
        n_tokens=plan.n_tokens,
        token_id=seen.tokens,
        text=np.array(plan.prompts, dtype=object),
        n_layers=int(run.model.cfg.n_layers),
        random=_random(run, plan, read, rows) if run.options.random_init else None,
    )
    return to_dataset(made, info=seen.info)


def shuffled_places(plan: TargetPrompts, n_shuffled: int, seed: int) -> np.ndarray:
    """Positions [prompt occurrence draw] of other tokens than the target, drawn with replacement from those
    of its own prompt; −1 where there is no target."""
    places = np.full((*plan.target.shape[:2], n_shuffled), -1)
    for index, n in enumerate(plan.n_tokens.tolist()):
        rng = stream(seed, "shuffled tokens of a prompt", index)
        for slot, own in enumerate(plan.target[index, :, 1].tolist()):
            drawn = rng.integers(0, n - 1, n_shuffled)
            if own >= 0:
                places[index, slot] = drawn + (drawn >= own)
    return places


class Seen:
    """Numbers by prompt, put together batch by batch.

    Attributes:
        rotation: [which prompt occurrence layer − 1], of the target and of the token before it.
        shuffled: [prompt occurrence draw layer − 1].
        influence: [prompt layer − 1].
        between: [prompt which state to_state].
        places: of the shuffled tokens.
        tokens: ids [prompt pos], −1 after a prompt's end.
    """

    def __init__(self, run: Run, plan: TargetPrompts, places: np.ndarray, read: Sequence[int]) -> None:
        n, occurrences, draws = places.shape
        steps = len(read) - 1
        self.run, self.plan, self.places, self.read = run, plan, places, tuple(read)
        self.info: dict[str, Any] = {}
        self.rotation = np.full((2, n, occurrences, steps), np.nan)
        self.shuffled = np.full((n, occurrences, draws, steps), np.nan)
        self.influence = np.full((n, steps), np.nan)
        self.between = np.full((n, len(AT), len(read), len(read)), np.nan)
        self.tokens = np.full((n, int(plan.n_tokens.max())), -1)

    def of(self, indices: Sequence[int]) -> Visit:
        """What sees the hidden states of a batch."""
        rows = list(indices)
        targets = torch.from_numpy(np.maximum(self.plan.target[rows, :, 1], 0))
        drawn = torch.from_numpy(np.maximum(self.places[rows], 0))
        kept: list[Tensor] = []
        batch = torch.arange(len(rows))[:, None]

        def see(layer: int, state: Tensor) -> None:
            x = self.run.geometry.apply(layer, state.detach())
            place = batch.to(x.device)
            if kept:
                first = kept[-1][:, :-1, None].expand(*drawn.shape, -1).to(x.device)
                other = x[place[..., None], drawn.to(x.device)]
                found = angle(first.contiguous(), other, backend=self.run.options.backend)
                self.shuffled[rows, :, :, len(kept) - 1] = _numpy(found)
            kept.append(torch.cat([x[place, targets.to(x.device)], x[:, -1:]], dim=1))
            if layer == self.read[-1]:
                self._compare(rows, kept)

        return see

    def _compare(self, rows: list[int], kept: list[Tensor]) -> None:
        """Layers with each other, of the targets and of the last token."""
        device = kept[-1].device
        states = torch.stack([one.to(device, kept[-1].dtype) for one in kept], dim=2)
        found = _numpy(pairwise_angles(states, backend=self.run.options.backend))
        missing = self.plan.target[rows, :, 1] < 0
        target = np.where(missing[..., None, None], np.nan, found[:, :-1])
        self.between[rows] = np.stack([mean(target, axis=1), found[:, -1]], axis=1)

    def add(self, batch: AngleBatch) -> None:
        """Rotations of one batch."""
        rows, self.info = list(batch.indices), batch.info
        turned = batch.angles["rotation"]  # [layer − 1, batch, pos]
        self.tokens[rows, : batch.tokens.shape[1]] = batch.tokens
        self.influence[rows] = 1 - mean(np.cos(turned.astype(np.float64)), axis=2).T
        self.shuffled[rows] = np.where(self.places[rows][..., None] < 0, np.nan, self.shuffled[rows])
        for which, end in enumerate((1, 0)):
            self.rotation[which, rows] = _rotations(turned, self.plan.target[rows, :, end])


def _batches(
    run: Run, plan: TargetPrompts, read: tuple[int, ...], visit: Any = None, n_shuffled: int = 0
) -> Iterator[AngleBatch]:
    """The prompts' rotations, once the vectors that a batch keeps are known to fit."""
    batches = run.batches(plan.prompts)
    batch, length = batches.largest()
    occurrences = plan.target.shape[1]
    vectors = batch * ((occurrences + 1) * len(read) + 2 * occurrences * n_shuffled)
    size = f"{len(read)} layers of {batch} prompts' targets and last tokens, and shuffled tokens"
    need = Need("vectors", size, 4 * vectors * int(run.model.cfg.d_model), STATES_AT_ONCE)
    check_fits(run.model, need, batch=batch, length=length)
    return run.angle_batches(plan.prompts, ("rotation",), layers=read, visit=visit, label="capturing prompts")


def _rotations(turned: np.ndarray, places: np.ndarray) -> np.ndarray:
    """[batch occurrence layer − 1] from the rotations [layer − 1 batch pos] of all tokens."""
    found = turned[:, np.arange(len(places))[:, None], np.maximum(places, 0)]
    return np.moveaxis(np.where(places < 0, np.nan, found), 0, -1)


def _over_occurrences(rotation: np.ndarray, plan: TargetPrompts) -> np.ndarray:
    return mean(np.where(plan.target[..., :1] < 0, np.nan, rotation), axis=1)


def _random(run: Run, plan: TargetPrompts, read: tuple[int, ...], rows: np.ndarray) -> np.ndarray | None:
    """Mean rotation [layer] of the target in the same architecture with random weights."""
    twin = run.twin("No random-weights curve")
    if twin is None:
        return None
    parts = [
        _rotations(batch.angles["rotation"], plan.target[list(batch.indices), :, 1])
        for batch in _batches(twin, plan, read)
    ]
    return np.asarray(mean(np.concatenate([mean(part, axis=1) for part in parts]), axis=0)[rows])


def _numpy(values: Tensor) -> np.ndarray:
    return np.asarray(values.cpu().numpy(), dtype=np.float64)
