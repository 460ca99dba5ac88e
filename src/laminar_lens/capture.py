"""Residual states of prompts: streamed through hooks, or taken from a cache that is already there.

Where angles are all that is wanted, an `AngleMeter` (meter.py) keeps no states.
"""

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from laminar_lens.arguments import checked
from laminar_lens.axes import Mask, Progress, Prompts, Wholes
from laminar_lens.errors import InputError, ShapeError, a_kind
from laminar_lens.models.batches import (
    PromptBatches,
    check_finite,
    finite_vectors,
    prompt_batches,
    token_strings,
)
from laminar_lens.models.devices import device_name
from laminar_lens.models.edits import Interventions
from laminar_lens.models.families import family_of
from laminar_lens.models.forward import check_model, residual_states, where_it_is
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import check_final_norm, check_same_weights
from laminar_lens.models.memory import Need, check_fits
from laminar_lens.models.padding import without_pads
from laminar_lens.models.passes import each_batch
from laminar_lens.models.selection import layer_indices, position_indices
from laminar_lens.models.surroundings import surrounding_notes
from laminar_lens.models.tokens import PADDING


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
        return token_strings(self._tokenizer, self.tokens, self.mask)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """A capture with every argument checked, before anything runs."""

    prompts: PromptBatches
    positions: tuple[int, ...]
    device: str

    def check_memory(self, vectors: int) -> None:
        """Refuses before the run what would not fit; `vectors` is the number kept at once for one layer."""
        model, layers = self.prompts.model, len(self.prompts.layers)
        width = int(model.cfg.d_model)
        kept = layers * vectors * width * next(model.parameters()).element_size()
        size = f"{layers} layers × {vectors} vectors × {width}"
        need = Need("residual states", size, kept, layers, self.device, "layers=, positions=")
        batch, length = self.prompts.largest()
        check_fits(model, need, batch=batch, length=length)

    def states(self, indices: Sequence[int]) -> ResidualStates:
        """Runs prompts of equal length."""
        run = self.prompts
        ids = run.tokens(indices)
        columns = [position for position in self.positions if position < ids.shape[1]]
        select = torch.tensor(columns, dtype=torch.long)
        values = residual_states(
            run.model,
            ids,
            run.layers,
            final_norm=run.final_norm,
            keep=lambda state: state[:, select.to(state.device)].to(self.device),
            interventions=run.interventions,
            indices=indices,
        )
        check_finite(finite_vectors(values), run.layers, indices, columns)
        texts = None if run.texts is None else tuple(run.texts[index] for index in indices)
        return self.labelled(values, ids[:, select], tuple(columns), texts)

    def labelled(
        self, values: Tensor, tokens: Tensor, positions: tuple[int, ...], texts: tuple[str, ...] | None
    ) -> ResidualStates:
        """States with all that belongs to them."""
        run = self.prompts
        tokenizer = getattr(run.model, "tokenizer", None)
        return ResidualStates(
            values, tokens != PADDING, tokens, run.layers, positions, texts, run.info, tokenizer
        )


@checked()
def capture_residuals(
    model: HookedModel,
    prompts: Prompts,
    *,
    prepend_bos: bool = False,
    final_norm: bool = False,
    layers: Wholes = None,
    positions: Wholes = None,
    mask: Mask = None,
    batch_size: int | None = None,
    device: str = "cpu",
    interventions: Interventions = None,
    progress: Progress | None = None,
) -> ResidualStates:
    """Residual vectors of every prompt, layer and position, in the dtype of the model.

    For `["He gave her the book."]` (6 tokens) and a model of 8 blocks of width 128 the values have the shape
    [9, 1, 6, 128]: hidden states 0 … 8.

    Args:
        model: any TransformerLens model.
        prompts: a text, texts, or token ids [batch pos]; padding of ids is marked by `mask`, or by −1, or is
            what the tokenizer pads with at the ends of rows (said where that token could be text).
        prepend_bos: puts the model's BOS before each prompt; it is then position 0.
        final_norm: takes the last hidden state after the final norm, as Hugging Face and the original do.
        layers: hidden states to keep (0 … n_layers, negative from the end); all by default.
        positions: positions to keep; all by default. A prompt without such a position is NaN there.
        mask: True for real tokens of a token tensor, padded on either side.
        batch_size: prompts a forward pass; by default as many as hold about 4,096 tokens.
        device: where the vectors are kept.
        interventions: change the run, such as `cut(5)`; one or a list, applied together.
        progress: called with the number of prompts done.

    Raises:
        InputError: an argument that does not fit (the message names the prompt, layer or position), a prompt
            longer than the context, or more vectors than memory holds.
        CaptureError: a vector is not finite: names prompt, layer and position.
    """
    how = {"prepend_bos": prepend_bos, "final_norm": final_norm, "layers": layers, "batch_size": batch_size}
    plan = _plan(model, prompts, positions, device, mask, interventions=interventions, **how)
    run = plan.prompts
    n, width = len(run.rows), len(plan.positions)
    plan.check_memory(n * width)
    values: Tensor | None = None
    tokens = torch.full((n, width), PADDING)
    for indices, part in _run(plan, progress):
        if values is None:
            values = part.values.new_full((len(run.layers), n, width, part.values.shape[-1]), torch.nan)
        index = torch.tensor(indices)
        kept = part.tokens.shape[1]
        values[:, index.to(values.device), :kept] = part.values
        tokens[index, :kept] = part.tokens
    assert values is not None
    return plan.labelled(values, tokens, plan.positions, run.texts)


