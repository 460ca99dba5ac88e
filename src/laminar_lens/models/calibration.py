"""What a geometry takes from a model: moments of other texts' residual vectors, and what each block reads."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import compress
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from laminar_lens.axes import Progress, Prompts
from laminar_lens.errors import InputError
from laminar_lens.models.batches import PromptBatches, prompt_batches
from laminar_lens.models.context import context_length
from laminar_lens.models.forward import run_states, where_it_is
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.passages import GIVEN, check_language, named_texts, windows
from laminar_lens.models.passes import each_batch
from laminar_lens.models.quiet import quiet
from laminar_lens.models.sample import check_seed, sample_tokens
from laminar_lens.models.steps import is_parallel
from laminar_lens.stats.observations import repeats
from laminar_lens.texts.files import read_texts
from laminar_lens.texts.passages import SAMPLED

SKIP = 16
SEED = 104_729
"""Added to a study's seed, so that the texts of a calibration are not the study's own."""
PROBE_TOKENS = 8

Through = Callable[[int, Tensor], Tensor]
"""What is done with a hidden state before its moments are taken."""


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """Moments of residual vectors over texts that are not measured, in float64.

    Attributes:
        mean, sd: of each coordinate over body positions.
        contribution: mean over neighbours, from position 0 on, of u_k·v_k/(‖u‖‖v‖).
        rows: the texts' tokens, without a BOS.
        settings: JSON-safe description.
    """

    mean: Float[Tensor, "layer d_model"]
    sd: Float[Tensor, "layer d_model"]
    contribution: Float[Tensor, "layer d_model"]
    rows: tuple[tuple[int, ...], ...]
    settings: dict[str, Any]


def calibrate(
    model: HookedModel,
    *,
    texts: Prompts = None,
    n_texts: int = 64,
    length: int = 64,
    skip: int | None = None,
    seed: int = 0,
    prepend_bos: bool = False,
    final_norm: bool = False,
    layers: Sequence[int],
    through: Through | None = None,
    source: str = "",
    progress: Progress | None = None,
) -> Calibration:
    """Runs the texts once; arguments and errors as in `laminar_lens.geometry.fit_geometry`.

    With `through`, called as (layer, state), the moments are those of what it returns. `source` is what texts
    that are given here were taken from, such as "passages".
    """
    check_seed(seed)
    named = SAMPLED if texts is None else named_texts(model, texts)
    if named != GIVEN:
        room = context_length(model) - int(prepend_bos)
        own = (seed + SEED) % 2**63
        texts = _own_texts(model, named, n_texts, min(length, room), own, progress)
    elif isinstance(texts, os.PathLike):
        texts = read_texts(texts).texts
    run = prompt_batches(
        model, texts, prepend_bos=prepend_bos, final_norm=final_norm, layers=layers, batch_size=None
    )
    run = _without_repeats(run, source or named)
    bos = int(prepend_bos)
    first = min(SKIP, run.longest // 2) if skip is None else skip
    if isinstance(first, bool) or not isinstance(first, int) or not 0 <= first < run.longest:
        raise InputError(
            f"skip is {first!r}; expected a whole number below {run.longest}, the tokens of the longest text"
        )
    sums = _Sums(run.layers, int(model.cfg.d_model), first, through)
    for batch in each_batch(run, "texts for the geometry", progress):
        batch.run(sums.add)
        sums.count(len(batch.indices), len(run.rows[batch.indices[0]]))
    if sums.n < 2:
        raise InputError(
            f"{sums.n} vectors at positions from {first} on: a mean needs at least 2; give longer texts, or "
            "a smaller skip="
        )
    rows = [row[bos:] for row in run.rows]
    settings = {
        "texts": source or named,
        "n_texts": len(rows),
        "texts_sha256": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
        "n_vectors": sums.n,
        "skip": first,
        "seed": None if named == GIVEN else own,
        "prepend_bos": bool(prepend_bos),
        "final_norm": bool(final_norm),
    }
    mean, sd, contribution = sums.moments()
    return Calibration(mean, sd, contribution, tuple(map(tuple, rows)), settings)


def _own_texts(
    model: HookedModel, source: str, n_texts: int, length: int, seed: int, progress: Progress | None
) -> Tensor:
    """Tokens [text pos] that the model writes, or of passages that have so many."""
    if source == SAMPLED:
        return sample_tokens(model, n_texts, length, seed=seed, progress=progress)
    rows = [row[:length] for row in windows(check_language(model), length, n_texts, seed).rows]
    enough = [row for row in rows if len(row) == length]
    if not enough:
        raise InputError(f"no passage has {length} tokens behind its first: give a smaller length=")
    return torch.tensor(enough)


def _without_repeats(run: PromptBatches, source: str) -> PromptBatches:
    """Texts that are the same, or all but the same, count once, also where the model writes one text.

    Raises:
        InputError: most of those that were given are.
    """
    again = repeats(run.rows)
    if 2 * again.sum() > len(again) and source != SAMPLED:
        raise InputError(
            f"{again.sum()} of the {len(again)} texts to fit a geometry on repeat another: give texts that "
            "differ"
        )
    if not again.any():
        return run
    texts = None if run.texts is None else tuple(compress(run.texts, ~again))
    return dataclasses.replace(run, rows=list(compress(run.rows, ~again)), texts=texts)


class _Sums:
    """Running sums [layer d_model] in float64; squares are summed about the first batch's mean."""

    def __init__(self, layers: Sequence[int], width: int, first: int, through: Through | None) -> None:
        self.n = self.n_pairs = 0
        self.row = {layer: row for row, layer in enumerate(layers)}
        self.first, self.through = first, through
        self.about, self.total, self.square, self.product = torch.zeros(
            4, len(layers), width, dtype=torch.float64
        )

    def add(self, layer: int, state: Tensor) -> None:
        row = self.row[layer]
        x = (state if self.through is None else self.through(layer, state)).detach().double().cpu()
        unit = torch.nan_to_num(x / x.norm(dim=-1, keepdim=True))
        self.product[row] += (unit[:, :-1] * unit[:, 1:]).sum((0, 1))
        body = x[:, self.first :].flatten(0, 1)
        if not len(body):
            return
        if self.n == 0:
            self.about[row] = body.mean(0)
        body = body - self.about[row]
        self.total[row] += body.sum(0)
        self.square[row] += body.square().sum(0)

    def count(self, n: int, length: int) -> None:
        self.n += n * max(0, length - self.first)
        self.n_pairs += n * (length - 1)

    def moments(self) -> tuple[Tensor, Tensor, Tensor]:
        mean = self.total / self.n
        variance = (self.square / self.n - mean.square()).clamp(min=0) * self.n / (self.n - 1)
        # rounding of a coordinate that does not vary is no variance
        variance[variance <= 1e-20 * (mean + self.about).square()] = 0.0
        return mean + self.about, variance.sqrt(), self.product / max(self.n_pairs, 1)


