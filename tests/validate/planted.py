"""Planted truth: a warm-up edited into GPT-2 weights is found, with its length, layers and sign.

The strength is what the write does to the angle right after it; the truth of each model (its k*, and which
layers differ) is measured with our own float64 forward on the edited weights. At a strength of tau the
truth lies on the boundary: the answer must then not exclude it from above.
"""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

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
MAX_SEEDS = 100


@dataclass(frozen=True)
class Outcome:
    answer: WarmupAnswer
    null: WarmupAnswer | None
    plan: planted.Plan
    excess: np.ndarray

    @property
    def k(self) -> int:
        """The truth: k* over all layers, of the planted part."""
        return planted.true_k(self.excess, TAU)

    def right_layers(self) -> bool:
        """Every planted layer has the sign, every layer that clearly does not differ has none."""
        want = "wider" if self.plan.strength > 0 else "narrower"
        tested = self.answer.reference[0]
        largest = np.abs(self.excess[:, :tested]).max(axis=1)
        for layer, found in enumerate(self.answer.layers):
            if layer in planted.PLANTED_LAYERS and found.sign != want:
                return False
            if largest[layer] < TAU / 2 and found.sign != "none":
                return False
        return True


def outcomes(seed: int, strengths: Iterable[float] = STRENGTHS.values()) -> list[Outcome]:
    """All strengths in one random model and one set of texts; sign and length go through all pairs as seeds
    go on."""
    sign, k = KINDS[seed % len(KINDS)]
    plans = [planted.Plan(sign * s, k if s else 0, seed=seed, room_below=sign < 0) for s in strengths]
    tokens = planted.random_texts(N_TEXTS, seed=seed)
    base = planted.base_weights(seed, wide=sign < 0)
    resting = planted.contrasts(base, tokens).mean(1)
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(str(planted.save(base, Path(folder) / "model")))
    return [_outcome(plan, model, tokens, resting) for plan in plans]


def _outcome(plan: planted.Plan, model: object, tokens: np.ndarray, resting: np.ndarray) -> Outcome:
    """The library's angles of the edited model and what the statistics make of them, beside the truth."""
    truth = planted.plant(plan)
    planted.overwrite_mlps(model, truth.edited)
    permute = plan.seed if abs(plan.strength) == max(STRENGTHS.values()) else None
    theta, shuffled = library_angles(model, tokens, permute=permute)
    excess = planted.contrasts(truth.edited, tokens).mean(1) - resting
    null = None if shuffled is None else warmup(shuffled, tau=TAU, seed=plan.seed)
    return Outcome(warmup(theta, tau=TAU, seed=plan.seed), null, plan, excess)


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
    """Every strength over both signs and k* in {1, 2, 4}; the permuted null on the strongest."""
    found = [outcomes(seed) for seed in range(min(seeds, MAX_SEEDS))]
    rows = [_row(name, [by[i] for by in found]) for i, name in enumerate(STRENGTHS)]
    nulls = [o.null.overall for by in found for o in by if o.null is not None]
    silent = [null.verdict != "drift" and not null.k_lo for null in nulls]
    setting = "1 rad, permuted"
    return [
        *rows,
        _share("planted: vectors permuted along positions", setting, silent, "nothing found", 0.95),
    ]


def _row(name: str, found: list[Outcome]) -> Row:
    if name in ("0", "tau/2"):
        good = [o.answer.overall.skip == 0 for o in found]
        return _share("planted: no warm-up above tau", name, good, "skip = 0", 0.95)
    if name == "tau":
        wrong = [o.answer.overall.k_hi is not None and o.answer.overall.k_hi < o.plan.k for o in found]
        good = [not w for w in wrong]
        return _share("planted: k* on the boundary", name, good, "k_hi ≥ k*", 0.95)
    good = [o.k == o.plan.k and o.answer.overall.skip == o.k and o.right_layers() for o in found]
    return _share("planted: length, layers and sign", name, good, "skip = k*, layers and sign found", 0.95)


def _share(check: str, setting: str, good: list[bool], what: str, required: float) -> Row:
    share = float(np.mean(good))
    setting = (
        f"{setting}; both signs, k* in {KS}, n = {N_TEXTS}" if setting != "0" else f"0 rad, n = {N_TEXTS}"
    )
    return Row(check, setting, f"{what} in ≥ {required:.0%}", f"{share:.1%}", len(good), share >= required)