@checked()
def iter_residuals(
    model: HookedModel,
    prompts: Prompts,
    *,
    prepend_bos: bool = False,
    final_norm: bool = False,
    layers: Wholes = None,
    positions: Wholes = None,
    mask: Mask = None,
    batch_size: int | None = None,
    device: str = "cpu",
    interventions: Interventions = None,
    progress: Progress | None = None,
) -> Iterator[tuple[tuple[int, ...], ResidualStates]]:
    """The same as `capture_residuals`, batch by batch: (indices of the prompts, their states).

    A batch holds prompts of one length, shortest first, hence no padding; a study that reduces each batch
    never holds everything. Arguments are checked at the call, before the first batch. Arguments and errors as
    in `capture_residuals`.
    """
    how = {"prepend_bos": prepend_bos, "final_norm": final_norm, "layers": layers, "batch_size": batch_size}
    plan = _plan(model, prompts, positions, device, mask, interventions=interventions, **how)
    run = plan.prompts
    plan.check_memory(max(len(batch) * len(run.rows[batch[0]]) for batch in run.indices()))
    return _run(plan, progress)


@checked()
def residuals_from_cache(
    cache: Any, cfg: Any, *, final_norm: bool = False, layers: Wholes = None
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
            of range; or it is no cache.
        ShapeError: an entry that is not [batch pos d_model].
    """
    if not (hasattr(cache, "keys") and hasattr(cache, "__getitem__")):
        raise InputError(
            f"cache is {a_kind(cache)}; give what run_with_cache returned beside the logits, or a "
            "mapping from hook names to tensors"
        )
    if not all(isinstance(getattr(cfg, size, None), int) for size in ("n_layers", "d_model")):
        raise InputError(f"cfg is {a_kind(cfg)}; give the model's cfg, with n_layers and d_model")
    n_layers = int(cfg.n_layers)
    wanted = layer_indices(layers, n_layers)
    states = {layer: _cached(cache, layer, cfg) for layer in wanted}
    if final_norm and n_layers in states:
        model = getattr(cache, "model", None)
        if model is None:
            raise InputError(
                "final_norm=True needs the ActivationCache of run_with_cache; a plain mapping has no model"
            )
        check_final_norm(model)
        with torch.no_grad():
            states[n_layers] = where_it_is(model.ln_final)(states[n_layers])
    return torch.stack([states[layer].to(states[wanted[0]].device) for layer in wanted])


def _plan(
    model: HookedModel, prompts: Prompts, positions: Wholes, device: str, mask: Mask, **how: Any
) -> _Plan:
    """The arguments of `capture_residuals`, checked; warns of what a reader must know."""
    kept_on = device_name(device)
    check_model(model)
    prompts, padding = without_pads(model, prompts, mask)
    run = prompt_batches(model, prompts, mask=mask, **how)
    _warn(run, padding)
    return _Plan(run, position_indices(positions, run.longest), kept_on)


def _run(plan: _Plan, progress: Progress | None) -> Iterator[tuple[tuple[int, ...], ResidualStates]]:
    for batch in each_batch(plan.prompts, "residual stream", progress):
        yield batch.indices, plan.states(batch.indices)
    check_same_weights(plan.prompts.model, plan.prompts.info["weights_sha256"])


def _warn(run: PromptBatches, padding: str) -> None:
    """What a reader must know of the prompts and the run; how padding was read is noted with the states, too.

    `checked` stands between the caller and the public function.
    """
    if padding:
        run.info["padding"] = padding
    own = [one.note_of(run.model, run.rows) for one in run.interventions]
    for note in (padding, *own, *surrounding_notes(run.model)):
        if note:
            warnings.warn(note, UserWarning, stacklevel=5)


def _cached(cache: Any, layer: int, cfg: Any) -> Tensor:
    """One hidden state."""
    family, d_model = family_of(cfg), int(cfg.d_model)
    names = family.cached(layer, int(cfg.n_layers))
    for name in names:
        try:
            state = cache[name]
        except KeyError:
            continue
        if not isinstance(state, Tensor):
            raise InputError(f"cache[{name!r}] is {a_kind(state)}; expected a tensor")
        if getattr(cache, "has_batch_dim", True) is False and state.ndim == 2:
            state = state[None]
        if state.ndim != 3 or state.shape[-1] != d_model:
            raise ShapeError(
                f"cache[{name!r}] has shape {tuple(state.shape)}; expected [batch pos {d_model}]"
            )
        return torch.as_tensor(state).detach()
    kept = [repr(family.hooks[part].rpartition(".")[2]) for part in ("before", "after")]
    raise InputError(
        f"the cache has no residual stream for hidden state {layer} ({names[0]!r}); run run_with_cache "
        f"without a names filter, or with one that keeps {' and '.join(kept)}"
    )
