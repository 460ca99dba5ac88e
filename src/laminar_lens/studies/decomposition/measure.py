"""What a decomposition study measures while the model runs: the two writes of each step.

Of every token only means over its text are kept, and the cosine by position; a block's writes live until its
output is there. In another geometry than raw a write is the change that it makes to the mapped vector, on the
way from a block's input over attention's write to its output, in the geometry of that input; the changes add
up to the step's.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from laminar_lens.errors import ModelError
from laminar_lens.geometry import Geometry
from laminar_lens.models.batches import PromptBatches
from laminar_lens.models.families import WRITES
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.passes import Batch, each_batch
from laminar_lens.models.steps import TERMS, Step, StepWatch, is_parallel, tolerance
from laminar_lens.models.surroundings import blame
from laminar_lens.studies.decomposition.heads import HeadWatch, measure_heads
from laminar_lens.studies.decomposition.model import architecture
from laminar_lens.studies.decomposition.numbers import HEADS, OF_TEXTS, Measured
from laminar_lens.studies.decomposition.parts import PARTS, Writes, other_tokens
from laminar_lens.studies.measured import to_dataset
from laminar_lens.studies.run import Run
from laminar_lens.studies.steps import broken_steps

MEANS: dict[str, Callable[[Writes], Tensor]] = {
    "cosine": lambda w: w.cosine,
    "ratio": lambda w: w.ratio,
    "residual": lambda w: w.xx.sqrt(),
    "length": lambda w: w.lengths,
    "relative": lambda w: w.relative,
    "along": lambda w: w.along,
    "across": lambda w: w.across,
    "radial": lambda w: w.radial,
    "with_residual": lambda w: w.with_residual,
    "with_step": lambda w: w.with_step,
    "turn": lambda w: w.turn,
}
"""What is averaged over the tokens of a text, each [part batch pos] or [batch pos]."""


def measure(run: Run, body_from: int, *, heads: bool) -> xr.Dataset:
    """Runs texts of one length once.

    Raises:
        ModelError: in no block input + attention + MLP is the output, or a hook does not fire.
        CaptureError: a residual vector is not finite.
    """
    batches = run.batches()
    run.geometry.check_others(batches.texts_only)
    out = _empty(batches, run.geometry, body_from, heads=heads)
    for batch in each_batch(batches, "writes", run.progress):
        _Pass(batch, run.geometry, out).measure()
        _check_steps(batches.model, out)
    places = np.maximum(out.place_count, 1)
    out.place_cosine = np.where(out.place_count > 0, out.place_cosine / places, np.nan)
    broken = broken_steps(out.error, out.layer - 1, next(run.model.parameters()).dtype, run.notes)
    out.place_cosine[broken] = np.nan
    for name in OF_TEXTS:
        if (values := getattr(out, name)) is not None:
            values[:, broken] = np.nan
    out.group = run.groups
    return to_dataset(out, info={**batches.info, "geometry": run.geometry.describe()})


def _empty(run: PromptBatches, geometry: Geometry, body_from: int, *, heads: bool) -> Measured:
    """Room for every number."""
    layer = np.array(sorted(layer for layer in set(run.layers) if layer > 0))
    n, layers = len(run.rows), len(layer)
    axes: dict[str, tuple[str, ...]] = {
        "length": PARTS,
        "relative": PARTS,
        "along": PARTS,
        "across": PARTS,
        "radial": PARTS,
    }
    axes |= {"with_residual": PARTS, "with_step": WRITES, "turn": PARTS}
    by_head = (int(run.model.cfg.n_heads),) if heads else None
    room: dict[str, Any] = {
        name: np.full((n, layers, *([len(axes[name])] if name in axes else [])), np.nan)
        for name in OF_TEXTS
        if name not in HEADS
    }
    room |= {name: np.full((n, layers, *by_head), np.nan) for name in HEADS if by_head}
    return Measured(
        **room,
        place_cosine=np.zeros((layers, run.longest)),
        place_count=np.zeros((layers, run.longest), np.int64),
        error=np.zeros(layers),
        layer=layer,
        body_from=body_from,
        geometry=geometry.name,
        last=int(run.model.cfg.n_layers),
        parallel=is_parallel(run.model),
    )


class _Pass:
    """One forward pass of one batch, written into `out`."""

    def __init__(self, batch: Batch, geometry: Geometry, out: Measured) -> None:
        self.model, self.batch, self.geometry, self.out = batch.prompts.model, batch, geometry, out
        self.texts = list(batch.indices)
        length, blocks = len(batch.prompts.rows[self.texts[0]]), (out.layer - 1).tolist()
        self.steps = StepWatch(self.model, blocks, length, self.take)
        self.heads = None if out.head_cosine is None else HeadWatch(self.model, blocks, length)

    def measure(self) -> None:
        watch = [*self.steps.watch(), *(self.heads.watch() if self.heads else ())]
        self.batch.run(lambda layer, state: None, watch=watch)
        for block in self.steps.blocks:
            for part in TERMS:
                if (part, block) not in self.steps.fired:
                    raise ModelError(
                        f"{architecture(self.model)}: in block {block} the hook of {part!r} does not fire, "
                        "so that its step cannot be decomposed; leave that layer out with layers=, or "
                        "try bridge=True"
                    )

    def take(self, row: int, step: Step) -> None:
        """One block's step."""
        out, body_from = self.out, self.out.body_from
        # unlike max(), np.maximum keeps a NaN
        out.error[row] = np.maximum(out.error[row], float(step.error().max()))
        attn, mlp = (write.double() for write in self.changes(row, step))
        writes = Writes.of(self.mapped(row, step.before), attn, mlp, parallel=out.parallel)
        for name, of in MEANS.items():
            mean = of(writes)[..., body_from:].nanmean(-1)
            getattr(out, name)[self.texts, row] = mean.movedim(-1, 0).cpu().numpy()
        out.other[self.texts, row] = other_tokens(attn[:, body_from:], mlp[:, body_from:]).cpu().numpy()
        out.place_cosine[row] += writes.cosine.nansum(0).cpu().numpy()
        out.place_count[row] += writes.cosine.isfinite().sum(0).cpu().numpy()
        if self.heads:
            z = self.heads.taken(row)
            found = measure_heads(self.model, int(out.layer[row]) - 1, z, step, body_from)
            for name, values in found.items():
                getattr(out, name)[self.texts, row] = values.cpu().numpy()

    def mapped(self, row: int, state: Tensor) -> Tensor:
        """Vectors in the geometry of the block's input."""
        return self.geometry.apply(int(self.out.layer[row]) - 1, state)

    def changes(self, row: int, step: Step) -> tuple[Tensor, Tensor]:
        """What the writes change of the mapped vectors; the writes themselves in raw."""
        if self.geometry.name == "raw":
            return step.writes
        states = (step.before, step.before + step.attn, step.before + step.attn + step.mlp)
        before, between, after = map(partial(self.mapped, row), states)
        return between - before, after - between


def _check_steps(model: HookedModel, out: Measured) -> None:
    """Refuses a model whose steps are in no block the sum of what is seen to be written, after the first
    batch.

    Raises:
        ModelError: names the architecture and how far off it is.
    """
    limit = tolerance(next(model.parameters()).dtype)
    if not (out.error > limit).all():
        return
    outside = blame(model)
    why = f"{outside}, which may be why" if outside else "this study does not fit it"
    raise ModelError(
        f"{architecture(model)}: in no block input + attention + MLP is the output (off by at least "
        f"{out.error.min():.2g} of the longest of them, {limit:g} is allowed): {why}"
    )
