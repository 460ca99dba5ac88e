"""What a speech study measures of each word while the model runs, and the mean state of each class.

Of a hidden state only lengths and angles by text, layer and word outlive their batch, and sums by class.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr

from laminar_lens.geometry.base import padded
from laminar_lens.models.forward import Visit
from laminar_lens.studies.lengths import RESIDUAL, from_embedding
from laminar_lens.studies.measured import Axes, to_dataset
from laminar_lens.studies.run import Run
from laminar_lens.studies.speech.classes import CLASSES, NONE
from laminar_lens.studies.speech.texts import TaggedTexts
from laminar_lens.studies.stream import AngleBatch


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was measured of the words of each window of text; NaN, and class −1, behind the last word.

    Attributes:
        step, displacement: of a word, since the layer before and from the embedding; the geometry's.
        rotation: since the layer before.
        kind: place of a word's class in `CLASSES`.
        count: how often it stands in all texts; with `n_tokens`, `position` and `n_characters` matched on.
        mean_state: of all words of a class, in each hidden state; NaN where there is none.
        tagger, tags: what tagged the words, and how.
        observed: "texts", or "windows of one text".
        tokens: "last" or "mean": which of a word's tokens stand for it.
        group: of each window, where windows of one group count as one.
    """

    step: Annotated[np.ndarray, Axes("text layer word", RESIDUAL, "step since the layer before")]
    displacement: Annotated[np.ndarray, Axes("text layer word", RESIDUAL, "distance from the embedding")]
    rotation: Annotated[np.ndarray, Axes("text layer word", "rad", "rotation since the layer before")]
    kind: Annotated[np.ndarray, Axes("text word")]
    count: Annotated[np.ndarray, Axes("text word", "1", "how often the word stands in all texts")]
    n_tokens: Annotated[np.ndarray, Axes("text word", "1", "tokens of the word")]
    position: Annotated[np.ndarray, Axes("text word", "1", "position of its last token")]
    n_characters: Annotated[np.ndarray, Axes("text word", "1", "characters of the word")]
    mean_state: Annotated[np.ndarray, Axes("class state coordinate", RESIDUAL, "mean state of a class")]
    layer: Annotated[np.ndarray, Axes("layer")]
    state: Annotated[np.ndarray, Axes("state")]
    tagger: str
    observed: str
    tags: Annotated[np.ndarray, Axes("tag")]
    tokens: str
    group: Annotated[np.ndarray, Axes("text")] | None = None


def measure(run: Run, tokens: str) -> xr.Dataset:
    """Runs each window once."""
    plan = run.texts
    assert isinstance(plan, TaggedTexts)
    seen = _Seen(run, plan, tokens)
    measures = ("rotation", "step")
    info: dict[str, Any] = {}
    for batch in run.angle_batches(padded(plan.rows), measures, visit=seen.of, label="parts of speech"):
        seen.add(batch)
        info = batch.info
    n_layers = int(run.model.cfg.n_layers)
    made = Measurement(
        **seen.numbers,
        kind=_by_word(plan, "kind", float(NONE)).astype(np.int64),
        count=_by_word(plan, "count"),
        n_tokens=_by_word(plan, "n_tokens"),
        position=_by_word(plan, "last"),
        n_characters=_by_word(plan, "n_characters"),
        mean_state=seen.mean_state,
        layer=np.arange(1, n_layers + 1),
        state=np.arange(n_layers + 1),
        tagger=plan.tagger,
        observed=plan.observed,
        tags=np.array(plan.tags, dtype=object),
        tokens=tokens,
        group=run.groups,
    )
    return to_dataset(made, info=info)


class _Seen:
    """Numbers by window and word, and sums by class, put together batch by batch."""

    def __init__(self, run: Run, plan: TaggedTexts, tokens: str) -> None:
        self.run, self.plan, self.tokens = run, plan, tokens
        n_layers, width = int(run.model.cfg.n_layers), max(len(one.kind) for one in plan.words)
        shape = (len(plan.rows), n_layers, width)
        self.numbers = {
            name: np.full(shape, np.nan, np.float32) for name in ("step", "displacement", "rotation")
        }
        self.sums = np.zeros((len(CLASSES), n_layers + 1, int(run.model.cfg.d_model)))

    def of(self, indices: Sequence[int]) -> Visit:
        """What sees the hidden states of a batch."""
        seen, rows = from_embedding(self.run.geometry), list(indices)
        length = len(self.plan.rows[rows[0]]) + int(self.run.options.prepend_bos)
        shares = self._shares(rows, length)
        far: list[np.ndarray] = []

        def see(layer: int, state: torch.Tensor) -> None:
            x, away = seen(layer, state)
            found = shares.to(x) @ x.flatten(0, 1)
            self.sums[:, layer] += found.double().cpu().numpy()
            far.append(away.float().cpu().numpy())
            if layer == int(self.run.model.cfg.n_layers):
                self._put("displacement", rows, np.stack(far[1:]))

        return see

    def add(self, batch: AngleBatch) -> None:
        """Steps and rotations of one batch."""
        for name in ("step", "rotation"):
            self._put(name, batch.indices, batch.angles[name])

    @property
    def mean_state(self) -> np.ndarray:
        """[class state coordinate]."""
        kinds = np.concatenate([one.kind for one in self.plan.words])
        n = np.bincount(kinds, minlength=len(CLASSES))[:, None, None]
        return np.asarray(np.divide(self.sums, n, out=np.full(self.sums.shape, np.nan), where=n > 0))

    def _put(self, name: str, rows: Sequence[int], values: np.ndarray) -> None:
        """What [layer batch pos] of some windows say of their words."""
        for at, row in enumerate(rows):
            for word, (start, end) in enumerate(self._places(row)):
                self.numbers[name][row, :, word] = values[:, at, start:end].mean(axis=1)

    def _places(self, row: int) -> list[tuple[int, int]]:
        """The tokens that stand for each word."""
        one = self.plan.words[row]
        first = one.last if self.tokens == "last" else one.first
        return list(zip(first.tolist(), (one.last + 1).tolist(), strict=True))

    def _shares(self, rows: list[int], length: int) -> torch.Tensor:
        """How much each token of a batch counts in the sum of a class: [class token]."""
        shares = torch.zeros(len(CLASSES), len(rows), length)
        for at, row in enumerate(rows):
            for kind, (start, end) in zip(self.plan.words[row].kind.tolist(), self._places(row), strict=True):
                shares[kind, at, start:end] = 1 / (end - start)
        return shares.flatten(1)


def _by_word(plan: TaggedTexts, name: str, missing: float = np.nan) -> np.ndarray:
    """One number of every word: [text word]."""
    found = np.full((len(plan.words), max(len(one.kind) for one in plan.words)), missing)
    for row, one in zip(found, plan.words, strict=True):
        row[: len(one.kind)] = getattr(one, name)
    return found
