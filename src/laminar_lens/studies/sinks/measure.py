"""What a sink study measures while the model runs: lengths, attention received, largest activations, writes.

Of every hidden state only numbers by text, layer and position are kept; a block's writes live until its
output is there. Lengths and activations are those of a geometry; what blocks write adds up to the residual
vectors themselves, so that it is measured in raw alone. Of layers that are chosen, the blocks are those that
they come out of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from laminar_lens.axes import Progress
from laminar_lens.geometry import Geometry
from laminar_lens.models.batches import PromptBatches, token_strings
from laminar_lens.models.families import WRITES, family_of
from laminar_lens.models.forward import Watch
from laminar_lens.models.passes import Batch, each_batch
from laminar_lens.models.steps import Step, StepWatch, has_hooks, widened
from laminar_lens.stats.sinks import HEAD_SHARE
from laminar_lens.studies.measured import to_dataset
from laminar_lens.studies.run import Run
from laminar_lens.studies.sinks.blocks import ATTENTION, silent
from laminar_lens.studies.sinks.numbers import FLOOR, NORMS, RELATIVE, VARIANTS, Sinks, length_ratios
from laminar_lens.studies.steps import broken_steps

RANDOM_TEXTS = 60


def measure(run: Run) -> xr.Dataset:
    """Runs texts of one length once, and a part of them with random weights.

    Raises:
        InputError: a text that the geometry was fitted on.
        CaptureError: a residual vector is not finite.
    """
    batches = run.batches()
    found = measure_sinks(batches, run.geometry, run.notes, run.beside, progress=run.progress)
    found.group = run.groups
    if run.options.random_init and (random := run.once("random weights", lambda: _random(run))) is not None:
        found.random_norm, found.random_resting = random.norm, random.resting
    return to_dataset(found, info={**batches.info, "geometry": run.geometry.describe()})


def _random(run: Run) -> Sinks | None:
    """A part of the same texts in the same architecture with random weights, without interventions."""
    twin = run.twin("No random weights")
    if twin is None:
        return None
    batches = replace(twin, changes=()).batches(run.tokens[:RANDOM_TEXTS])
    return measure_sinks(batches, twin.geometry, [], label="random weights", progress=run.progress)


def measure_sinks(
    run: PromptBatches,
    geometry: Geometry,
    notes: list[str],
    beside: Mapping[str, Geometry] = MappingProxyType({}),
    *,
    label: str = "sinks",
    progress: Progress | None = None,
) -> Sinks:
    """Runs texts of one length once; `notes` get what could not be measured, and why."""
    for one in (geometry, *beside.values()):
        one.check_others([row[int(bool(run.info["prepend_bos"])) :] for row in run.rows])
    wanted = (ATTENTION, *(WRITES if geometry.name == "raw" else ()))
    blocks = [layer - 1 for layer in run.layers if layer > 0]
    watched = [kind for kind in wanted if blocks and has_hooks(run.model, kind, blocks)]
    out = _empty(run, geometry, watched, beside)
    fired: set[tuple[str, int]] = set()
    for batch in each_batch(run, label, progress):
        _Pass(batch, geometry, tuple(beside.values()), out, fired).measure(watched)
    for kind in wanted:
        if note := silent(run.model, kind, blocks, fired):
            notes.append(note)
            _leave_out(out, kind)
    if out.write is not None and out.error is not None:
        dtype = next(run.model.parameters()).dtype
        out.write[:, broken_steps(out.error, out.block, dtype, notes)] = np.nan
    return out


def _leave_out(out: Sinks, kind: str) -> None:
    """Nothing of what the model does not show."""
    if kind == ATTENTION:
        out.received = out.first = out.resting = None
    else:
        out.write = out.error = None


def _empty(
    run: PromptBatches, geometry: Geometry, watched: Sequence[str], beside: Mapping[str, Geometry]
) -> Sinks:
    """Room for every number."""
    layer = np.array(sorted(set(run.layers)))
    block = layer[layer > 0] - 1
    n, length, layers, blocks = len(run.rows), run.longest, len(layer), len(block)
    of_dimensions = (len(VARIANTS), layers, int(run.model.cfg.d_model))
    heads = int(run.model.cfg.n_heads) if ATTENTION in watched else 0
    writes = all(kind in watched for kind in WRITES)
    tokens = np.array(run.rows)
    token, word = _vocabulary(run, tokens)
    room = partial(np.zeros, dtype=np.float32)
    return Sinks(
        norm=room((n, layers, length)),
        value=room((n, layers, length)),
        dimension=np.zeros((n, layers, length), np.int32),
        median=room((n, layers)),
        massive=np.zeros(of_dimensions, np.int64),
        massive_first=np.zeros(of_dimensions, np.int64),
        token_id=tokens,
        token=token,
        word=word,
        layer=layer,
        block=block,
        geometry=geometry.name,
        bos=bool(run.info["prepend_bos"]),
        last=int(run.model.cfg.n_layers),
        final_norm=run.final_norm,
        received=np.zeros((blocks, heads, length)) if heads else None,
        first=room((n, blocks, heads)) if heads else None,
        resting=room((n, blocks, length)) if heads else None,
        write=np.full((n, blocks, len(WRITES), length), np.nan, np.float32) if writes else None,
        error=np.zeros(blocks) if writes else None,
        beside=room((len(beside), layers, n)) if beside else None,
        geometries=np.array(list(beside)) if beside else None,
    )


def _vocabulary(run: PromptBatches, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every token that occurs, and its text."""
    known = torch.from_numpy(np.unique(tokens))[None]
    words = token_strings(getattr(run.model, "tokenizer", None), known, torch.ones_like(known).bool())[0]
    return known[0].numpy(), np.array(words, dtype=object)


