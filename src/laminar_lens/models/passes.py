"""The loop over batches, and one forward pass of a batch: every study and every capture runs through here."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from laminar_lens.axes import Progress
from laminar_lens.models.batches import PromptBatches, check_finite, finite_vectors
from laminar_lens.models.forward import Visit, Watch, run_states


@dataclass(frozen=True)
class Batch:
    """Prompts of equal length, to be run once.

    Attributes:
        prompts: all of them, and how they are run.
        indices: of this batch.
        report: is told which share of it is done.
    """

    prompts: PromptBatches
    indices: tuple[int, ...]
    report: Callable[[float], None]

    def run(self, visit: Visit, *, layers: Sequence[int] | None = None, watch: Sequence[Watch] = ()) -> None:
        """One forward pass, as it was asked for; see `run_states`.

        Args:
            visit: sees each hidden state, in increasing order.
            layers: hidden states; those of the prompts by default.
            watch: other hook points to look at.

        Raises:
            CaptureError: a vector is not finite: names prompt, hidden state and position.
        """
        tokens = self.prompts.tokens(self.indices)
        wanted = sorted(set(self.prompts.layers if layers is None else layers))
        finite: list[Tensor] = []

        def see(layer: int, state: Tensor) -> None:
            finite.append(finite_vectors(state))
            visit(layer, state)
            self.report(len(finite) / (len(wanted) + 1))

        run_states(
            self.prompts.model,
            tokens,
            wanted,
            see,
            final_norm=self.prompts.final_norm,
            interventions=self.prompts.interventions,
            indices=self.indices,
            watch=watch,
        )
        together = torch.stack([part.cpu() for part in finite])
        check_finite(together, wanted, self.indices, range(tokens.shape[1]))


def each_batch(run: PromptBatches, label: str, progress: Progress | None) -> Iterator[Batch]:
    """Prompts of equal length, shortest first; `progress` is told from the start how many are done, and with
    every hidden state of a large batch."""
    done, told, total = 0, -1, len(run.rows)

    def tell(n: int) -> None:
        nonlocal told
        if progress is not None and n > told:
            told = n
            progress(label, n, total)

    tell(0)
    for indices in run.indices():
        yield Batch(run, indices, partial(_part, tell, done, len(indices)))
        done += len(indices)
        tell(done)


def _part(tell: Callable[[int], None], done: int, size: int, share: float) -> None:
    """Tells of so many prompts before, and of a share of a batch."""
    tell(done + int(share * size))
