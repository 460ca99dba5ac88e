"""Planted truth: a warm-up edited into GPT-2 weights is found, with its length, layers and sign.

The write is gated by the position, or by a token that starts most texts and also stands inside some. The
strength is what the write does to the angle right after it, as a mean over texts; the truth of each model
(its k*, and which layers differ) is measured with our own float64 forward on the edited weights. At a
strength of tau the truth lies on the boundary: the answer must then not exclude it from above. Beyond, the
token's place inside may stand apart as well, and k* is then behind it.
"""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binom

from laminar_lens.capture import iter_residuals
from laminar_lens.kernels import sequential_angles
from laminar_lens.models import load_model
from laminar_lens.stats.warmup import WarmupAnswer, warmup
from tests import planted
from tests.validate.rows import Row

TAU = 0.05
STRENGTHS = {"0": 0.0, "tau/2": TAU / 2, "tau": TAU, "2 tau": 2 * TAU, "1 rad": 1.0}
N_TEXTS = 250
KS = (1, 2, 4)
KINDS = [(sign, k) for k in KS for sign in (1, -1)]
GATES = ("position", "token")
MAX_SEEDS = 100


@dataclass(frozen=True)
class Outcome:
    answer: WarmupAnswer
    null: WarmupAnswer | None
    truth: planted.Planted
    tokens: np.ndarray

    @property
    def plan(self) -> planted.Plan:
        return self.truth.plan

    @cached_property
    def delta(self) -> np.ndarray:
        """The truth [layer, pair] on these texts."""
        return planted.contrasts(self.truth.edited, self.tokens).mean(1)

    @property
    def k(self) -> int:
        """The truth: k* over all layers."""
        return planted.true_k(self.delta, TAU)

    def right_layers(self) -> bool:
        """Every planted layer has the sign, every layer that clearly does not differ has none."""
        want = "wider" if self.plan.strength > 0 else "narrower"
        tested = self.answer.reference[0]
        largest = np.abs(self.delta[:, :tested]).max(axis=1)
        for layer, found in enumerate(self.answer.layers):
            if layer in planted.PLANTED_LAYERS and found.sign != want:
                return False
            if largest[layer] < TAU / 2 and found.sign != "none":
                return False
        return True


def outcomes(seed: int, strengths: Iterable[float] = STRENGTHS.values()) -> dict[str, list[Outcome]]:
    """By gate, all strengths in one random model and one set of texts; sign and length go through all pairs
    as seeds go on."""
    sign, k = KINDS[seed % len(KINDS)]
    strengths = list(strengths)
    base = planted.base_weights(seed, wide=sign < 0)
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(str(planted.save(base, Path(folder) / "model")))
    found = {}
    for gate, first in (("position", k), ("token", 1)):
        tokens = planted.random_texts(N_TEXTS, seed=seed, sink=gate == "token")
        plans = [
            planted.Plan(sign * s, first if s else 0, gate, seed=seed, room_below=sign < 0) for s in strengths
        ]
        found[gate] = [_outcome(plan, model, tokens) for plan in plans]
    return found


def _outcome(plan: planted.Plan, model: object, tokens: np.ndarray) -> Outcome:
    """The library's angles of the edited model and what the statistics make of them, beside the truth."""
    truth = planted.plant(plan)
    planted.overwrite_mlps(model, truth.edited)
    strongest = plan.gate == "position" and abs(plan.strength) == max(STRENGTHS.values())
    permute = plan.seed if strongest else None
    theta, shuffled = library_angles(model, tokens, permute=permute)
    null = None if shuffled is None else warmup(shuffled, tau=TAU, seed=plan.seed)
    return Outcome(warmup(theta, tau=TAU, seed=plan.seed), null, truth, tokens)


def library_angles(
    model: object, tokens: np.ndarray, *, permute: int | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Angles [text layer pair] as captured, and with each text's vectors permuted along positions, alike in
    all layers."""
    n = len(tokens)
    parts: list[np.ndarray] = [np.empty(0)] * n
    nulls: list[np.ndarray] = [np.empty(0)] * n
    rng = np.random.default_rng([permute or 0, 13])
    for indices, states in iter_residuals(model, torch.from_numpy(tokens)):
        theta = sequential_angles(states.values).transpose(0, 1).numpy()
        if permute is not None:
            order = torch.from_numpy(np.argsort(rng.random(states.mask.shape), axis=1))
            index = order[None, :, :, None].expand_as(states.values)
            mixed = sequential_angles(states.values.gather(2, index)).transpose(0, 1).numpy()
        for row, i in enumerate(indices):
            parts[i] = theta[row]
            if permute is not None:
                nulls[i] = mixed[row]
    return np.stack(parts), None if permute is None else np.stack(nulls)


def run(seeds: int) -> list[Row]:
    """Every strength of both gates over both signs and, of positions, k* in {1, 2, 4}; the permuted null on
    the strongest."""
    found = [outcomes(seed) for seed in range(min(seeds, MAX_SEEDS))]
    rows = [
        _row(name, gate, [by[gate][i] for by in found]) for gate in GATES for i, name in enumerate(STRENGTHS)
    ]
    nulls = [o.null.overall for by in found for o in by["position"] if o.null is not None]
    silent = [null.verdict != "drift" and not null.k_lo for null in nulls]
    check, setting = "planted: vectors permuted along positions", _setting("1 rad, permuted", "position")
    return [*rows, _share(check, setting, silent, "nothing found", 0.95)]


def _setting(name: str, gate: str) -> str:
    where = f"k* in {KS}" if gate == "position" else "gated by a token"
    return f"{name}; both signs, {where}, n = {N_TEXTS}"


def _row(name: str, gate: str, found: list[Outcome]) -> Row:
    setting = _setting("0 rad" if name == "0" else name, gate)
    if name in ("0", "tau/2"):
        good = [o.answer.overall.skip == 0 for o in found]
        return _share("planted: no warm-up above tau", setting, good, "skip = 0", 0.95)
    if name == "tau":
        wrong = [o.answer.overall.k_hi is not None and o.answer.overall.k_hi < o.plan.k for o in found]
        good = [not w for w in wrong]
        # on the boundary the chance is 95%: a share of 20 models may fall short of it by chance
        required = float(binom.ppf(0.01, len(good), 0.95)) / len(good)
        return _share("planted: k* on the boundary", setting, good, "k_hi ≥ k*", required)
    good = [o.k == _planned_k(name, o.plan) == o.answer.overall.skip and o.right_layers() for o in found]
    return _share("planted: length, layers and sign", setting, good, "skip = k*, layers and sign found", 0.95)


def _planned_k(name: str, plan: planted.Plan) -> int:
    """What the truth must be for a row to say anything; at 1 rad the token's place inside stands apart."""
    return planted.INSIDE + 1 if plan.gate == "token" and name == "1 rad" else plan.k


def _share(check: str, setting: str, good: list[bool], what: str, required: float) -> Row:
    share = float(np.mean(good))
    return Row(check, setting, f"{what} in ≥ {required:.0%}", f"{share:.1%}", len(good), share >= required)
