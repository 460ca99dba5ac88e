"""What a sink study measures while the model runs: lengths, attention received, largest activations, writes.

Of every hidden state only numbers by text, layer and position are kept; a block's writes live until its
output is there. Lengths and activations are those of a geometry; what blocks write adds up to the residual
vectors themselves, so that it is measured in raw alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from laminar_lens.axes import Progress
from laminar_lens.geometry import Geometry
from laminar_lens.models.batches import PromptBatches, check_finite, finite_vectors, token_strings
from laminar_lens.models.families import WRITES, family_of
from laminar_lens.models.forward import Watch, run_states
from laminar_lens.stats.sinks import HEAD_SHARE
from laminar_lens.studies.layers import named_layers
from laminar_lens.studies.measured import Axes, to_dataset
from laminar_lens.studies.run import Run

RANDOM_TEXTS = 60
RESIDUAL = "unit of the residual stream"
ATTENTION = "pattern"
COMPONENTS = WRITES
VARIANTS = ("published", "relative", "scale_free")
"""|value| > 100 and > 1000 × the median |value|; the second alone; > 5 × the median norm of the text."""

FLOOR, RELATIVE, NORMS = 100.0, 1000.0, 5.0
IDENTITY = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 2e-3}
COARSEST_IDENTITY = 1.5e-2
"""How far a block's step may be from its writes' sum, over the longest of its input, output and writes at
that position: in half precision two roundings, of at most 2 and 1 times that length: 3·2⁻¹¹, and 3·2⁻⁸ in
bfloat16 or any other, with some room."""


@dataclass
class Sinks:
    """What was measured. Lengths and activations are the geometry's.

    Attributes:
        norm: length of each vector.
        value: largest |coordinate|; `dimension` says which.
        median: median |coordinate| of the text.
        massive: number of texts with a massive activation in that dimension.
        massive_first: the same, at position 0.
        token_id: with the BOS, where there is one.
        token, word: every token that occurs, and its text.
        geometry: its name.
        bos: whether position 0 is a BOS.
        received: mean over texts of the mean attention that later positions (and itself) pay to a position;
            None where the model shows no attention.
        first: the same of position 0, by text.
        resting: share of heads with more than `HEAD_SHARE` of it.
        write: growth of the length by each component; NaN where the step is not the sum of its writes; None
            in another geometry than raw.
        error: largest distance of a step from its writes' sum, relative to the longest of input, output and
            writes at that position; NaN where one of them is not finite, which checks nothing.
        random_norm, random_resting: norm and resting, with random weights.
        group: of each text, where texts of one group count as one.
    """

    norm: Annotated[np.ndarray, Axes("text layer pos", RESIDUAL, "length")]
    value: Annotated[np.ndarray, Axes("text layer pos", RESIDUAL, "largest |coordinate|")]
    dimension: Annotated[np.ndarray, Axes("text layer pos", "", "dimension of the largest |coordinate|")]
    median: Annotated[np.ndarray, Axes("text layer", RESIDUAL, "median |coordinate|")]
    massive: Annotated[np.ndarray, Axes("variant layer dimension_index")]
    massive_first: Annotated[np.ndarray, Axes("variant layer dimension_index")]
    token_id: Annotated[np.ndarray, Axes("text pos")]
    token: Annotated[np.ndarray, Axes("vocabulary")]
    word: Annotated[np.ndarray, Axes("vocabulary")]
    geometry: str
    bos: bool
    received: Annotated[np.ndarray, Axes("block head pos", "1")] | None = None
    first: Annotated[np.ndarray, Axes("text block head", "1")] | None = None
    resting: Annotated[np.ndarray, Axes("text block pos", "1")] | None = None
    write: Annotated[np.ndarray, Axes("text block component pos", RESIDUAL)] | None = None
    error: Annotated[np.ndarray, Axes("block", "1")] | None = None
    random_norm: Annotated[np.ndarray, Axes("random_text layer pos", RESIDUAL)] | None = None
    random_resting: Annotated[np.ndarray, Axes("random_text block pos", "1")] | None = None
    group: Annotated[np.ndarray, Axes("text")] | None = None


def measure(run: Run) -> xr.Dataset:
    """Runs texts of one length once, and a part of them with random weights.

    Raises:
        InputError: a text that the geometry was fitted on.
        CaptureError: a residual vector is not finite.
    """
    batches = run.batches()
    found = measure_sinks(batches, run.geometry, run.notes, progress=run.progress)
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
    *,
    label: str = "sinks",
    progress: Progress | None = None,
) -> Sinks:
    """Runs texts of one length once; `notes` get what could not be measured, and why."""
    geometry.check_others([row[int(bool(run.info["prepend_bos"])) :] for row in run.rows])
    wanted = (ATTENTION, *(COMPONENTS if geometry.name == "raw" else ()))
    watched = [kind for kind in wanted if _fires(run, kind, notes)]
    out = _empty(run, geometry, watched)
    done = 0
    for indices in run.indices():
        _Pass(run, geometry, out, indices).measure(watched)
        done += len(indices)
        if progress is not None:
            progress(label, done, len(run.rows))
    _refuse_broken_steps(out, next(run.model.parameters()).dtype, notes)
    return out


def _empty(run: PromptBatches, geometry: Geometry, watched: Sequence[str]) -> Sinks:
    """Room for every number."""
    n, length = len(run.rows), run.longest
    blocks, width = int(run.model.cfg.n_layers), int(run.model.cfg.d_model)
    heads = int(run.model.cfg.n_heads) if ATTENTION in watched else 0
    writes = all(kind in watched for kind in COMPONENTS)
    tokens = np.array(run.rows)
    known = torch.from_numpy(np.unique(tokens))[None]
    words = token_strings(getattr(run.model, "tokenizer", None), known, torch.ones_like(known).bool())[0]
    return Sinks(
        norm=np.zeros((n, blocks + 1, length), np.float32),
        value=np.zeros((n, blocks + 1, length), np.float32),
        dimension=np.zeros((n, blocks + 1, length), np.int32),
        median=np.zeros((n, blocks + 1), np.float32),
        massive=np.zeros((len(VARIANTS), blocks + 1, width), np.int64),
        massive_first=np.zeros((len(VARIANTS), blocks + 1, width), np.int64),
        token_id=tokens,
        token=known[0].numpy(),
        word=np.array(words, dtype=object),
        geometry=geometry.name,
        bos=bool(run.info["prepend_bos"]),
        received=np.zeros((blocks, heads, length)) if heads else None,
        first=np.zeros((n, blocks, heads), np.float32) if heads else None,
        resting=np.zeros((n, blocks, length), np.float32) if heads else None,
        write=np.full((n, blocks, len(COMPONENTS), length), np.nan, np.float32) if writes else None,
        error=np.zeros(blocks) if writes else None,
    )


class _Pass:
    """One forward pass of one batch, written into `out`."""

    def __init__(self, run: PromptBatches, geometry: Geometry, out: Sinks, indices: Sequence[int]) -> None:
        self.run, self.geometry, self.out, self.indices = run, geometry, out, list(indices)
        self.finite: list[Tensor] = []
        self.previous: Tensor | None = None
        self.written: dict[str, Tensor] = {}

    def measure(self, watched: Sequence[str]) -> None:
        tokens = self.run.tokens(self.indices)
        self.length = tokens.shape[1]
        watch: list[Watch] = []
        for block in range(self.out.norm.shape[1] - 1):
            for kind in watched:
                watch.append((family_of(self.run.model.cfg).hook(kind, block), self._reader(block, kind)))
        run_states(
            self.run.model,
            tokens,
            self.run.layers,
            self.state,
            interventions=self.run.interventions,
            indices=self.indices,
            watch=watch,
        )
        together = torch.stack([part.cpu() for part in self.finite])
        check_finite(together, self.run.layers, self.indices, range(self.length))

    def _reader(self, block: int, kind: str) -> Callable[[Tensor, Any], None]:
        def read(value: Tensor, hook: Any) -> None:
            if kind == ATTENTION:
                self.attention(block, value)
            else:
                # what interventions put before the text is left out
                self.written[kind] = value.detach()[:, -self.length :].clone()

        return read

    def state(self, layer: int, state: Tensor) -> None:
        raw = state.detach()
        self.finite.append(finite_vectors(raw))
        self.vectors(layer, _widened(self.geometry.apply(layer, raw)))
        if self.out.write is not None:
            x = _widened(raw)
            if layer > 0:
                self.step(layer - 1, x)
            self.previous = x.clone()

    def vectors(self, layer: int, x: Tensor) -> None:
        """Lengths and largest coordinates of the vectors that are compared."""
        size = x.abs()
        norm = x.norm(dim=-1)
        largest = size.max(dim=-1)
        median = size.flatten(1).median(dim=1).values
        typical = norm.median(dim=1).values
        for row, limit in enumerate(_limits(median, typical)):
            found = size > limit[:, None, None]
            self.out.massive[row, layer] += found.any(dim=1).sum(dim=0).cpu().numpy()
            self.out.massive_first[row, layer] += found[:, 0].sum(dim=0).cpu().numpy()
        self.out.norm[self.indices, layer] = norm.cpu().numpy()
        self.out.value[self.indices, layer] = largest.values.cpu().numpy()
        self.out.dimension[self.indices, layer] = largest.indices.cpu().numpy()
        self.out.median[self.indices, layer] = median.cpu().numpy()

    def attention(self, block: int, pattern: Tensor) -> None:
        """Mean attention that the queries from a position on pay to it.

        Source: arXiv 2410.10781, section 3: α_k = 1/(T − k) · Σ_{i ≥ k} A[i, k].
        """
        text = pattern.detach()[:, :, -self.length :, -self.length :].float()
        queries = torch.arange(self.length, 0, -1, device=text.device)
        received = (text.sum(dim=2) / queries).cpu().numpy()
        out = self.out
        assert out.received is not None
        assert out.first is not None
        assert out.resting is not None
        out.received[block] += received.sum(axis=0) / len(out.norm)
        out.first[self.indices, block] = received[:, :, 0]
        out.resting[self.indices, block] = (received > HEAD_SHARE).mean(axis=1)

    def step(self, block: int, post: Tensor) -> None:
        """What each component did to the length: ‖post‖ − ‖pre‖ is the sum over them, exactly, of
        ⟨pre + post, write⟩ / (‖pre‖ + ‖post‖), where the step is the sum of the writes."""
        assert self.previous is not None
        assert self.out.write is not None
        assert self.out.error is not None
        pre = self.previous.to(post.device)
        writes = [self.written.pop(name).to(post) for name in COMPONENTS]
        lengths = torch.stack([part.norm(dim=-1) for part in (pre, post, *writes)])
        tiny = torch.finfo(lengths.dtype).tiny
        rest = (post - pre - sum(writes)).norm(dim=-1) / lengths.amax(0).clamp(min=tiny)
        rest[~lengths.isfinite().all(0)] = torch.nan
        # unlike max(), np.maximum keeps a NaN
        self.out.error[block] = np.maximum(self.out.error[block], float(rest.max()))
        both, total = pre + post, (lengths[0] + lengths[1]).clamp(min=tiny)
        for row, write in enumerate(writes):
            self.out.write[self.indices, block, row] = ((both * write).sum(-1) / total).cpu().numpy()


def _widened(x: Tensor) -> Tensor:
    """Half precision as float32."""
    return x.float() if x.element_size() < 4 else x


def _limits(
    median: Float[Tensor, " batch"], typical: Float[Tensor, " batch"]
) -> tuple[Tensor, Tensor, Tensor]:
    """What a coordinate must exceed to be massive, by variant."""
    relative = RELATIVE * median
    return relative.clamp(min=FLOOR), relative, NORMS * typical


def _fires(run: PromptBatches, kind: str, notes: list[str]) -> bool:
    """Whether every block has that hook point and reaches it, in the first text."""
    blocks = range(int(run.model.cfg.n_layers))
    seen: set[int] = set()

    def look(block: int) -> Callable[[Tensor, Any], None]:
        return lambda value, hook: seen.add(block)

    family = family_of(run.model.cfg)
    watch = [(family.hook(kind, block), look(block)) for block in blocks]
    try:
        run_states(run.model, run.tokens([0]), [len(blocks)], lambda layer, state: None, watch=watch)
    except (KeyError, AttributeError, ValueError):
        seen.clear()
    missing = [block for block in blocks if block not in seen]
    if missing:
        what = (
            "attention is not measured" if kind == ATTENTION else "steps are not decomposed into their writes"
        )
        notes.append(f"The model has no hook {family.hook(kind, missing[0])} that fires: {what}.")
    return not missing


def _refuse_broken_steps(out: Sinks, dtype: torch.dtype, notes: list[str]) -> None:
    """No decomposition of a block whose step is not the sum of what attention and MLP are seen to write."""
    if out.error is None or out.write is None:
        return
    broken = np.flatnonzero(~(out.error <= IDENTITY.get(dtype, COARSEST_IDENTITY)))
    out.write[:, broken] = np.nan
    finite = np.isfinite(out.error[broken])
    if finite.any():
        off = broken[finite]
        worst = off[int(np.argmax(out.error[off]))]
        notes.append(
            f"resid_post − resid_pre is not attn + mlp in {len(off)} of {len(out.error)} blocks (block "
            f"{worst}: off by {out.error[worst]:.2g} of the longest of input, output and writes): these "
            "blocks' steps are not decomposed."
        )
    if not finite.all():
        where = named_layers(broken[~finite].tolist()).replace("layer", "block")
        notes.append(
            f"What is written in {where} is not finite everywhere: whether resid_post − resid_pre is attn + "
            "mlp is not known there, and these steps are not decomposed."
        )
