"""Planted truth: an edit of a working GPT-2's weights, and what it does according to a forward pass of our
own.

The base model is random but alive (attention, LayerNorm, MLPs); its positional embedding alternates between
two high-norm directions, which gives every pair the same wide angle and keeps LayerNorm's gain steady, and
marks the first four positions, the body's even and odd ones, and one token, with directions that nothing
reads. The edit connects a gate to such marks: block WRITE adds s·u where it is open, block ERASE adds −s·u,
so that the hidden states between them, and no others, differ there. A gate is two neurons, gelu(z − b) −
gelu(z − b − h), which is 0 where it is shut and exactly h where it is open.

The truth is not the plan: it is measured with a float64 forward written here from GPT-2's definition.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

D, HEADS, BLOCKS, INNER, CONTEXT, VOCABULARY = 40, 4, 4, 48, 24, 300
WRITE, ERASE = 1, 3
PLANTED_LAYERS = (2, 3)
LENGTH = CONTEXT
MARKED = 4
SINK_TOKEN = 7
SINK_FIRST, SINK_INSIDE, INSIDE = 0.8, 0.2, 8
SHUT, OPEN, GAIN = 20.0, 20.0, 200.0
CONTENT, RANK, MARK = 0.4, 8, 0.5
FIRST_FREE = 18

Weights = dict[str, np.ndarray]


def _direction(i: int) -> np.ndarray:
    """Unit vector on a reserved pair of coordinates; its mean is 0, so that LayerNorm's centring leaves it
    alone."""
    out = np.zeros(D)
    out[2 * i : 2 * i + 2] = np.array([1, -1]) / np.sqrt(2)
    return out


AXES = _direction(0), _direction(1)
MARKS = [_direction(2 + p) for p in range(MARKED + 2)]
TOKEN_MARK = _direction(2 + MARKED + 2)


@dataclass(frozen=True)
class Plan:
    """What to plant: a mean of `strength` rad (its sign is the effect's) in the first `k` pairs, or in the
    first pair where a token that starts `SINK_FIRST` of the texts opens the gate."""

    strength: float
    k: int = 1
    gate: str = "position"
    seed: int = 0
    room_below: bool = False

    @property
    def wide(self) -> bool:
        """Whether the resting angle is high: a narrower pair needs room below."""
        return self.strength < 0 or self.room_below


@dataclass(frozen=True)
class Planted:
    plan: Plan
    base: Weights = field(repr=False)
    edited: Weights = field(repr=False)
    write: float


@lru_cache(maxsize=4)
def base_weights(seed: int, *, wide: bool) -> Weights:
    """Random GPT-2 weights under Hugging Face's names; `wide` sets the resting angle high, to leave room
    below."""
    rng = np.random.default_rng([seed, 11])
    free = np.zeros(D)
    free[FIRST_FREE:] = 1.0
    even, odd = _resting_directions(wide=wide)
    wpe = np.array([even if p % 2 == 0 else odd for p in range(CONTEXT)])
    # neighbours' marks are orthogonal and as long everywhere, so that marking alone moves no angle
    wpe += MARK * np.array([MARKS[p if p < MARKED else MARKED + p % 2] for p in range(CONTEXT)])
    unread = np.ones(D)
    unread[4:FIRST_FREE] = 0.0
    content = rng.standard_normal((VOCABULARY, RANK)) @ rng.standard_normal((RANK, D)) * free
    wte = CONTENT * content / np.linalg.norm(content, axis=1, keepdims=True)
    # as long as other tokens and like none of them, so that the token alone moves no angle
    wte[SINK_TOKEN] = CONTENT * TOKEN_MARK
    w: Weights = {"transformer.wte.weight": wte, "transformer.wpe.weight": wpe}
    for name in [f"h.{i}.{n}" for i in range(BLOCKS) for n in ("ln_1", "ln_2")] + ["ln_f"]:
        w[f"transformer.{name}.weight"] = 1 + 0.1 * rng.standard_normal(D) * free
        w[f"transformer.{name}.bias"] = 0.1 * rng.standard_normal(D) * free
    for i in range(BLOCKS):
        h = f"transformer.h.{i}."
        inner = np.r_[np.ones(INNER - 2), np.zeros(2)]
        w[h + "attn.c_attn.weight"] = rng.standard_normal((D, 3 * D)) / np.sqrt(D) * unread[:, None]
        # values leave the resting directions alone: averaging them would narrow the first pair by itself
        w[h + "attn.c_attn.weight"][:4, 2 * D :] = 0.0
        w[h + "attn.c_attn.bias"] = 0.1 * rng.standard_normal(3 * D)
        w[h + "attn.c_proj.weight"] = 0.04 / np.sqrt(D) * rng.standard_normal((D, D)) * free
        w[h + "attn.c_proj.bias"] = np.zeros(D)
        w[h + "mlp.c_fc.weight"] = rng.standard_normal((D, INNER)) / np.sqrt(D) * unread[:, None] * inner
        w[h + "mlp.c_fc.bias"] = 0.1 * rng.standard_normal(INNER) * inner
        w[h + "mlp.c_proj.weight"] = (
            0.06 / np.sqrt(D) * rng.standard_normal((INNER, D)) * free * inner[:, None]
        )
        w[h + "mlp.c_proj.bias"] = np.zeros(D)
    return w


def _resting_directions(*, wide: bool) -> tuple[np.ndarray, np.ndarray]:
    turn = np.deg2rad(125 if wide else 45)
    return AXES[0], np.cos(turn) * AXES[0] + np.sin(turn) * AXES[1]


def plant(plan: Plan, *, write: float | None = None) -> Planted:
    """Edit fresh weights so that the affected pairs' mean angle moves by `plan.strength` after block WRITE.

    With `write`, the edit adds a vector of that length, whatever the angle then is.
    """
    if plan.k and plan.gate == "position" and not 1 <= plan.k <= MARKED:
        raise ValueError(f"k is {plan.k}; positions 0 … {MARKED - 1} are marked")
    base = base_weights(plan.seed, wide=plan.wide)
    if plan.k == 0 or plan.strength == 0:
        return Planted(plan, base, base, 0.0)
    # every second position, so that each of the first k pairs holds exactly one gated position
    gated = list(range(plan.k - 1, -1, -2)) if plan.gate == "position" else [0]
    mark = sum(MARKS[p] for p in gated) if plan.gate == "position" else TOKEN_MARK
    neighbour = _resting_directions(wide=plan.wide)[(gated[0] + 1) % 2]
    u = -np.sign(plan.strength) * neighbour
    write = _calibrate(plan, gated, u) if write is None else write
    edited = dict(base)
    for block, scale in ((WRITE, write), (ERASE, -write)):
        edited.update(_gate(base, block, mark, scale * u))
    return Planted(plan, base, edited, write)


def _gate(base: Weights, block: int, mark: np.ndarray, vector: np.ndarray) -> Weights:
    h = f"transformer.h.{block}.mlp."
    fc, bias, out = (base[h + n].copy() for n in ("c_fc.weight", "c_fc.bias", "c_proj.weight"))
    fc[:, -2:] = GAIN * mark[:, None]
    bias[-2:] = -SHUT, -SHUT - OPEN
    out[-2:] = np.stack([vector, -vector]) / OPEN
    return {h + "c_fc.weight": fc, h + "c_fc.bias": bias, h + "c_proj.weight": out}


def _calibrate(plan: Plan, gated: list[int], u: np.ndarray) -> float:
    """The length of the write that gives the strength in the state right after it, where the edit is
    additive."""
    pairs = sorted({p for g in gated for p in (g - 1, g) if p >= 0})
    x = _resting_states(plan.seed, plan.wide)[:, : max(gated) + 2]
    at, resting = np.isin(np.arange(x.shape[1]), gated)[:, None], angles(x)
    share = 1.0 if plan.gate == "position" else SINK_FIRST

    def shift(s: float) -> float:
        return share * float((angles(x + s * u * at) - resting)[:, pairs].mean())

    low, high = 0.0, 1.0
    while abs(shift(high)) < abs(plan.strength):
        high *= 2
        if high > 1000:
            raise ValueError(f"a strength of {plan.strength} rad cannot be reached")
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if abs(shift(middle)) < abs(plan.strength) else (low, middle)
    return (low + high) / 2


@lru_cache(maxsize=4)
def _resting_states(seed: int, wide: bool) -> np.ndarray:
    """States [text, pos, d] where the edit will write, in texts of their own."""
    return forward(base_weights(seed, wide=wide), random_texts(120, seed=seed + 10_000))[WRITE + 1]


def random_texts(n: int, *, seed: int, sink: bool = False) -> np.ndarray:
    """Independent texts of uniform random tokens. With `sink`, the sink token starts `SINK_FIRST` of the
    texts and stands at position `INSIDE` of `SINK_INSIDE` of them; without it, it occurs nowhere."""
    rng = np.random.default_rng([seed, 12])
    tokens = rng.integers(SINK_TOKEN + 1, VOCABULARY, size=(n, LENGTH))
    if sink:
        tokens[rng.random(n) < SINK_FIRST, 0] = SINK_TOKEN
        tokens[rng.random(n) < SINK_INSIDE, INSIDE] = SINK_TOKEN
    return tokens


def forward(
    w: Weights,
    tokens: np.ndarray,
    *,
    positions: np.ndarray | None = None,
    hidden: np.ndarray | None = None,
) -> np.ndarray:
    """Hidden states [layer, text, pos, d] in float64, written from the definition of GPT-2; no library
    model in it.

    `positions` [pos] are the rows of the positional embedding, 0, 1, … by default; `hidden` [row, column] is
    True where a row may not see a column, besides the columns after it.
    """
    n, length = tokens.shape
    rows = np.arange(length) if positions is None else positions
    x = w["transformer.wte.weight"][tokens] + w["transformer.wpe.weight"][rows]
    later = np.triu(np.ones((length, length), dtype=bool), 1)
    hidden = later if hidden is None else later | hidden
    states = [x]
    for i in range(BLOCKS):
        h = f"transformer.h.{i}."
        y = _norm(x, w[h + "ln_1.weight"], w[h + "ln_1.bias"])
        qkv = _times(y, w[h + "attn.c_attn.weight"]) + w[h + "attn.c_attn.bias"]
        q, k, v = (part.reshape(n, length, HEADS, -1).transpose(0, 2, 1, 3) for part in np.split(qkv, 3, -1))
        scores = np.where(hidden, -np.inf, q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1]))
        pattern = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (pattern / pattern.sum(-1, keepdims=True)) @ v
        mixed = mixed.transpose(0, 2, 1, 3).reshape(n, length, D)
        x = x + _times(mixed, w[h + "attn.c_proj.weight"]) + w[h + "attn.c_proj.bias"]
        y = _norm(x, w[h + "ln_2.weight"], w[h + "ln_2.bias"])
        z = _times(y, w[h + "mlp.c_fc.weight"]) + w[h + "mlp.c_fc.bias"]
        gelu = 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * z * (1 + 0.044715 * z * z)))
        x = x + _times(gelu, w[h + "mlp.c_proj.weight"]) + w[h + "mlp.c_proj.bias"]
        states.append(x)
    return np.stack(states)


def _times(x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """One large product instead of one a text, which is ten times slower."""
    return (x.reshape(-1, x.shape[-1]) @ matrix).reshape(*x.shape[:-1], -1)


def _norm(x: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * gain + bias


def angles(x: np.ndarray) -> np.ndarray:
    """Angles of neighbouring positions by arccos, accurate enough in float64 for means of wide angles."""
    unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return np.arccos(np.clip((unit[..., :-1, :] * unit[..., 1:, :]).sum(-1), -1, 1))


def contrasts(w: Weights, tokens: np.ndarray) -> np.ndarray:
    """d [layer, text, pair]: each angle minus the mean over the last third of the same text's pairs."""
    theta = angles(forward(w, tokens))
    return theta - theta[..., -((LENGTH - 1) // 3) :].mean(-1, keepdims=True)


def true_delta(planted: Planted, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """δ of the edited weights, and the excess, edited minus unedited on the same texts; both [layer,
    pair]."""
    edited = contrasts(planted.edited, tokens).mean(1)
    return edited, edited - contrasts(planted.base, tokens).mean(1)


def true_k(delta: np.ndarray, tau: float) -> int:
    """The smallest k with |δ| < τ in the tested pairs from k on, in every layer given."""
    tested = (LENGTH - 1) - (LENGTH - 1) // 3
    far = np.flatnonzero((np.abs(delta) >= tau).any(0)[:tested])
    return int(far[-1]) + 1 if len(far) else 0


def save(weights: Weights, folder: Path) -> Path:
    """A Hugging Face folder that `load_model` takes."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.utils import logging as quiet

    from tests.conftest import build_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    size = max(build_tokenizer(folder), VOCABULARY)
    config = GPT2Config(
        vocab_size=size,
        n_embd=D,
        n_layer=BLOCKS,
        n_head=HEADS,
        n_positions=CONTEXT,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config)
    state = model.state_dict()
    missing = {name for name in state if name not in weights and name != "lm_head.weight"}
    if missing:
        raise ValueError(f"weights lack {sorted(missing)}")
    for name, values in weights.items():
        # a wider vocabulary, and MLPs as wide as TransformerLens expects: the rest is zero
        whole = torch.zeros_like(state[name])
        whole[tuple(slice(n) for n in values.shape)] = torch.from_numpy(values).float()
        state[name] = whole
    model.load_state_dict(state | {"lm_head.weight": state["transformer.wte.weight"]})
    quiet.disable_progress_bar()
    model.save_pretrained(folder)
    return folder


def overwrite_mlps(model: object, weights: Weights) -> None:
    """Put the MLPs of `weights` into a loaded model, in either TransformerLens generation: what an edit
    touches."""
    import torch

    original = getattr(model, "original_model", None)
    for block in range(BLOCKS):
        h = f"transformer.h.{block}.mlp."
        if original is None:
            mlp = model.blocks[block].mlp  # type: ignore[attr-defined]
            targets = {"c_fc.weight": mlp.W_in, "c_fc.bias": mlp.b_in, "c_proj.weight": mlp.W_out}
        else:
            named = dict(original.named_parameters())
            targets = {
                name: _parameter(named, h + name) for name in ("c_fc.weight", "c_fc.bias", "c_proj.weight")
            }
        for name, parameter in targets.items():
            values = weights[h + name]
            with torch.no_grad():
                parameter.zero_()
                parameter[tuple(slice(n) for n in values.shape)] = torch.from_numpy(values).float()


def _parameter(named: dict[str, object], name: str) -> object:
    """The parameter of that Hugging Face name; a bridge's wrappers add `_original_component` to the path."""
    found = [v for k, v in named.items() if k.replace("._original_component", "") == name]
    if len(found) != 1:
        raise ValueError(f"{len(found)} parameters are called {name}")
    return found[0]
