"""Planted causes: an edit of a working GPT-2's weights whose first pairs stand apart for a reason that is
known.

The base is random but alive (attention, LayerNorm, MLPs) and holds three kinds of marks that nothing reads:

- position 0, the later even and the odd positions have directions of their own, equally long, on top of two
  high-norm directions that alternate, which keep LayerNorm's gain steady and every pair equally wide;
- each token has a tag of +1 or −1; texts alternate them, and a head that looks at all visible positions alike
  writes their average: ±1 at a position without context, at most ⅓ with one;
- two tokens, one of each tag, have a direction of their own.

The edit reads them with neurons in the MLPs: block WRITE adds s·u where the gate is open, block ERASE adds
−s·u, so that the hidden states between, and no others, differ there. u lies in the
middle between the two resting directions, so that it does the same to a pair that starts on either.

The truth is not the plan: it is measured in all four cells with a float64 forward that knows no library
model, edited minus unedited.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from tests.planted import BLOCKS, CONTEXT, ERASE, HEADS, INNER, VOCABULARY, WRITE, D, Weights, angles, forward

LENGTH = 16
SINKS = (6, 7)
"""The marked tokens, by tag: even ids have −1, odd ids +1."""
FIRST_TOKEN = 8
SINK_FIRST, SINK_INSIDE = 0.7, 0.2
CONTENT, RANK, MARK, TAG_SIZE, AVERAGE_SIZE = 0.4, 8, 0.5, 0.15, 0.15
UNIT, OPEN = 600.0, 20.0
"""A present mark moves a neuron's input by UNIT; a gate opens within OPEN."""
RESTING = {1: np.deg2rad(45), -1: np.deg2rad(125)}
"""Angle of the resting directions, by the effect's sign: a narrower pair needs room below."""

CAUSES = ("position", "context", "either", "jointly", "token")


def _direction(i: int) -> np.ndarray:
    """Unit vector on a reserved pair of coordinates, of mean 0: LayerNorm's centring leaves it alone."""
    out = np.zeros(D)
    out[2 * i : 2 * i + 2] = np.array([1, -1]) / np.sqrt(2)
    return out


AXES = _direction(0), _direction(1)
FIRST, EVEN, ODD, TAG, AVERAGE, SINK = (_direction(i) for i in range(2, 8))
FIRST_FREE = 16

Gate = tuple[tuple[float, float, float], float, int]
"""Weights of (position 0, average of the tags, marked token), the threshold, and the sign of the write."""

_POSITION: Gate = ((1, 0, 0), 0.5, 1)
GATES: dict[str, tuple[Gate, ...]] = {
    "position": (_POSITION,),
    "context": (((0, 1, 0), 0.5, 1), ((0, -1, 0), 0.5, 1)),
    "jointly": (((1, 1, 0), 1.3, 1), ((1, -1, 0), 1.3, 1)),
    # position 0 opens both of the first two, whatever the tag, so that one is taken off again
    "either": (((2, 1, 0), 0.5, 1), ((2, -1, 0), 0.5, 1), ((1, 0, 0), 0.5, -1)),
    "token": (((0, 0, 1), 0.5, 1),),
}


@dataclass(frozen=True)
class Plan:
    """What to plant: a cause, and the mean of the first pairs' excess in rad (its sign is the effect's; −0.0
    plants nothing in a base that has room for a narrower pair)."""

    cause: str
    strength: float
    seed: int = 0

    @property
    def sign(self) -> int:
        return int(np.copysign(1, self.strength))


@dataclass(frozen=True)
class Planted:
    plan: Plan
    base: Weights = field(repr=False)
    edited: Weights = field(repr=False)


