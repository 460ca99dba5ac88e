"""What a dimension study measures: each dimension's part of a cosine, and angles without some dimensions.

Each text is run once. Half of the texts choose the dimensions; the other half then says what they do, so that
a dimension is not credited with the noise it was chosen for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from jaxtyping import Int
from torch import Tensor

from laminar_lens.axes import Progress
from laminar_lens.errors import InputError
from laminar_lens.models.batches import PromptBatches
from laminar_lens.models.calibration import SKIP
from laminar_lens.models.passes import each_batch
from laminar_lens.stats.streams import stream
from laminar_lens.studies.dimensions.cosines import PAIRS, contributions, without
from laminar_lens.studies.dimensions.geometries import Compared, compared
from laminar_lens.studies.measured import Axes, to_dataset
from laminar_lens.studies.run import Run

DRAWS = 50
BY = "geometry pairs layer"


@dataclass(frozen=True, eq=False)
class Contributions:
    """Sums over texts; axes [geometry pairs layer d_model] where not said.

    Attributes:
        mean: mean over texts (of each text's mean over its pairs) of u_k·v_k/(‖u‖‖v‖).
        sd: its standard deviation over texts.
        size: the same mean of |u_k||v_k|/(‖u‖‖v‖): what it would be if the signs always agreed.
        cosine: [geometry pairs layer], their sums' means.
        n: number of texts.
    """

    mean: np.ndarray
    sd: np.ndarray
    size: np.ndarray
    cosine: np.ndarray
    n: int


@dataclass(frozen=True, eq=False)
class Removal:
    """What removing dimensions does.

    Attributes:
        angle: [geometry pairs layer text removed] in radians, without the first 0, 1, … of the chosen.
        null: [geometry pairs layer draw removed], the mean over texts without as many random dimensions.
        part: [geometry pairs layer text rank], contribution of each of the chosen.
        cosine: [geometry pairs layer text].
    """

    angle: np.ndarray
    null: np.ndarray
    part: np.ndarray
    cosine: np.ndarray


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was measured: contributions in the texts that choose and in those that are measured, and what
    removing the chosen does in these.

    Attributes:
        before_mean … after_cosine: see `Contributions`; `n_before`, `n_after` are its numbers of texts.
        order: dimensions by their contribution in the texts that choose.
        angle … cosine: see `Removal`.
        geometry: names, of the study's geometry and, where it is not centred, of the same centred.
        text: which texts were measured; `group` is theirs, where texts of one group count as one.
    """

    before_mean: Annotated[np.ndarray, Axes(f"{BY} dimension", "1")]
    before_size: Annotated[np.ndarray, Axes(f"{BY} dimension", "1")]
    before_sd: Annotated[np.ndarray, Axes(f"{BY} dimension", "1")]
    after_mean: Annotated[np.ndarray, Axes(f"{BY} dimension", "1")]
    after_size: Annotated[np.ndarray, Axes(f"{BY} dimension", "1")]
    after_sd: Annotated[np.ndarray, Axes(f"{BY} dimension", "1")]
    before_cosine: Annotated[np.ndarray, Axes(BY, "1")]
    after_cosine: Annotated[np.ndarray, Axes(BY, "1")]
    order: Annotated[np.ndarray, Axes(f"{BY} dimension")]
    angle: Annotated[np.ndarray, Axes(f"{BY} text removed", "rad")]
    null: Annotated[np.ndarray, Axes(f"{BY} draw removed", "rad")]
    part: Annotated[np.ndarray, Axes(f"{BY} text rank", "1")]
    cosine: Annotated[np.ndarray, Axes(f"{BY} text", "1")]
    geometry: Annotated[np.ndarray, Axes("geometry")]
    layer: Annotated[np.ndarray, Axes("layer")]
    text: Annotated[np.ndarray, Axes("text")]
    n_before: int
    n_after: int
    n_texts: int
    body_from: int
    group: Annotated[np.ndarray, Axes("text")] | None = None

    @property
    def before(self) -> Contributions:
        """Of the texts that choose."""
        sizes = (self.before_mean, self.before_sd, self.before_size, self.before_cosine)
        return Contributions(*sizes, self.n_before)

    @property
    def after(self) -> Contributions:
        """Of the texts that are measured."""
        return Contributions(self.after_mean, self.after_sd, self.after_size, self.after_cosine, self.n_after)

    @property
    def removal(self) -> Removal:
        """What removing the chosen does."""
        return Removal(self.angle, self.null, self.part, self.cosine)


def measure(run: Run, removed: int) -> xr.Dataset:
    """Half of the texts choose the dimensions, the other half says what they do."""
    choose, use = split(len(run.tokens), run.groups, run.options.seed)
    skip = min(SKIP, (run.tokens.shape[1] + int(run.options.prepend_bos)) // 2)
    geometries = run.once("geometries", lambda: compared(run, skip))
    for one in geometries:
        one.check_others(run.tokens.tolist())
    runs = [run.batches(run.tokens[half]) for half in (choose, use)]
    before = measure_contributions(runs[0], geometries, skip, progress=run.progress)
    order = np.argsort(-np.abs(before.mean), axis=-1, kind="stable")
    random = _random_orders(before.mean.shape[-1], removed, run.options.seed)
    after, removal = measure_removal(
        runs[1], geometries, skip, order[..., :removed], random, progress=run.progress
    )
    halves = {"before": before, "after": after}
    sums = {
        f"{name}_{part}": getattr(half, part)
        for name, half in halves.items()
        for part in ("mean", "size", "sd", "cosine")
    }
    return to_dataset(
        Measurement(
            **sums,
            order=order,
            angle=removal.angle,
            null=removal.null,
            part=removal.part,
            cosine=removal.cosine,
            geometry=np.array([one.name for one in geometries]),
            layer=np.array(runs[0].layers),
            text=use,
            n_before=before.n,
            n_after=after.n,
            n_texts=len(run.tokens),
            body_from=skip,
            group=None if run.groups is None else run.groups[use],
        ),
        info={**runs[0].info, "geometry": {one.name: one.describe() for one in geometries}},
    )


def split(n: int, groups: np.ndarray | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts of a random half of the groups, and the others.

    Raises:
        InputError: fewer than 4 independent texts.
    """
    labels, member = np.unique(np.arange(n) if groups is None else groups, return_inverse=True)
    if len(labels) < 4:
        raise InputError(f"{len(labels)} independent texts: half of them choose, so at least 4 are needed")
    first = stream(seed, "texts that choose dimensions").permutation(len(labels)) < len(labels) // 2
    return np.flatnonzero(first[member]), np.flatnonzero(~first[member])


def _random_orders(width: int, removed: int, seed: int) -> np.ndarray:
    """Dimensions drawn at random without replacement, [draw rank]."""
    rng = stream(seed, "dimensions at random")
    return np.stack([rng.permutation(width)[:removed] for _ in range(DRAWS)])


def measure_contributions(
    run: PromptBatches,
    geometries: Sequence[Compared],
    skip: int,
    *,
    progress: Progress | None = None,
) -> Contributions:
    """Each dimension's mean part of each kind of pair's cosine."""
    sums = _Sums(run, len(geometries))

    def see(layer: int, state: Tensor) -> None:
        for row, geometry in enumerate(geometries):
            x = geometry.apply(layer, state.detach()).double()
            sums.add(row, layer, x, contributions(x, skip), skip)

    for batch in each_batch(run, "texts that choose dimensions", progress):
        batch.run(see)
    return sums.means()


class _Sums:
    """Running sums of contributions over texts."""

    def __init__(self, run: PromptBatches, n_geometries: int) -> None:
        shape = (n_geometries, len(PAIRS), len(run.layers), int(run.model.cfg.d_model))
        self.total, self.square, self.size = np.zeros((3, *shape))
        self.at, self.n = {layer: row for row, layer in enumerate(run.layers)}, len(run.rows)

    def add(self, row: int, layer: int, x: Tensor, parts: Tensor, skip: int) -> None:
        """Texts in one geometry: their vectors, and the contributions of these."""
        where, each = self.at[layer], parts.cpu().numpy()
        self.total[row, :, where] += each.sum(1)
        self.square[row, :, where] += (each**2).sum(1)
        self.size[row, :, where] += contributions(x.abs(), skip).sum(1).cpu().numpy()

    def means(self) -> Contributions:
        """Of all texts."""
        n, mean = self.n, self.total / self.n
        sd = np.sqrt(np.maximum(self.square / n - mean**2, 0) * n / max(n - 1, 1))
        return Contributions(mean, sd, self.size / n, mean.sum(-1), n)


def measure_removal(
    run: PromptBatches,
    geometries: Sequence[Compared],
    skip: int,
    top: Int[np.ndarray, "geometry pairs layer rank"],
    random: Int[np.ndarray, "draw rank"],
    *,
    progress: Progress | None = None,
) -> tuple[Contributions, Removal]:
    """Contributions, and angles without the first 0, 1, 2, … dimensions of each order."""
    kinds, layers, n, ranks = len(PAIRS), len(run.layers), len(run.rows), top.shape[-1]
    angle = np.full((len(geometries), kinds, layers, n, ranks + 1), np.nan)
    null = np.zeros((len(geometries), kinds, layers, len(random), ranks + 1))
    part = np.full((len(geometries), kinds, layers, n, ranks), np.nan)
    cosine = np.full((len(geometries), kinds, layers, n), np.nan)
    sums, draws = _Sums(run, len(geometries)), torch.from_numpy(random)

    def see(indices: Sequence[int], layer: int, state: Tensor) -> None:
        where = sums.at[layer]
        for row, geometry in enumerate(geometries):
            x = geometry.apply(layer, state.detach()).double().cpu()
            shares = contributions(x, skip)
            sums.add(row, layer, x, shares, skip)
            chosen = torch.from_numpy(top[row, :, where])
            found = without(x, skip, torch.cat([chosen, draws]))
            null[row, :, where] += found[:, kinds:].sum(2).numpy() / n
            for kind in range(kinds):
                angle[row, kind, where, list(indices)] = found[kind, kind].numpy()
                part[row, kind, where, list(indices)] = shares[kind][:, chosen[kind]].numpy()
                cosine[row, kind, where, list(indices)] = shares[kind].sum(-1).numpy()

    for batch in each_batch(run, "angles without dimensions", progress):
        batch.run(partial(see, batch.indices))
    return sums.means(), Removal(angle, null, part, cosine)
