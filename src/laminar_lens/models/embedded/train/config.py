"""What a run is, and how a problem that the user can solve is told."""

import dataclasses
import math
import sys

CHANGEABLE = ("tokens", "lr", "weight_decay", "warmup")


class TrainError(Exception):
    """A problem the user can solve; its text is the one line that is printed."""


def say(line: str) -> None:
    """A line to the user, past any pipe."""
    print(line, file=sys.stderr, flush=True)


@dataclasses.dataclass(frozen=True)
class Config:
    """What a run is; together with the token file it fixes every number of the run."""

    layers: int = 8
    width: int = 128
    heads: int = 4
    context: int = 128
    batch: int = 32
    seed: int = 0
    tokens: int = 40_000_000
    lr: float = 1.5e-3
    weight_decay: float = 0.1
    warmup: int = 200

    @property
    def steps(self) -> int:
        """Optimizer steps that see `tokens`, rounded up."""
        return math.ceil(self.tokens / (self.batch * self.context))

    def lr_at(self, step: int) -> float:
        """Linear warm-up, then cosine down to 10%."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.lr * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))
