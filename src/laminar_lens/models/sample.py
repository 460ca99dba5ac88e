"""Texts that a model writes itself, as tokens: seeded ancestral sampling with cached keys and values."""

import inspect
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from laminar_lens import arguments
from laminar_lens.arguments import checked
from laminar_lens.axes import Progress
from laminar_lens.errors import InputError, ModelError
from laminar_lens.models.causality import check_causal
from laminar_lens.models.context import context_length
from laminar_lens.models.forward import check_model, residual_states
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import bos_token_id, describe_name
from laminar_lens.models.memory import available_bytes
from laminar_lens.models.quiet import quiet

CACHE_BYTES = 2**28
LARGEST_BATCH = 256
AT_ONCE = 4
"""Tokens of each text between two words of progress: silencing the libraries takes as long as one does."""


def check_seed(seed: object) -> None:
    """Refuses what numpy's and torch's generators do not both take.

    Raises:
        InputError: names the value.
    """
    arguments.seed("seed", seed)


@checked()
def sample_tokens(
    model: HookedModel,
    n: int,
    length: int,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Int[Tensor, "n length"]:
    """Token windows of one length, each from a text of its own that the model writes.

    A text starts from BOS (from a random token where the model has none), runs for half as long again as
    `length`, and the window is cut after a random number of its tokens, so that windows start anywhere in a
    text. BOS is not part of a window, and special tokens are never sampled. The global random state is
    untouched; the same seed gives the same tokens.

    Args:
        model: any causal TransformerLens model.
        n: number of windows.
        length: tokens in each, at most the model's context.
        seed: of the draws.
        temperature: divides the logits; below 1 the texts are more predictable.
        batch_size: texts written at once; by default as many as keep the key-value cache small.
        progress: called with the number of windows done.

    Raises:
        InputError: `n`, `length` or `temperature` out of range, or more texts than memory holds.
        ModelError: the model's logits are not finite; the first hidden state and position that are not are
            named.
    """
    check_model(model)
    check_causal(model, describe_name(model))
    check_seed(seed)
    context = context_length(model)
    for name, value in (("n", n), ("length", length), ("batch_size", batch_size or 1)):
        if not isinstance(value, int) or value < 1:
            raise InputError(f"{name} is {value!r}; expected a whole number of at least 1")
    if length > context:
        raise InputError(f"length is {length}; expected 1 … {context}, the model's context")
    if not 0 < temperature < float("inf"):
        raise InputError(f"temperature is {temperature}; expected a positive number")
    spare = min(-(-length // 2), context - length)
    _check_memory(n, spare + length, length)
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(n, spare + length, generator=generator, dtype=torch.float32)
    starts = torch.randint(min(1, spare), spare + 1, (n,), generator=generator)
    barred = _barred(model)
    first = _first_tokens(model, n, barred, generator)
    size = batch_size or _batch_size(model, spare + length)
    windows, tell = [], progress or (lambda *_: None)
    tell("texts from the model", 0, n)
    for begin in range(0, n, size):
        part = slice(begin, begin + size)
        text: list[Tensor] = []
        steps = _written(model, first[part], draws[part], barred, temperature, begin)
        while len(text) < draws.shape[1]:
            with quiet(), torch.no_grad():
                text += islice(steps, AT_ONCE)
            tell("texts from the model", begin + len(first[part]) * len(text) // draws.shape[1], n)
        columns = starts[part, None] + torch.arange(length)
        windows.append(torch.cat(text, dim=1).cpu().gather(1, columns))
    return torch.cat(windows)


def _check_memory(n: int, written: int, length: int) -> None:
    """Refuses more texts than the computer holds: a draw for each token, the windows, and their copy."""
    need, free = n * (4 * written + 2 * 8 * length), available_bytes("cpu")
    if free is not None and need > free:
        raise InputError(
            f"{n:,} texts of {length} tokens need about {need:,} bytes, but {free:,} are free: choose a "
            "smaller n_texts= or length="
        )


def _written(
    model: HookedModel, first: Tensor, draws: Tensor, barred: Tensor, temperature: float, begin: int
) -> Iterator[Tensor]:
    """One token of each text [text 1] after another, for each column of `draws` (uniform numbers), after the
    first token; the texts count from `begin`."""
    step = _stepper(model, len(first), draws.shape[1])
    device = model.cfg.device
    barred, draws = barred.to(device), draws.to(device)
    token = first[:, None].to(device)
    written: list[Tensor] = []
    for index in range(draws.shape[1]):
        logits = (step(token).to(device, torch.float32) / temperature).masked_fill_(barred, -torch.inf)
        share = torch.softmax(logits, dim=-1).cumsum(dim=-1)
        if not torch.isfinite(share[:, -1]).all():
            row = int((~torch.isfinite(share[:, -1])).nonzero()[0])
            text = torch.cat([first[:, None].to(device), *written], dim=1)[row]
            raise ModelError(f"text {begin + row} that the model was writing: {_not_finite(model, text)}")
        token = torch.searchsorted(share, draws[:, index : index + 1] * share[:, -1:], right=True)
        written.append(token)
        yield token


def _not_finite(model: HookedModel, text: Tensor) -> str:
    """Where a text's activations stop being finite, and what to do."""
    states = residual_states(model, text[None], range(int(model.cfg.n_layers) + 1))[:, 0]
    bad = (~torch.isfinite(states).all(dim=-1)).nonzero()
    if not len(bad):
        return (
            f"the logits after position {len(text) - 1} are not finite (NaN or infinity), though every "
            "hidden state is; try dtype='float32', or check the weights of the unembedding"
        )
    layer, position = bad[0].tolist()
    return (
        f"the residual vector of hidden state {layer} at position {position} is not finite (NaN or "
        "infinity); try dtype='float32', or check the weights"
    )


def _stepper(model: HookedModel, batch: int, room: int) -> Callable[[Tensor], Tensor]:
    """A function from the next tokens [batch 1] to the logits [batch vocab] after them; it remembers the
    text.

    The generations differ here: HookedTransformer takes a cache that it fills, a bridge hands over Hugging
    Face's.
    """
    if "past_kv_cache" in inspect.signature(model.forward).parameters:
        cache = _Cache(model, batch, room)

        def hooked(tokens: Tensor) -> Tensor:
            logits: Tensor = model(
                tokens, attention_mask=torch.ones_like(tokens), past_kv_cache=cache, return_type="logits"
            )
            return logits[:, -1]

        return hooked
    state: dict[str, Any] = {"past": None}

    def bridged(tokens: Tensor) -> Tensor:
        past = {} if state["past"] is None else {"past_key_values": state["past"]}
        logits, state["past"] = model(tokens, return_type="logits_and_cache", use_cache=True, **past)
        last: Tensor = logits[:, -1]
        return last

    return bridged


class _Cache:
    """Keys and values of every layer; TransformerLens's own cache copies all of them at every step."""

    def __init__(self, model: HookedModel, batch: int, room: int) -> None:
        heads = _heads(model.cfg)
        empty = torch.empty(2, batch, heads, 0, int(model.cfg.d_head))
        self.entries = [_Entry(empty, room) for _ in range(int(model.cfg.n_layers))]
        self._mask = torch.ones(batch, 0, dtype=torch.int)

    def __getitem__(self, layer: int) -> "_Entry":
        return self.entries[layer]

    def append_attention_mask(self, mask: Tensor) -> Tensor:
        self._mask = torch.cat([self._mask.to(mask.device), torch.ones_like(mask, dtype=torch.int)], dim=1)
        return self._mask


class _Entry:
    """One layer's keys and values in room taken once, where the layer is; given out as
    [batch pos head d_head], kept with heads outside positions, as the attention's matrix product reads them
    without a copy."""

    frozen = False

    def __init__(self, empty: Tensor, length: int) -> None:
        self._room, self._length = empty, length
        self._used = 0

    @property
    def past_keys(self) -> Tensor:
        return self._room[0, :, :, : self._used].transpose(1, 2)

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        end = self._used + keys.shape[1]
        if not self._used:
            batch, _, heads, width = keys.shape
            self._room = keys.new_empty(2, batch, heads, self._length, width)
        self._room[0, :, :, self._used : end] = keys.transpose(1, 2)
        self._room[1, :, :, self._used : end] = values.transpose(1, 2)
        self._used = end
        past_keys, past_values = self._room[:, :, :, :end].transpose(2, 3)
        return past_keys, past_values


def _barred(model: HookedModel) -> Tensor:
    """Tokens that are never sampled: special ones, and rows of the vocabulary that mean no token."""
    vocabulary = int(model.cfg.d_vocab)
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        return torch.zeros(vocabulary, dtype=torch.bool)
    added = getattr(tokenizer, "added_tokens_decoder", {})
    special = {*tokenizer.all_special_ids, *(token for token, content in added.items() if content.special)}
    barred = torch.zeros(vocabulary, dtype=torch.bool)
    barred[len(tokenizer) :] = True
    barred[[token for token in special if token is not None and 0 <= token < vocabulary]] = True
    if barred.all():
        raise ModelError("texts cannot be sampled: the tokenizer calls every token of this model special")
    return barred


def _first_tokens(model: HookedModel, n: int, barred: Tensor, generator: torch.Generator) -> Tensor:
    bos = bos_token_id(model)
    if bos is not None:
        return torch.full((n,), bos)
    allowed = (~barred).nonzero().flatten()
    return allowed[torch.randint(len(allowed), (n,), generator=generator)]


def _heads(cfg: Any) -> int:
    """Heads whose keys and values are kept."""
    return int(getattr(cfg, "n_key_value_heads", None) or cfg.n_heads)


def _batch_size(model: HookedModel, room: int) -> int:
    cfg = model.cfg
    text = 2 * int(cfg.n_layers) * _heads(cfg) * int(cfg.d_head) * room * 4 + 16 * int(cfg.d_vocab)
    return max(1, min(LARGEST_BATCH, CACHE_BYTES // text))
