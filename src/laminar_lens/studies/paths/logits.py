"""Logit and log-probability of the token that comes next, from the last hidden state."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminar_lens.errors import ModelError
from laminar_lens.models.forward import run_states, where_it_is
from laminar_lens.models.hooked import HookedModel

AT_ONCE = 2**24
"""Logits that are held at a time."""
PROBE = 8
APART = 1e-3
"""Logits of the model and of the unembedding may differ by this share of the largest."""


def next_token(
    model: HookedModel,
    state: Float[Tensor, "batch pos d_model"],
    tokens: Int[Tensor, "batch pos"],
    *,
    normed: bool = False,
) -> tuple[Float[Tensor, "batch pos"], Float[Tensor, "batch pos"]]:
    """Logit, and log-probability in nats, that each position gives to the token at the next one; NaN at the
    last.

    Args:
        model: whose final norm and unembedding are applied.
        state: the last hidden state.
        tokens: of the text.
        normed: whether the state is after the final norm already.
    """
    flat = state[:, :-1].flatten(0, 1)
    wanted = tokens[:, 1:].flatten()
    size = max(1, AT_ONCE // int(model.cfg.d_vocab))
    found: list[Tensor] = []
    for start in range(0, len(flat), size):
        logits = _unembedded(model, flat[None, start : start + size], normed)[0]
        rows = wanted[start : start + size].to(logits.device)[:, None]
        logit = logits.gather(1, rows)[:, 0]
        found.append(torch.stack([logit, logit - logits.logsumexp(1)]))
    whole = torch.full((2, *tokens.shape), torch.nan)
    whole[:, :, :-1] = torch.cat(found, dim=1).cpu().reshape(2, len(tokens), -1)
    return whole[0], whole[1]


def _unembedded(model: Any, state: Tensor, normed: bool) -> Tensor:
    state = state if normed else where_it_is(model.ln_final)(state)
    logits = where_it_is(model.unembed)(state).float()
    cap = float(getattr(model.cfg, "output_logits_soft_cap", None) or 0)
    return cap * torch.tanh(logits / cap) if cap > 0 else logits


def check_unembeds(model: Any) -> None:
    """Refuses a model whose logits are made otherwise, by a short text.

    Raises:
        ModelError: says by how much they differ.
    """
    tokens = torch.arange(PROBE)[None] % int(model.cfg.d_vocab)
    seen: list[Tensor] = []
    run_states(model, tokens, [int(model.cfg.n_layers)], lambda layer, state: seen.append(state.detach()))
    with torch.no_grad():
        ours = _unembedded(model, seen[0], normed=False)
        mask = torch.ones_like(tokens).to(model.cfg.device)
        own = model(tokens.to(model.cfg.device), return_type="logits", attention_mask=mask)
    apart = float((ours - own.float().to(ours.device)).abs().max() / own.abs().max())
    if not apart <= APART:
        raise ModelError(
            f"the model's logits are not the unembedding of its normed last state (they differ by "
            f"{apart:.1%} of the largest), so that the next token's cannot be read here"
        )
