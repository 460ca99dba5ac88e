"""Whether TransformerLens computes what Hugging Face does, at every length at which a model turns."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from laminar_lens.errors import ModelError
from laminar_lens.models.causality import half_changed, refuse_if_moved
from laminar_lens.models.context import config_context, turning_lengths
from laminar_lens.models.forward import residual_states, state_hooks
from laminar_lens.models.hooked import HFConfig, HFModel, HookedModel

EXACT_RAD = 1e-8
"""Two right implementations in float64 are 10⁻¹⁵ to 10⁻⁹ rad apart, a wrong epsilon 10⁻⁷ and more."""

SURE_RAD, TOLERANCE_RAD, WRONG_RAD = 5e-6, 2e-5, 1e-3
"""In float32: right without doubt; the limit where float64 cannot decide; wrong without doubt."""

BEYOND = 16
"""Tokens that are checked beyond the end of a window."""

PLAIN, TURNING = (1e10, 2**26), (1e12, 2**30)
"""Operations of one pass and bytes of one layer's attention scores that a check may cost: of a length at
which nothing changes, and of one that a window or a scaling asks for. A GPU may do a hundred times the
operations."""


@dataclasses.dataclass(frozen=True)
class Probe:
    """Fixed tokens [1 pos], and the lengths at which the model turns that were too long to check."""

    text: Tensor
    unchecked: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Reference:
    """What Hugging Face computes: hidden states of the probe, of a short text, and of a shorter one that
    begins with the BOS."""

    probe: Probe
    states: list[Tensor]
    short: Tensor
    short_states: list[Tensor]
    shorter: Tensor
    shorter_states: list[Tensor]


@dataclasses.dataclass(frozen=True)
class Distance:
    """Angles between a model's states and the reference, in radians [layer token]."""

    angles: Tensor

    @property
    def rad(self) -> float:
        """The largest."""
        return float(self.angles.max())

    def begins(self, most: float) -> tuple[int, int]:
        """The first hidden state and the first token that are more than `most` radians apart."""
        apart = self.angles > most
        return int(apart.any(1).int().argmax()), int(apart.any(0).int().argmax())


def make_probe(config: HFConfig, parameters: int, device: str | torch.device) -> Probe:
    """A text as long as its check is worth, for a model of so many parameters; it begins with the BOS, if
    there is one."""
    context = config_context(config) or 2 * BEYOND
    shortest = min(BEYOND, context)
    turning = [length for length in turning_lengths(config) if length < context]
    wanted = {min(length + BEYOND, context): length for length in turning}
    length, cost = shortest, _Cost(config, parameters, device)
    while length < context and cost.allows(min(2 * length, context), PLAIN):
        length = min(2 * length, context)
    length = max([length, *(end for end in wanted if cost.allows(end, TURNING))])
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(0, _text_config(config).vocab_size, (1, length), generator=generator)
    return Probe(_begun(text, config).to(device), tuple(turn for end, turn in wanted.items() if end > length))


def _begun(text: Tensor, config: HFConfig) -> Tensor:
    """A text with the BOS for its first token, where the configuration has one."""
    bos = getattr(_text_config(config), "bos_token_id", None)
    if isinstance(bos, int) and 0 <= bos < _text_config(config).vocab_size:
        text = text.clone()
        text[:, 0] = bos
    return text


class _Cost:
    """Operations and bytes of one forward pass of a length."""

    def __init__(self, config: HFConfig, parameters: int, device: str | torch.device) -> None:
        text = _text_config(config)
        self._parameters = parameters
        self._scores = int(getattr(text, "num_hidden_layers", 0)) * int(getattr(text, "hidden_size", 0))
        self._heads = int(getattr(text, "num_attention_heads", None) or 1)
        self._speed = 100 if torch.device(device).type == "cuda" else 1

    def allows(self, length: int, most: tuple[float, int]) -> bool:
        operations = 2 * self._parameters * length + 4 * self._scores * length**2
        return operations <= most[0] * self._speed and 8 * self._heads * length**2 <= most[1]


