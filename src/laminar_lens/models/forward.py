"""One forward pass with hooks on the residual stream, the same for both TransformerLens generations."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminar_lens.errors import CaptureError, InputError


class _Reached(Exception):  # noqa: N818 - it is no error
    """The last wanted hidden state is there: the rest of the forward pass, unembedding too, is not needed."""


def hook_name(layer: int) -> str:
    """Hook of hidden state `layer`: 0 is the embedding, l the output of block l − 1."""
    return "blocks.0.hook_resid_pre" if layer == 0 else f"blocks.{layer - 1}.hook_resid_post"


def check_model(model: Any) -> None:
    """Refuses what is not a TransformerLens model, and one whose dropout would change every run.

    Raises:
        InputError: names the type that was given, or the dropout that is on.
    """
    if not (hasattr(model, "cfg") and hasattr(model, "run_with_hooks") and hasattr(model.cfg, "n_layers")):
        raise InputError(
            f"model is a {type(model).__name__}; expected a TransformerLens model, for example from "
            "laminar_lens.load_model"
        )
    for name, module in model.named_modules() if isinstance(model, torch.nn.Module) else ():
        rates = (
            getattr(module, "attention_dropout", 0),
            module.p if isinstance(module, torch.nn.Dropout) else 0,
        )
        if module.training and any(isinstance(rate, float) and rate > 0 for rate in rates):
            raise InputError(
                f"the model is in training mode ({name} drops values at random): call model.eval()"
            )


def residual_states(
    model: Any,
    tokens: Int[Tensor, "batch pos"],
    layers: Sequence[int],
    *,
    final_norm: bool = False,
    keep: Callable[[Tensor], Tensor] = lambda state: state,
) -> Float[Tensor, "layer batch kept d_model"]:
    """Hidden states of sequences without padding, in the order of `layers` (0 … n_layers).

    `keep` is applied to each state as soon as it is there, for example to select positions or to move it. The
    forward pass stops after the last wanted layer. Hooks are keyed by our own layer index: a bridge reports
    other names.

    Raises:
        CaptureError: the model never reached one of the hooks.
    """
    n_layers = int(model.cfg.n_layers)
    last = max(layers)
    found: dict[int, Tensor] = {}

    def hook_of(layer: int) -> Callable[..., None]:
        def take(state: Tensor, hook: Any) -> None:
            state = state.detach()
            found[layer] = keep(model.ln_final(state) if final_norm and layer == n_layers else state)
            if layer == last:
                raise _Reached

        return take

    tokens = tokens.to(model.cfg.device)
    # Without an explicit mask, TransformerLens guesses one from the padding token when the tokenizer pads
    # left.
    mask = torch.ones_like(tokens)
    with torch.no_grad():
        try:
            hooks = [(hook_name(layer), hook_of(layer)) for layer in sorted(set(layers))]
            model.run_with_hooks(tokens, return_type=None, fwd_hooks=hooks, attention_mask=mask)
        except _Reached:
            pass
    if missing := [layer for layer in layers if layer not in found]:
        raise CaptureError(
            f"hidden state {missing[0]}: the model has no hook {hook_name(missing[0])!r} that fires"
        )
    return torch.stack([found[layer] for layer in layers])