@lru_cache(maxsize=4)
def base_weights(seed: int, sign: int) -> Weights:
    """Random GPT-2 weights with the marks, under Hugging Face's names."""
    rng = np.random.default_rng([seed, 31])
    free, unread = np.zeros(D), np.ones(D)
    free[FIRST_FREE:], unread[4:FIRST_FREE] = 1.0, 0.0
    even, odd = _resting(sign)
    wpe = np.array(
        [even + MARK * (EVEN if p else FIRST) if p % 2 == 0 else odd + MARK * ODD for p in range(CONTEXT)]
    )
    content = rng.standard_normal((VOCABULARY, RANK)) @ rng.standard_normal((RANK, D)) * free
    wte = CONTENT * content / np.linalg.norm(content, axis=1, keepdims=True)
    wte[list(SINKS)] = CONTENT * SINK
    wte += TAG_SIZE * np.where(np.arange(VOCABULARY) % 2, 1, -1)[:, None] * TAG
    w: Weights = {"transformer.wte.weight": wte, "transformer.wpe.weight": wpe}
    for name in [f"h.{i}.{n}" for i in range(BLOCKS) for n in ("ln_1", "ln_2")] + ["ln_f"]:
        w[f"transformer.{name}.weight"] = 1 + 0.1 * rng.standard_normal(D) * free
        w[f"transformer.{name}.bias"] = 0.1 * rng.standard_normal(D) * free
    spare = np.r_[np.ones(INNER - 6), np.zeros(6)]
    for i in range(BLOCKS):
        h = f"transformer.h.{i}."
        # values leave the resting directions alone: averaging them would narrow the first pair by itself
        values = unread * np.r_[np.zeros(4), np.ones(D - 4)]
        read = np.repeat(np.stack([unread, unread, values]), D, axis=0).T
        w[h + "attn.c_attn.weight"] = rng.standard_normal((D, 3 * D)) / np.sqrt(D) * read
        w[h + "attn.c_attn.bias"] = 0.1 * rng.standard_normal(3 * D)
        w[h + "attn.c_proj.weight"] = 0.04 / np.sqrt(D) * rng.standard_normal((D, D)) * free
        w[h + "attn.c_proj.bias"] = np.zeros(D)
        w[h + "mlp.c_fc.weight"] = rng.standard_normal((D, INNER)) / np.sqrt(D) * unread[:, None] * spare
        w[h + "mlp.c_fc.bias"] = 0.1 * rng.standard_normal(INNER) * spare
        out = 0.06 / np.sqrt(D) * rng.standard_normal((INNER, D)) * free * spare[:, None]
        w[h + "mlp.c_proj.weight"] = out
        w[h + "mlp.c_proj.bias"] = np.zeros(D)
    _average_tags(w)
    return w


def _average_tags(w: Weights) -> None:
    """Head 0 of block 0 looks at all visible positions alike and writes what their tags average to."""
    h = "transformer.h.0.attn."
    size = D // HEADS
    gain = _gain()
    w[h + "c_attn.weight"][:, :size] = 0.0
    w[h + "c_attn.bias"][:size] = 0.0
    w[h + "c_attn.weight"][:, 2 * D] = TAG / (TAG_SIZE * gain)
    w[h + "c_attn.bias"][2 * D] = 0.0
    w[h + "c_proj.weight"][0] = AVERAGE_SIZE * AVERAGE


def _gain() -> float:
    """What LayerNorm multiplies a vector of the resting norm with."""
    norm = np.sqrt(1 + MARK**2 + CONTENT**2 + TAG_SIZE**2)
    return float(np.sqrt(D) / norm)


def _resting(sign: int) -> tuple[np.ndarray, np.ndarray]:
    turn = RESTING[sign]
    return AXES[0], np.cos(turn) * AXES[0] + np.sin(turn) * AXES[1]


def plant(plan: Plan) -> Planted:
    """Edit fresh weights so that first pairs' mean angle moves by `plan.strength` between WRITE and ERASE."""
    base = base_weights(plan.seed, plan.sign)
    if plan.strength == 0:
        return Planted(plan, base, base)
    even, odd = _resting(plan.sign)
    middle = (even + odd) / np.linalg.norm(even + odd)
    u = -plan.sign * middle
    share = SINK_FIRST if plan.cause == "token" else 1.0
    write = _calibrate(plan, u, plan.strength / share)
    edited = dict(base)
    for block, scale in ((WRITE, write), (ERASE, -write)):
        edited.update(_gates(base, block, GATES[plan.cause], scale * u))
    return Planted(plan, base, edited)


