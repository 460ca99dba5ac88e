"""What a sink study measures while the model runs: lengths, attention received, largest activations, writes.

Of every hidden state only numbers by text, layer and position are kept; a block's writes live until its
output is there. Lengths and activations are those of a geometry; what blocks write adds up to the residual
vectors themselves, so that it is measured in raw alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from laminar_lens.axes import Progress
from laminar_lens.geometry import RAW, Geometry
from laminar_lens.models.batches import PromptBatches, check_finite, finite_vectors
from laminar_lens.models.families import WRITES, family_of
from laminar_lens.models.forward import Watch, run_states
from laminar_lens.stats.sinks import HEAD_SHARE
from laminar_lens.studies.comparison import named_layers

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
    """What was measured; axis 0 is the text unless it says otherwise. Lengths and activations are the
    geometry's.

    Attributes:
        norm: [text layer pos], length of each vector.
        value: [text layer pos], largest |coordinate|; `dimension` says which.
        median: [text layer], median |coordinate| of the text.
        massive: [variant layer d_model], number of texts with a massive activation in that dimension.
        massive_first: the same, at position 0.
        received: [block head pos], mean over texts of the mean attention that later positions (and itself)
            pay to a position; None where the model shows no attention.
        first: [text block head], the same of position 0.
        resting: [text block pos], share of heads with more than `HEAD_SHARE` of it.
        write: [text block component pos], growth of the length by each component; NaN where the step is not
            the sum of its writes; None in another geometry than raw.
        error: [block], largest distance of a step from its writes' sum, relative to the longest of input,
            output and writes at that position; NaN where one of them is not finite, which checks nothing.
        notes: what could not be measured, and why.
    """

    norm: np.ndarray
    value: np.ndarray
    dimension: np.ndarray
    median: np.ndarray
    massive: np.ndarray
    massive_first: np.ndarray
    received: np.ndarray | None
    first: np.ndarray | None
    resting: np.ndarray | None
    write: np.ndarray | None
    error: np.ndarray | None
    tokens: np.ndarray
    info: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def measure_sinks(
    run: PromptBatches,
    *,
    geometry: Geometry = RAW,
    label: str = "sinks",
    progress: Progress | None = None,
) -> Sinks:
    """Runs texts of one length once.

    Raises:
        InputError: a text that the geometry was fitted on.
        CaptureError: a residual vector is not finite.
    """
    geometry.check_others([row[int(bool(run.info["prepend_bos"])) :] for row in run.rows])
    run.info["geometry"] = geometry.describe()
    model, n, length = run.model, len(run.rows), run.longest
    blocks, width = int(model.cfg.n_layers), int(model.cfg.d_model)
    notes: list[str] = []
    wanted = (ATTENTION, *(COMPONENTS if geometry.name == "raw" else ()))
    watched = [kind for kind in wanted if _fires(run, kind, notes)]
    heads = int(model.cfg.n_heads) if ATTENTION in watched else 0
    writes = all(kind in watched for kind in COMPONENTS)
    out = Sinks(
        norm=np.zeros((n, blocks + 1, length), np.float32),
        value=np.zeros((n, blocks + 1, length), np.float32),
        dimension=np.zeros((n, blocks + 1, length), np.int32),
        median=np.zeros((n, blocks + 1), np.float32),
        massive=np.zeros((len(VARIANTS), blocks + 1, width), np.int64),
        massive_first=np.zeros((len(VARIANTS), blocks + 1, width), np.int64),
        received=np.zeros((blocks, heads, length)) if heads else None,
        first=np.zeros((n, blocks, heads), np.float32) if heads else None,
        resting=np.zeros((n, blocks, length), np.float32) if heads else None,
        write=np.full((n, blocks, len(COMPONENTS), length), np.nan, np.float32) if writes else None,
        error=np.zeros(blocks) if writes else None,
        tokens=np.array(run.rows),
        info=run.info,
        notes=notes,
    )
    done = 0
    for indices in run.indices():
        _Pass(run, geometry, out, indices).measure(watched)
        done += len(indices)
        if progress is not None:
            progress(label, done, n)
    _refuse_broken_steps(out, next(model.parameters()).dtype)
    return out


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


def _refuse_broken_steps(out: Sinks, dtype: torch.dtype) -> None:
    """No decomposition of a block whose step is not the sum of what attention and MLP are seen to write."""
    if out.error is None or out.write is None:
        return
    broken = np.flatnonzero(~(out.error <= IDENTITY.get(dtype, COARSEST_IDENTITY)))
    out.write[:, broken] = np.nan
    finite = np.isfinite(out.error[broken])
    if finite.any():
        off = broken[finite]
        worst = off[int(np.argmax(out.error[off]))]
        out.notes.append(
            f"resid_post − resid_pre is not attn + mlp in {len(off)} of {len(out.error)} blocks (block "
            f"{worst}: off by {out.error[worst]:.2g} of the longest of input, output and writes): these "
            "blocks' steps are not decomposed."
        )
    if not finite.all():
        where = named_layers(broken[~finite].tolist()).replace("layer", "block")
        out.notes.append(
            f"What is written in {where} is not finite everywhere: whether resid_post − resid_pre is attn + "
            "mlp is not known there, and these steps are not decomposed."
        )
