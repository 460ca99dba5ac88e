"""What a path study measures while the model runs: norms, steps, distances from the embedding, and logits.

Of every hidden state only lengths by text, layer and position are kept, and of a batch its embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from laminar_lens.models.forward import Visit
from laminar_lens.studies.lengths import RESIDUAL, from_embedding
from laminar_lens.studies.measured import Axes, to_dataset
from laminar_lens.studies.paths.logits import check_unembeds, next_token
from laminar_lens.studies.run import Run


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was measured, by text and position; lengths are the geometry's.

    Attributes:
        norm: of the vector in every hidden state.
        step: distance from the layer before.
        displacement: distance from the embedding.
        logit, log_prob: of the true next token; NaN at the last position.
        token_id: with the BOS, where there is one.
        bos: whether position 0 is a BOS.
        group: of each text, where texts of one group count as one.
    """

    norm: Annotated[np.ndarray, Axes("text state pos", RESIDUAL, "norm")]
    step: Annotated[np.ndarray, Axes("text layer pos", RESIDUAL, "step since the layer before")]
    displacement: Annotated[np.ndarray, Axes("text layer pos", RESIDUAL, "distance from the embedding")]
    logit: Annotated[np.ndarray, Axes("text pos", "1", "logit of the true next token")]
    log_prob: Annotated[np.ndarray, Axes("text pos", "nat", "log-probability of the true next token")]
    token_id: Annotated[np.ndarray, Axes("text pos")]
    layer: Annotated[np.ndarray, Axes("layer")]
    state: Annotated[np.ndarray, Axes("state")]
    bos: bool
    group: Annotated[np.ndarray, Axes("text")] | None = None


def measure(run: Run) -> xr.Dataset:
    """Runs each text once, as far as its logits."""
    run.once("unembedding of a model", lambda: check_unembeds(run.model))
    seen = _Seen(run)
    for batch in run.angle_batches(measures=("norm", "step"), visit=seen.of, label="paths"):
        rows, info = list(batch.indices), batch.info
        seen.tokens[rows] = batch.tokens
        seen.norm[rows] = batch.angles["norm"].swapaxes(0, 1)
        seen.step[rows] = batch.angles["step"].swapaxes(0, 1)
    n_layers = int(run.model.cfg.n_layers)
    made = Measurement(
        norm=seen.norm,
        step=seen.step,
        displacement=seen.displacement,
        logit=seen.logit,
        log_prob=seen.log_prob,
        token_id=seen.tokens,
        layer=np.arange(1, n_layers + 1),
        state=np.arange(n_layers + 1),
        bos=run.options.prepend_bos,
        group=run.groups,
    )
    return to_dataset(made, info=info)


class _Seen:
    """Numbers by text, put together batch by batch."""

    def __init__(self, run: Run) -> None:
        self.run, self.rows = run, run.batches().rows
        n, length, layers = len(self.rows), len(self.rows[0]), int(run.model.cfg.n_layers)
        self.tokens = np.zeros((n, length), np.int64)
        self.norm = np.zeros((n, layers + 1, length), np.float32)
        self.step, self.displacement = np.zeros((2, n, layers, length), np.float32)
        self.logit, self.log_prob = np.full((2, n, length), np.nan, np.float32)

    def of(self, indices: Sequence[int]) -> Visit:
        """What sees the hidden states of a batch."""
        rows, model = list(indices), self.run.model
        last = int(model.cfg.n_layers)
        seen = from_embedding(self.run.geometry)

        def see(layer: int, state: Tensor) -> None:
            state = state.detach()
            _, away = seen(layer, state)
            if layer == 0:
                return
            self.displacement[rows, layer - 1] = away.float().cpu().numpy()
            if layer == last:
                tokens = torch.tensor([self.rows[row] for row in rows])
                found = next_token(model, state, tokens, normed=self.run.options.final_norm)
                self.logit[rows], self.log_prob[rows] = (part.numpy() for part in found)

        return see