def _gates(base: Weights, block: int, gates: tuple[Gate, ...], vector: np.ndarray) -> Weights:
    """Two neurons a gate: gelu(z − b) − gelu(z − b − h), 0 where it is shut and h where it is open."""
    h = f"transformer.h.{block}.mlp."
    fc, bias, out = (base[h + n].copy() for n in ("c_fc.weight", "c_fc.bias", "c_proj.weight"))
    gain = _gain()
    marks = np.stack([FIRST / MARK, AVERAGE / AVERAGE_SIZE, SINK / CONTENT]) / gain
    for k, (weights, threshold, sign) in enumerate(gates):
        at = INNER - 6 + 2 * k
        fc[:, at : at + 2] = UNIT * (np.array(weights) @ marks)[:, None]
        bias[at : at + 2] = -UNIT * threshold, -UNIT * threshold - OPEN
        out[at : at + 2] = sign * np.stack([vector, -vector]) / OPEN
    return {h + "c_fc.weight": fc, h + "c_fc.bias": bias, h + "c_proj.weight": out}


def _calibrate(plan: Plan, u: np.ndarray, size: float) -> float:
    """The length of the write that moves the first pair by `size`, where the edit is additive."""
    texts = random_texts(60, seed=plan.seed + 10_000)[:, :2]
    x = forward(base_weights(plan.seed, plan.sign), texts)[WRITE + 1]
    at, resting = np.array([[1.0], [0.0]]), angles(x)

    def shift(s: float) -> float:
        return float((angles(x + s * u * at) - resting).mean())

    low, high = 0.0, 4.0
    if abs(shift(high)) < abs(size):
        raise ValueError(f"an excess of {size} rad cannot be reached")
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if abs(shift(middle)) < abs(size) else (low, middle)
    return (low + high) / 2


def random_texts(n: int, *, seed: int, sink: bool = False) -> np.ndarray:
    """Independent texts of random tokens whose tags alternate. With `sink`, a marked token starts SINK_FIRST
    of the texts, and stands at a random later position of SINK_INSIDE of them; without it, nowhere."""
    rng = np.random.default_rng([seed, 32])
    tags = (rng.integers(2, size=(n, 1)) + np.arange(LENGTH)) % 2
    tokens = FIRST_TOKEN + 2 * rng.integers((VOCABULARY - FIRST_TOKEN) // 2, size=(n, LENGTH)) + tags
    if sink:
        marked = rng.random((n, LENGTH)) < 0
        marked[:, 0] = rng.random(n) < SINK_FIRST
        inside = rng.random(n) < SINK_INSIDE
        marked[np.flatnonzero(inside), rng.integers(1, LENGTH, inside.sum())] = True
        tokens = np.where(marked, np.array(SINKS)[tags], tokens)
    return tokens


def true_cells(
    w: Weights, tokens: np.ndarray, donor: np.ndarray, at: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Angles [cell, text, layer] of each text's first bigram in the four cells, and its reference pairs'
    mean [text, layer]; the context is the first tokens of the text's donor."""
    n = len(tokens)
    whole = angles(forward(w, tokens)).transpose(1, 2, 0)
    out = np.empty((4, n, whole.shape[-1]))
    for t in np.unique(at):
        rows = np.flatnonzero(at == t)
        text = np.concatenate([tokens[donor[rows], :t], tokens[rows, :2]], axis=1)
        place = np.arange(t + 2)
        restarted = np.where(place < t, place, place - t)
        blocked = (place[:, None] >= t) & (place[None] < t)
        for cell, how in enumerate(
            ({}, {"hidden": blocked}, {"positions": restarted}, {"hidden": blocked, "positions": restarted})
        ):
            out[cell, rows] = angles(forward(w, text, **how)[:, :, t:])[:, :, 0].T  # type: ignore[arg-type]
    return out, whole[:, -((LENGTH - 1) // 3) :].mean(1)
