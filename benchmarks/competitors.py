# ruff: noqa: D102, N812 (one docstring for the forms; F is what users call it)
"""The same quantities as their users write them, without this package.

Each function takes the states [layer batch pos d_model] (and pairs [batch pair 2]) and returns a dictionary.
They run in the dtype of their input and take arccos of the cosine: what notebooks do. Near 0 and π that is
wrong by up to 6·10⁻⁴ rad in float32 and 0.1 rad in bfloat16, which the tables show.
"""

import itertools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor

from benchmarks.registry import BINS, Entry

Result = dict[str, Tensor]
Competitor = Callable[[Tensor, Tensor | None], Result]


class Naive:
    """Normalise, einsum, arccos."""

    def unit(self, vectors: Tensor) -> Tensor:
        unit: Tensor = vectors / vectors.norm(dim=-1, keepdim=True)
        return unit

    def angle(self, u: Tensor, v: Tensor) -> Tensor:
        cosine = einsum(self.unit(u), self.unit(v), "... d_model, ... d_model -> ...")
        return cosine.clamp(-1, 1).arccos()

    def neighbours(self, states: Tensor, dim: int) -> Tensor:
        unit = self.unit(states)
        count = states.shape[dim] - 1
        cosine = einsum(
            unit.narrow(dim, 0, count), unit.narrow(dim, 1, count), "... d_model, ... d_model -> ..."
        )
        return cosine.clamp(-1, 1).arccos()

    def matrix(self, states: Tensor) -> Tensor:
        unit = self.unit(states)
        return einsum(unit, unit, "... i d_model, ... j d_model -> ... i j").clamp(-1, 1).arccos()

    def sequential(self, states: Tensor, pairs: Tensor | None) -> Result:
        return {"sequential": self.neighbours(states, 2)}

    def rotation(self, states: Tensor, pairs: Tensor | None) -> Result:
        return {"rotation": self.neighbours(states, 0)}

    def profile(self, states: Tensor, pairs: Tensor | None) -> Result:
        return {
            "sequential": self.neighbours(states, 2),
            "rotation": self.neighbours(states, 0),
            "norm": states.norm(dim=-1),
            "step": (states[1:] - states[:-1]).norm(dim=-1),
        }

    def pairs(self, states: Tensor, pairs: Tensor | None) -> Result:
        assert pairs is not None
        prompt = torch.arange(states.shape[1], device=states.device)[:, None]
        first, second = states[:, prompt, pairs[..., 0]], states[:, prompt, pairs[..., 1]]
        return {"pairs": self.angle(first, second)}

    def pairwise(self, states: Tensor, pairs: Tensor | None) -> Result:
        return {"pairwise": self.matrix(states)}

    def histogram(self, states: Tensor, pairs: Tensor | None) -> Result:
        angles = self.matrix(states)
        pos = angles.shape[-1]
        first, second = torch.triu_indices(pos, pos, offset=1, device=angles.device)
        above = rearrange(angles[..., first, second], "layer batch pair -> (layer batch) pair").float()
        counts = torch.stack([torch.histc(row, BINS, 0, math.pi) for row in above]).long()
        return {"histogram": counts.reshape(*angles.shape[:2], BINS)}


class Cosine(Naive):
    """`F.cosine_similarity` and arccos."""

    def angle(self, u: Tensor, v: Tensor) -> Tensor:
        return F.cosine_similarity(u, v, dim=-1).clamp(-1, 1).arccos()

    def neighbours(self, states: Tensor, dim: int) -> Tensor:
        count = states.shape[dim] - 1
        return self.angle(states.narrow(dim, 0, count), states.narrow(dim, 1, count))

    def matrix(self, states: Tensor) -> Tensor:
        return self.angle(states[..., :, None, :], states[..., None, :, :])


class Normalize(Naive):
    """`F.normalize`, einsum and arccos."""

    def unit(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1)


class Loop(Naive):
    """The naive form for one layer of one prompt at a time, as in notebooks."""

    def neighbours(self, states: Tensor, dim: int) -> Tensor:
        if dim == 0:
            rows = [
                [self.angle(a, b) for a, b in zip(*layers, strict=True)]
                for layers in itertools.pairwise(states)
            ]
        else:
            rows = [[super(Loop, self).neighbours(text, 0) for text in layer] for layer in states]
        return torch.stack([torch.stack(row) for row in rows])

    def matrix(self, states: Tensor) -> Tensor:
        rows = [[super(Loop, self).matrix(text) for text in layer] for layer in states]
        return torch.stack([torch.stack(row) for row in rows])

    def pairs(self, states: Tensor, pairs: Tensor | None) -> Result:
        assert pairs is not None
        rows = [
            [self.angle(text[ends[:, 0]], text[ends[:, 1]]) for text, ends in zip(layer, pairs, strict=True)]
            for layer in states
        ]
        return {"pairs": torch.stack([torch.stack(row) for row in rows])}


_FORMS = {"naive": Naive(), "cosine": Cosine(), "normalize": Normalize(), "loop": Loop()}


def competitor(backend: str, operation: str) -> Competitor:
    """The function of a competitor; for `compile`, compiled anew."""
    method = "sequential" if operation == "accuracy" else operation
    if backend == "compile":
        torch.compiler.reset()
        compiled: Competitor = torch.compile(getattr(_FORMS["naive"], method))
        return compiled
    form: Competitor = getattr(_FORMS[backend], method)
    return form


def temporary_bytes(entry: Entry) -> int:
    """About what a form holds beside its input and its result, so that what cannot fit is not tried."""
    if entry.operation in ("pairwise", "histogram"):
        matrix = 4 * entry.shape.elements // entry.shape.d_model * entry.shape.pos
        if entry.backend == "cosine":
            return matrix * entry.shape.d_model
        return entry.input_bytes + (2 if entry.operation == "pairwise" else 4) * matrix
    if entry.backend in ("loop", "compile"):
        return 0
    return (4 if entry.operation == "pairs" else 2) * entry.input_bytes
