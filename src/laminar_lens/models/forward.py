"""Forward passes with hooks on the residual stream, the same for both TransformerLens generations."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminar_lens.errors import CaptureError, InputError, a_kind
from laminar_lens.models.changes import Changes
from laminar_lens.models.edits import Intervention, check_interventions
from laminar_lens.models.families import family_of
from laminar_lens.models.hooked import HookedModel

Visit = Callable[[int, Tensor], None]
"""Called as `visit(layer, state)` with each hidden state [batch pos d_model], as soon as it is there."""

Watch = tuple[str, Callable[[Tensor, Any], None]]
"""A hook point and a function that looks at what passes there and changes nothing."""


class _Reached(Exception):  # noqa: N818 - it is no error
    """The last wanted hidden state is there: the rest of the forward pass, unembedding too, is not needed."""


def hook_name(model: HookedModel, layer: int) -> str:
    """Hook of hidden state `layer`: 0 is the embedding, l the output of block l − 1."""
    return family_of(model.cfg).state(layer)


def check_model(model: HookedModel) -> None:
    """Refuses what is not a TransformerLens model, one whose weights are not on this machine, and one whose
    dropout would change every run.

    Raises:
        InputError: names the type that was given, the weight, or the dropout that is on.
    """
    if not (hasattr(model, "cfg") and hasattr(model, "run_with_hooks") and hasattr(model.cfg, "n_layers")):
        raise InputError(
            f"model is {a_kind(model)}; expected a TransformerLens model, for example from "
            "laminar_lens.load_model"
        )
    if not hasattr(model, "parameters"):
        raise InputError(
            f"model is {a_kind(model)}, which runs elsewhere, so that its weights and its run are "
            "out of reach: load the model here with laminar_lens.load_model, or give what its run_with_cache "
            "returns to residuals_from_cache"
        )
    check_in_memory(model)
    for name, module in model.named_modules() if isinstance(model, torch.nn.Module) else ():
        rates = (
            getattr(module, "attention_dropout", 0),
            module.p if isinstance(module, torch.nn.Dropout) else 0,
        )
        if module.training and any(isinstance(rate, float) and rate > 0 for rate in rates):
            raise InputError(
                f"the model is in training mode ({name} drops values at random): call model.eval()"
            )


def where_it_is(module: Any) -> Callable[[Tensor], Tensor]:
    """A module as a function of states on any device; a model may be spread over several."""

    def call(state: Tensor) -> Tensor:
        place = next(iter(module.parameters()), state) if isinstance(module, torch.nn.Module) else state
        out: Tensor = module(state.to(place.device))
        return out

    return call


def check_in_memory(model: HookedModel) -> None:
    """Refuses a model, of TransformerLens or of Hugging Face, whose weights are somewhere else.

    Raises:
        InputError: names the first one.
    """
    if away := next((name for name, weight in model.named_parameters() if weight.is_meta), None):
        raise InputError(
            f"the weight {away!r} of the model is not in memory (it is on 'meta', as where weights are "
            "offloaded): load the model without offloading"
        )


def check_reached(model: HookedModel, interventions: Sequence[Intervention], last: int) -> None:
    """Refuses interventions that act only after hidden state `last`, the last one that is measured.

    Raises:
        InputError: names the intervention and the hidden state at which it begins.
    """
    for one in interventions:
        begins = min((edit.layer for edit in one.edits(model)), default=0)
        if begins > last:
            raise InputError(
                f"{one.label} changes nothing before hidden state {begins}, and the last one measured is "
                f"{last}: measure later layers, or leave it out"
            )


def state_hooks(
    model: HookedModel, layers: Sequence[int], visit: Visit, *, final_norm: bool = False
) -> list[tuple[str, Callable[..., None]]]:
    """Forward hooks that hand hidden states to `visit` and change nothing.

    They are keyed by our own layer index: a bridge reports other names. With `final_norm` the last hidden
    state is handed over after the model's final norm, whose own hooks then run once more.
    """
    n_layers = int(model.cfg.n_layers)

    def hook_of(layer: int) -> Callable[..., None]:
        def take(state: Tensor, hook: Any) -> None:
            visit(layer, where_it_is(model.ln_final)(state) if final_norm and layer == n_layers else state)

        # The compiler breaks its graph there instead of tracing the visit; without it, there is nothing to
        # import, which would take seconds.
        if "torch._dynamo" not in sys.modules:
            return take
        return torch.compiler.disable(take)  # type: ignore[no-untyped-call, no-any-return]

    return [(hook_name(model, layer), hook_of(layer)) for layer in sorted(set(layers))]


def run_states(
    model: HookedModel,
    tokens: Int[Tensor, "batch pos"],
    layers: Sequence[int],
    visit: Visit,
    *,
    final_norm: bool = False,
    interventions: Sequence[Intervention] = (),
    indices: Sequence[int] | None = None,
    watch: Sequence[Watch] = (),
) -> None:
    """Runs sequences without padding, without gradients, as far as the last of `layers` (0 … n_layers).

    Args:
        model, tokens, layers, final_norm: of the run.
        visit: sees each hidden state, without what interventions put before the text.
        interventions: change the run; see `laminar_lens.interventions`.
        indices: which prompts `tokens` are, for interventions that differ between prompts.
        watch: other hook points to look at, as interventions leave them; with what these put before the text.

    Raises:
        InputError: an intervention that does not fit the model, the length of the text, or another one.
        CaptureError: the model never reached one of the hooks, or an intervention's hook did not fire.
    """
    last = max(layers)
    seen: set[int] = set()
    changes = None
    if interventions:
        check_interventions(model, interventions, [tokens.shape[1]] * len(tokens), indices=indices)
        changes = Changes(model, interventions, last=last, indices=indices)
    before = len(changes.before) if changes else 0

    def take(layer: int, state: Tensor) -> None:
        visit(layer, state[:, before:] if before else state)
        seen.add(layer)
        if layer == last:
            raise _Reached

    tokens = tokens.to(model.cfg.device)
    tokens = changes.prepended(tokens) if changes else tokens
    # Without an explicit mask, TransformerLens guesses one from the padding token when the tokenizer pads
    # left.
    mask = torch.ones_like(tokens)
    with torch.no_grad():
        try:
            reads = state_hooks(model, layers, take, final_norm=final_norm)
            hooks = [*(changes.hooks() if changes else ()), *watch, *reads]
            model.run_with_hooks(tokens, return_type=None, fwd_hooks=hooks, attention_mask=mask)
        except _Reached:
            pass
    if missing := [layer for layer in layers if layer not in seen]:
        raise CaptureError(
            f"hidden state {missing[0]}: the model has no hook {hook_name(model, missing[0])!r} that fires"
        )
    if changes:
        changes.check_fired(last)


def residual_states(
    model: HookedModel,
    tokens: Int[Tensor, "batch pos"],
    layers: Sequence[int],
    *,
    final_norm: bool = False,
    keep: Callable[[Tensor], Tensor] = lambda state: state,
    interventions: Sequence[Intervention] = (),
    indices: Sequence[int] | None = None,
) -> Float[Tensor, "layer batch kept d_model"]:
    """Hidden states of sequences without padding, in the order of `layers`, on the device of the first; see
    `run_states`.

    `keep` is applied to each state as soon as it is there, for example to select positions or to move it.
    """
    found: dict[int, Tensor] = {}

    def take(layer: int, state: Tensor) -> None:
        found[layer] = keep(state.detach())

    run_states(
        model, tokens, layers, take, final_norm=final_norm, interventions=interventions, indices=indices
    )
    return torch.stack([found[layer].to(found[layers[0]].device) for layer in layers])
