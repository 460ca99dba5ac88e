"""Residual states of prompts: streamed through hooks, or taken from a cache that is already there.

Prompts run in batches of equal length, so no padding ever reaches the model: a padded token tensor is
unpadded first, and position 0 is a prompt's first token whatever side its padding was on.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from laminar_lens.axes import Progress
from laminar_lens.errors import CaptureError, InputError, ShapeError
from laminar_lens.models.forward import check_model, residual_states
from laminar_lens.models.info import describe, norm_is_folded, warn_if_processed
from laminar_lens.models.memory import check_fits
from laminar_lens.models.selection import layer_indices, position_indices
from laminar_lens.models.tokens import PADDING, token_rows

BATCH_TOKENS = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class ResidualStates:
    """Residual vectors of a batch of prompts.

    Attributes:
        values: hidden states; NaN where `mask` is False.
        mask: True for a real token.
        tokens: token ids, −1 where `mask` is False.
        layers: hidden state of each row of `values`: 0 is the embedding, l the output of block l − 1.
        positions: position in the prompt of each column; 0 is the prompt's first token.
        texts: the prompts, where they were texts.
        info: the model and the settings, JSON-safe.
    """

    values: Float[Tensor, "layer batch pos d_model"]
    mask: Bool[Tensor, "batch pos"]
    tokens: Int[Tensor, "batch pos"]
    layers: tuple[int, ...]
    positions: tuple[int, ...]
    texts: tuple[str, ...] | None
    info: dict[str, object]
    _tokenizer: Any = dataclasses.field(default=None, repr=False)

    def token_strings(self) -> list[list[str]]:
        """The text of each real token, one list a prompt; the token id where the model has no tokenizer."""
        strings = {token: self._string(token) for token in set(self.tokens.flatten().tolist()) - {PADDING}}
        return [
            [strings[token] for token, real in zip(row.tolist(), keep.tolist(), strict=True) if real]
            for row, keep in zip(self.tokens, self.mask, strict=True)
        ]

    def _string(self, token: int) -> str:
        return str(token) if self._tokenizer is None else str(self._tokenizer.decode([token]))


@dataclasses.dataclass(frozen=True)
class _Plan:
    """A capture with every argument checked, before anything runs."""

    model: Any
    rows: list[list[int]]
    texts: tuple[str, ...] | None
    layers: tuple[int, ...]
    positions: tuple[int, ...]
    final_norm: bool
    device: str
    batch_size: int | None
    info: dict[str, object]

    def batches(self) -> list[tuple[int, ...]]:
        """Indices of prompts of equal length, shortest first, in batches."""
        by_length: dict[int, list[int]] = {}
        for index, row in enumerate(self.rows):
            by_length.setdefault(len(row), []).append(index)
        batches = []
        for length in sorted(by_length):
            size = self.batch_size or max(1, BATCH_TOKENS // length)
            indices = by_length[length]
            batches += [tuple(indices[start : start + size]) for start in range(0, len(indices), size)]
        return batches

    def check_memory(self, vectors: int) -> None:
        """Refuses before the run what would not fit; `vectors` is the number kept at once for one layer."""
        largest = max(self.batches(), key=lambda indices: len(indices) * len(self.rows[indices[0]]) ** 2)
        check_fits(
            self.model,
            len(self.layers),
            vectors,
            batch=len(largest),
            length=len(self.rows[largest[0]]),
            device=self.device,
        )

    def states(self, indices: Sequence[int]) -> ResidualStates:
        """Runs prompts of equal length."""
        ids = torch.tensor([self.rows[index] for index in indices])
        columns = [position for position in self.positions if position < ids.shape[1]]
        select = torch.tensor(columns, dtype=torch.long)
        values = residual_states(
            self.model,
            ids,
            self.layers,
            final_norm=self.final_norm,
            keep=lambda state: state[:, select.to(state.device)].to(self.device),
        )
        self._check_finite(values, indices, columns)
        tokens = ids[:, select]
        texts = None if self.texts is None else tuple(self.texts[index] for index in indices)
        return ResidualStates(
            values,
            torch.ones(tokens.shape, dtype=torch.bool),
            tokens,
            self.layers,
            tuple(columns),
            texts,
            self.info,
            getattr(self.model, "tokenizer", None),
        )

    def _check_finite(self, values: Tensor, indices: Sequence[int], columns: Sequence[int]) -> None:
        bad = ~torch.isfinite(values).all(dim=-1)
        if bad.any():
            layer, row, column = bad.nonzero()[0].tolist()
            raise CaptureError(
                f"prompt {indices[row]}: the residual vector of hidden state {self.layers[layer]} at "
                f"position {columns[column]} is not finite (NaN or infinity); try dtype='float32', "
                "or check the weights"
            )


def capture_residuals(
    model: Any,
    prompts: Any,
    *,
    prepend_bos: bool = False,
    final_norm: bool = False,
    layers: Any = None,
    positions: Any = None,
    mask: Any = None,
    batch_size: int | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> ResidualStates:
    """Residual vectors of every prompt, layer and position, in the dtype of the model.

    For `["He gave her the book."]` (6 tokens) and a model of 8 blocks of width 128 the values have the shape
    [9, 1, 6, 128]: hidden states 0 … 8.

    Args:
        model: any TransformerLens model.
        prompts: a text, texts, or token ids [batch pos]; padding of ids is marked by `mask`, or by −1.
        prepend_bos: puts the model's BOS before each prompt; it is then position 0.
        final_norm: takes the last hidden state after the final norm, as Hugging Face and the original do.
        layers: hidden states to keep (0 … n_layers, negative from the end); all by default.
        positions: positions to keep; all by default. A prompt without such a position is NaN there.
        mask: True for real tokens of a token tensor, padded on either side.
        batch_size: prompts a forward pass; by default as many as hold about 4,096 tokens.
        device: where the vectors are kept.
        progress: called with the number of prompts done.

    Raises:
        InputError: an argument that does not fit (the message names the prompt, layer or position), a prompt
            longer than the context, or more vectors than memory holds.
        CaptureError: a vector is not finite: names prompt, layer and position.
    """
    plan = _plan(model, prompts, prepend_bos, final_norm, layers, positions, mask, batch_size, device)
    width = sum(position < max(map(len, plan.rows)) for position in plan.positions)
    plan.check_memory(len(plan.rows) * width)
    shape = (len(plan.layers), len(plan.rows), width, int(model.cfg.d_model))
    values: Tensor | None = None
    tokens = torch.full(shape[1:3], PADDING)
    for indices, part in _run(plan, progress):
        if values is None:
            values = torch.full(shape, torch.nan, dtype=part.values.dtype, device=part.values.device)
        index = torch.tensor(indices)
        kept = part.tokens.shape[1]
        values[:, index.to(values.device), :kept] = part.values
        tokens[index, :kept] = part.tokens
    assert values is not None
    kept_positions = plan.positions[:width]
    return ResidualStates(
        values,
        tokens != PADDING,
        tokens,
        plan.layers,
        kept_positions,
        plan.texts,
        plan.info,
        getattr(model, "tokenizer", None),
    )


def iter_residuals(
    model: Any,
    prompts: Any,
    *,
    prepend_bos: bool = False,
    final_norm: bool = False,
    layers: Any = None,
    positions: Any = None,
    mask: Any = None,
    batch_size: int | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Iterator[tuple[tuple[int, ...], ResidualStates]]:
    """The same as `capture_residuals`, batch by batch: (indices of the prompts, their states).

    A batch holds prompts of one length, shortest first, hence no padding; a study that reduces each batch
    never holds everything. Arguments are checked at the call, before the first batch. Arguments and errors as
    in `capture_residuals`.
    """
    plan = _plan(model, prompts, prepend_bos, final_norm, layers, positions, mask, batch_size, device)
    plan.check_memory(max(len(batch) * len(plan.rows[batch[0]]) for batch in plan.batches()))
    return _run(plan, progress)


def residuals_from_cache(
    cache: Any, cfg: Any, *, final_norm: bool = False, layers: Any = None
) -> Float[Tensor, "layer batch pos d_model"]:
    """Hidden states from what `run_with_cache` returned, for people who already called it.

    Args:
        cache: an ActivationCache, or any mapping from hook names to tensors [batch pos d_model].
        cfg: the model's `cfg`.
        final_norm: takes the last hidden state after the final norm; needs an ActivationCache, which knows
            its model.
        layers: hidden states to take; all by default.

    Raises:
        InputError: the cache lacks a residual hook (named, with the filter that keeps it), or a layer is out
            of range.
        ShapeError: an entry that is not [batch pos d_model].
    """
    n_layers = int(cfg.n_layers)
    wanted = layer_indices(layers, n_layers)
    states = {layer: _cached(cache, layer, n_layers, int(cfg.d_model)) for layer in wanted}
    if final_norm and n_layers in states:
        model = getattr(cache, "model", None)
        if model is None:
            raise InputError(
                "final_norm=True needs the ActivationCache of run_with_cache; a plain mapping has no model"
            )
        _check_final_norm(model)
        with torch.no_grad():
            states[n_layers] = model.ln_final(states[n_layers])
    return torch.stack([states[layer] for layer in wanted])


def _plan(
    model: Any,
    prompts: Any,
    prepend_bos: bool,
    final_norm: bool,
    layers: Any,
    positions: Any,
    mask: Any,
    batch_size: Any,
    device: Any,
) -> _Plan:
    check_model(model)
    wanted = layer_indices(layers, int(model.cfg.n_layers))
    if batch_size is not None and (
        isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1
    ):
        raise InputError(f"batch_size is {batch_size!r}; expected a whole number of at least 1")
    if final_norm:
        _check_final_norm(model)
    rows, texts = token_rows(model, prompts, mask=mask, prepend_bos=prepend_bos)
    columns = position_indices(positions, max(map(len, rows)))
    warn_if_processed(model)
    info: dict[str, object] = {
        **describe(model).as_dict(),
        "prepend_bos": bool(prepend_bos),
        "final_norm": bool(final_norm),
    }
    return _Plan(model, rows, texts, wanted, columns, final_norm, str(device), batch_size, info)


def _run(plan: _Plan, progress: Progress | None) -> Iterator[tuple[tuple[int, ...], ResidualStates]]:
    done = 0
    for indices in plan.batches():
        yield indices, plan.states(indices)
        done += len(indices)
        if progress is not None:
            progress("residual stream", done, len(plan.rows))


def _check_final_norm(model: Any) -> None:
    if not hasattr(model, "ln_final"):
        raise InputError("final_norm=True, but this model has no final norm")
    if norm_is_folded(model):
        raise InputError(
            "final_norm=True, but the final norm's scale and shift were folded into the unembedding; "
            "load the model without weight processing"
        )


def _cached(cache: Any, layer: int, n_layers: int, d_model: int) -> Tensor:
    """One hidden state; the output of block l − 1 is also the input of block l."""
    names = [f"blocks.{layer}.hook_resid_pre", f"blocks.{layer}.hook_in"] if layer < n_layers else []
    if layer > 0:
        names = [f"blocks.{layer - 1}.hook_resid_post", f"blocks.{layer - 1}.hook_out", *names]
    for name in names:
        try:
            state = cache[name]
        except KeyError:
            continue
        if getattr(cache, "has_batch_dim", True) is False and state.ndim == 2:
            state = state[None]
        if state.ndim != 3 or state.shape[-1] != d_model:
            raise ShapeError(
                f"cache[{name!r}] has shape {tuple(state.shape)}; expected [batch pos {d_model}]"
            )
        return torch.as_tensor(state).detach()
    raise InputError(
        f"the cache has no residual stream for hidden state {layer} ({names[0]!r}); run run_with_cache "
        "without a names filter, or with one that keeps 'hook_resid_pre' and 'hook_resid_post'"
    )