def make_reference(hf: HFModel, name: str) -> Reference:
    """Runs a Hugging Face model on its probe.

    Raises:
        ModelError: a state is not finite, or the model is not causal.
    """
    probe = make_probe(hf.config, sum(one.numel() for one in hf.parameters()), hf.device)
    short, other = half_changed(_text_config(hf.config).vocab_size, probe.text.shape[1], hf.device)
    short_states = _hf_states(hf, short)
    _refuse_if_not_finite(short_states, name)
    refuse_if_moved(short_states, _hf_states(hf, other), name)
    states = _hf_states(hf, probe.text)
    _refuse_if_not_finite(states, name)
    shorter = _begun(short[:, : -(short.shape[1] // 3)], hf.config)
    return Reference(probe, states, short, short_states, shorter, _hf_states(hf, shorter))


def _refuse_if_not_finite(states: list[Tensor], name: str) -> None:
    for layer, state in enumerate(states):
        if not torch.isfinite(state).all():
            raise ModelError(
                f"model {name!r}: hidden state {layer} is not finite (NaN or infinity) in Hugging Face too: "
                "check the weights"
            )


def distance(model: HookedModel, reference: Reference, name: str) -> Distance:
    """How far a TransformerLens model is from the reference.

    Raises:
        ModelError: it counts another number of hidden states.
    """
    layers = range(int(model.cfg.n_layers) + 1)
    if len(reference.states) != len(layers):
        raise ModelError(
            f"model {name!r}: TransformerLens counts {len(layers)} hidden states, "
            f"Hugging Face {len(reference.states)}"
        )
    # Hugging Face's last hidden state is after the final norm.
    states = residual_states(model, reference.probe.text, layers, final_norm=True)
    pairs = zip(states, reference.states, strict=True)
    return Distance(torch.stack([_angles(ours, theirs)[0] for ours, theirs in pairs]))


def refuse_if_apart(found: Distance, most: float, reference: Reference, name: str, on_hooked: bool) -> None:
    """Refuses a model that is farther than `most` radians from the reference.

    Raises:
        ModelError: names the angle, and the hidden state and the token at which it begins.
    """
    if found.rad <= most:
        return
    layer, token = found.begins(most)
    remedy = "load it with bridge=True" if on_hooked else "it cannot be measured with this TransformerLens"
    raise ModelError(
        f"model {name!r}: TransformerLens does not compute what Hugging Face does, up to {found.rad:.1e} rad "
        f"apart (at most {most:.0e}), first in hidden state {layer}, beginning at token {token} of "
        f"{reference.probe.text.shape[1]}; {remedy}"
    )


def limits(
    model: HookedModel, reference: Reference, most: float, name: str, on_hooked: bool
) -> tuple[str, ...]:
    """Sentences on what the comparison found or could not reach: padding, and lengths too long to compare."""
    found, tokens = [], reference.probe.text.shape[1]
    padded = _padded_distance(model, reference)
    if not padded <= most:
        found.append(
            f"model {name!r}: TransformerLens gives other states for a text with padding on its left "
            f"({padded:.1e} rad): nothing that is measured here is padded, but do not pad what you run "
            "yourself"
        )
    if reference.probe.unchecked:
        turns = ", ".join(f"{length:,}" for length in reference.probe.unchecked)
        found.append(
            f"model {name!r} was compared with Hugging Face on {tokens:,} tokens; its attention or positions "
            f"change beyond {turns} tokens, which would take too long to compare: measure shorter texts, or "
            f"load it {'with bridge=True' if on_hooked else 'on a GPU'}"
        )
    return tuple(found)


def _padded_distance(model: HookedModel, reference: Reference) -> float:
    """The largest angle in a batch of the short text, and of the shorter with padding on its left."""
    short, shorter = reference.short, reference.shorter
    padding = short.shape[1] - shorter.shape[1]
    tokens = torch.cat([short, torch.cat([short[:, :padding], shorter], dim=1)])
    mask = torch.ones_like(tokens)
    mask[1, :padding] = 0
    found: dict[int, Tensor] = {}
    layers = range(int(model.cfg.n_layers) + 1)
    hooks = state_hooks(model, layers, found.__setitem__, final_norm=True)
    with torch.no_grad():
        model.run_with_hooks(tokens, return_type=None, fwd_hooks=hooks, attention_mask=mask)
    apart = []
    for layer in layers:
        apart.append(_angles(found[layer][:1], reference.short_states[layer]).max())
        apart.append(_angles(found[layer][1:, padding:], reference.shorter_states[layer]).max())
    return float(torch.stack(apart).max())


def _hf_states(hf: HFModel, tokens: Tensor) -> list[Tensor]:
    """Hugging Face's hidden states; the unembedding, the largest part of a long text's memory, is not run."""
    with torch.no_grad():
        output = hf.base_model(
            tokens, attention_mask=torch.ones_like(tokens), output_hidden_states=True, use_cache=False
        )
    return list(output.hidden_states)


def _angles(u: Tensor, v: Tensor) -> Tensor:
    """Angles between corresponding vectors on any devices, in radians (Kahan's form); inf where undefined."""
    u, v = (torch.nn.functional.normalize(x.double(), dim=-1) for x in (u, v.to(u.device)))
    angle = 2 * torch.atan2((u - v).norm(dim=-1), (u + v).norm(dim=-1))
    return angle.nan_to_num(nan=torch.inf).cpu()


def _text_config(config: HFConfig) -> Any:
    return getattr(config, "text_config", None) or config