Read = Callable[[Tensor], Tensor]


def reads_of(
    model: HookedModel, layers: Sequence[int], final_norm: bool
) -> tuple[dict[int, Read], dict[str, str]]:
    """What the block after each hidden state makes of it first, as functions and in words by layer.

    A short run shows which blocks norm what they read: block l does if its `ln1` is given hidden state l.
    """
    n_layers = int(model.cfg.n_layers)
    blocks = [layer for layer in layers if layer < n_layers]
    given = _norms_that_read(model, blocks) if blocks else set()
    parallel = is_parallel(model)
    reads: dict[int, Read] = {}
    words: dict[str, str] = {}
    for layer in layers:
        if layer in given:
            reads[layer] = where_it_is(model.blocks[layer].ln1)
            words[str(layer)] = "ln1" + (" (attention; the MLP reads ln2 of the same)" if parallel else "")
        elif layer == n_layers and hasattr(model, "ln_final") and not final_norm:
            reads[layer], words[str(layer)] = where_it_is(model.ln_final), "ln_final"
        else:
            reads[layer] = _as_it_is
            last = "the final norm was applied before" if final_norm else "no final norm"
            words[str(layer)] = last if layer == n_layers else "as it is: this block norms no input"
    return reads, words


def _as_it_is(state: Tensor) -> Tensor:
    return state


def _norms_that_read(model: HookedModel, blocks: Sequence[int]) -> set[int]:
    """Blocks whose `ln1` is given the block's input."""
    states: dict[int, Tensor] = {}
    inputs: dict[int, list[Tensor]] = {block: [] for block in blocks}

    def watch(block: int) -> Callable[[Any, tuple[Any, ...]], None]:
        def seen(module: Any, args: tuple[Any, ...]) -> None:
            if args and isinstance(args[0], Tensor):
                inputs[block].append(args[0].detach().clone())

        return seen

    def keep(layer: int, state: Tensor) -> None:
        states[layer] = state.detach().clone()

    length = min(PROBE_TOKENS, context_length(model))
    tokens = torch.arange(length)[None] % int(model.cfg.d_vocab)
    with ExitStack() as stack, quiet():
        for block in blocks:
            norm = getattr(model.blocks[block], "ln1", None)
            if isinstance(norm, torch.nn.Module):
                handle = norm.register_forward_pre_hook(watch(block))
                stack.callback(handle.remove)
        run_states(model, tokens, [*blocks, max(blocks) + 1], keep)
    return {block for block in blocks if any(_same(x, states[block]) for x in inputs[block])}


def _same(x: Tensor, state: Tensor) -> bool:
    """Whether a norm was given this state; split query, key and value inputs repeat it for each head."""
    if x.ndim == state.ndim + 1:
        x = x[:, :, 0]
    return x.shape == state.shape and torch.allclose(x.to(state), state, rtol=1e-4, atol=1e-6)
