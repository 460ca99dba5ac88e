"""The loop over batches, and one forward pass of a batch: every study and every capture runs through here."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from laminar_lens.axes import Progress
from laminar_lens.models.batches import PromptBatches, check_finite, finite_vectors
from laminar_lens.models.forward import Visit, Watch, run_states


def each_batch(run: PromptBatches, label: str, progress: Progress | None) -> Iterator[tuple[int, ...]]:
    """Indices of prompts of equal length, shortest first; after each batch `progress` is told of it."""
    done = 0
    for indices in run.indices():
        yield indices
        done += len(indices)
        if progress is not None:
            progress(label, done, len(run.rows))


def run_batch(
    run: PromptBatches,
    indices: Sequence[int],
    visit: Visit,
    *,
    layers: Sequence[int] | None = None,
    watch: Sequence[Watch] = (),
) -> None:
    """One forward pass of prompts of equal length, as the run was asked for; see `run_states`.

    Args:
        run: all prompts, and how they are run.
        indices: of a batch.
        visit: sees each hidden state, in increasing order.
        layers: hidden states; those of the run by default.
        watch: other hook points to look at.

    Raises:
        CaptureError: a vector is not finite: names prompt, hidden state and position.
    """
    tokens = run.tokens(indices)
    wanted = sorted(set(run.layers if layers is None else layers))
    finite: list[Tensor] = []

    def see(layer: int, state: Tensor) -> None:
        finite.append(finite_vectors(state))
        visit(layer, state)

    run_states(
        run.model,
        tokens,
        wanted,
        see,
        final_norm=run.final_norm,
        interventions=run.interventions,
        indices=indices,
        watch=watch,
    )
    together = torch.stack([part.cpu() for part in finite])
    check_finite(together, wanted, indices, range(tokens.shape[1]))