class _Pass:
    """One forward pass of one batch, written into `out`; `fired` gets the hook points that did."""

    def __init__(
        self,
        batch: Batch,
        geometry: Geometry,
        beside: Sequence[Geometry],
        out: Sinks,
        fired: set[tuple[str, int]],
    ) -> None:
        self.batch, self.geometry, self.beside = batch, geometry, beside
        self.out, self.indices, self.fired = out, list(batch.indices), fired
        self.length = len(batch.prompts.rows[self.indices[0]])

    def measure(self, watched: Sequence[str]) -> None:
        model, blocks = self.batch.prompts.model, self.out.block.tolist()
        parts = [kind for kind in watched if kind != ATTENTION]
        parts += [] if self.out.write is None else ["before", "after"]
        steps = StepWatch(model, blocks, self.length, self.step, parts, self.fired)
        patterns: list[Watch] = [
            (family_of(model.cfg).hook(ATTENTION, block), partial(self.attention, row))
            for row, block in enumerate(blocks)
            if ATTENTION in watched
        ]
        self.batch.run(self.state, watch=[*patterns, *steps.watch()])

    def state(self, layer: int, state: Tensor) -> None:
        row, raw = int(np.searchsorted(self.out.layer, layer)), state.detach()
        self.vectors(row, widened(self.geometry.apply(layer, raw)))
        for at, geometry in enumerate(self.beside):
            assert self.out.beside is not None
            norm = widened(geometry.apply(layer, raw)).norm(dim=-1).cpu().numpy()
            self.out.beside[at, row, self.indices] = length_ratios(norm)[:, 0]

    def vectors(self, at: int, x: Tensor) -> None:
        """Lengths and largest coordinates of the vectors that are compared."""
        size = x.abs()
        norm = x.norm(dim=-1)
        largest, of_text = size.max(dim=-1), size.amax(dim=1)
        median, typical = _medians(size.flatten(1)), norm.median(dim=1).values
        for row, limit in enumerate(_limits(median, typical)):
            self.out.massive[row, at] += (of_text > limit[:, None]).sum(dim=0).cpu().numpy()
            self.out.massive_first[row, at] += (size[:, 0] > limit[:, None]).sum(dim=0).cpu().numpy()
        self.out.norm[self.indices, at] = norm.cpu().numpy()
        self.out.value[self.indices, at] = largest.values.cpu().numpy()
        self.out.dimension[self.indices, at] = largest.indices.cpu().numpy()
        self.out.median[self.indices, at] = median.cpu().numpy()

    def attention(self, row: int, pattern: Tensor, hook: object) -> None:
        """Mean attention that the queries from a position on pay to it.

        Source: arXiv 2410.10781, section 3: α_k = 1/(T − k) · Σ_{i ≥ k} A[i, k].
        """
        self.fired.add((ATTENTION, int(self.out.block[row])))
        text = pattern.detach()[:, :, -self.length :, -self.length :].float()
        queries = torch.arange(self.length, 0, -1, device=text.device)
        received = (text.sum(dim=2) / queries).cpu().numpy()
        out = self.out
        assert out.received is not None
        assert out.first is not None
        assert out.resting is not None
        out.received[row] += received.sum(axis=0) / len(out.norm)
        out.first[self.indices, row] = received[:, :, 0]
        out.resting[self.indices, row] = (received > HEAD_SHARE).mean(axis=1)

    def step(self, at: int, step: Step) -> None:
        """What each component did to the length: ‖post‖ − ‖pre‖ is the sum over them, exactly, of
        ⟨pre + post, write⟩ / (‖pre‖ + ‖post‖), where the step is the sum of the writes."""
        assert self.out.write is not None
        assert self.out.error is not None
        # unlike max(), np.maximum keeps a NaN
        self.out.error[at] = np.maximum(self.out.error[at], float(step.error().max()))
        both, total = step.before + step.after, step.before.norm(dim=-1) + step.after.norm(dim=-1)
        total = total.clamp(min=torch.finfo(total.dtype).tiny)
        for row, write in enumerate(step.writes):
            self.out.write[self.indices, at, row] = ((both * write).sum(-1) / total).cpu().numpy()


def _medians(x: Float[Tensor, "batch value"]) -> Float[Tensor, " batch"]:
    """As `x.median(dim=1)`, the lower one of an even count; on a CPU numpy takes a sixth of torch's time."""
    middle = (x.shape[1] - 1) // 2
    if x.device.type == "cpu":
        return torch.from_numpy(np.partition(x.numpy(), middle, axis=1)[:, middle].copy())
    return x.median(dim=1).values


def _limits(
    median: Float[Tensor, " batch"], typical: Float[Tensor, " batch"]
) -> tuple[Tensor, Tensor, Tensor]:
    """What a coordinate must exceed to be massive, by variant."""
    relative = RELATIVE * median
    return relative.clamp(min=FLOOR), relative, NORMS * typical
