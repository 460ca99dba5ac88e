"""Whether a model is causal: what comes later in a text changes nothing of what came before."""

from typing import Any
from weakref import WeakSet

import torch

from laminar_lens.errors import ModelError
from laminar_lens.models.context import context_length
from laminar_lens.models.forward import residual_states
from laminar_lens.models.hooked import HookedModel

CAUSALITY_TOKENS = 16
_CAUSAL: "WeakSet[Any]" = WeakSet()


def check_causal(model: HookedModel, name: str) -> None:
    """Refuses a model that reads texts in both directions; each model object is tested once, by two forward
    passes of 16 tokens that differ in the second half.

    Raises:
        ModelError: names the first state that moved.
    """
    if model in _CAUSAL:
        return
    texts = half_changed(int(model.cfg.d_vocab), context_length(model), model.cfg.device)
    layers = range(int(model.cfg.n_layers) + 1)
    before, after = (list(residual_states(model, text, layers)) for text in texts)
    refuse_if_moved(before, after, name)
    note_causal(model)


def note_causal(model: HookedModel) -> None:
    """Takes a model as tested: it is what Hugging Face computes, and that is causal."""
    _CAUSAL.add(model)


def note_alike(model: HookedModel, twin: HookedModel) -> None:
    """Takes a model of the same architecture as tested, where the first one is."""
    if model in _CAUSAL:
        note_causal(twin)


def half_changed(
    vocabulary: int, context: int, device: str | torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Two texts [1 pos] with one first half and other tokens throughout the second."""
    length = min(CAUSALITY_TOKENS, context)
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(0, vocabulary, (1, length), generator=generator)
    other = text.clone()
    other[:, length // 2 :] = (other[:, length // 2 :] + 1) % vocabulary
    return text.to(device), other.to(device)


def refuse_if_moved(before: list[torch.Tensor], after: list[torch.Tensor], name: str) -> None:
    """Refuses states [batch pos d_model], one a layer, whose first half another second half moved.

    Rounding may move them a little where a mixture of experts sorts its tokens into groups: 10⁻⁴ of their
    length, or four times the dtype's own precision, is allowed.
    """
    for layer, (one, other) in enumerate(zip(before, after, strict=True)):
        allowed = max(1e-4, 4 * torch.finfo(one.dtype).eps)
        half = one.shape[1] // 2
        one, other = (state[0, :half].double() for state in (one, other))
        moved = (one - other).norm(dim=-1) / one.norm(dim=-1).clamp_min(1e-300)
        if (moved > allowed).any():
            position = int((moved > allowed).nonzero()[0])
            raise ModelError(
                f"model {name!r} is not causal: other tokens from position {half} on move hidden state "
                f"{layer} at position {position} by {float(moved[position]):.1e} of its length; it reads "
                "texts in both directions, as an encoder does (or a hook on it does): give a causal language "
                "model"
            )
