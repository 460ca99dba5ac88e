"""Angles of prompts: the pairs that are asked for, batch by batch; nothing is kept but angles."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from laminar_lens.models.forward import Visit
from laminar_lens.models.selection import with_previous
from laminar_lens.studies.run import Run
from laminar_lens.studies.stream import AngleBatch


@dataclass(frozen=True)
class Adjacent:
    """Angles of every adjacent pair of positions.

    Attributes:
        layers: hidden states.
        tokens: ids [text pos], BOS included, −1 after a text's end.
        token_strings: the same as text, "" after the end.
        angle: [layer text pair] in radians, NaN after the end.
        info: the model and how it was captured.
    """

    layers: tuple[int, ...]
    tokens: np.ndarray
    token_strings: list[list[str]]
    angle: np.ndarray
    info: dict[str, Any]


@dataclass(frozen=True)
class Measured(Adjacent):
    """Adjacent pairs, and the pairs and rotations that were asked for by name, with lengths.

    Attributes:
        pair_angle: by name, [layer text draw] in radians; NaN where the pair is −1.
        rotation: [layer text occurrence] of the asked tokens since the layer before; NaN in layer 0.
        length: [layer text pos] of each token's vector, NaN after the end.
    """

    pair_angle: dict[str, np.ndarray]
    rotation: np.ndarray
    length: np.ndarray


def adjacent_angles(run: Run, texts: Sequence[str] | Tensor, label: str = "capturing texts") -> Adjacent:
    """Angles of all adjacent pairs of texts or of a token tensor [text pos]."""
    batches = _Batches(run.layers, len(texts))
    for batch in run.angle_batches(texts, label=label):
        batches.add(batch)
    return Adjacent(**batches.common())


def measured_angles(
    run: Run,
    texts: Sequence[str],
    pairs: Mapping[str, np.ndarray],
    tokens: np.ndarray,
    visit: Callable[[Sequence[int]], Visit] | None = None,
) -> Measured:
    """Angles of the named `pairs` [text draw 2], rotations of `tokens` [text occurrence], adjacent pairs.

    A negative position stands for "none" and gives NaN; `visit` as in `iter_angles`.
    """
    names, wanted = list(pairs), np.concatenate([pairs[name] for name in pairs], axis=1)
    batches = _Batches(run.layers, len(texts))
    chosen: list[np.ndarray] = []
    turned: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    how: dict[str, Any] = {"layers": with_previous(run.layers), "visit": visit, "label": "capturing prompts"}
    for batch in run.angle_batches(texts, ("sequential", "rotation", "norm"), pairs=wanted, **how):
        rows = batches.add(batch)
        chosen.append(batch.angles["pair"][rows])
        turned.append(_rotations(batch, rows, tokens[batch.indices]))
        lengths.append(batch.angles["norm"][rows])
    at = np.cumsum([0, *(pairs[name].shape[1] for name in names)])
    every = batches.in_order(chosen)
    return Measured(
        **batches.common(),
        pair_angle={name: every[:, :, at[k] : at[k + 1]] for k, name in enumerate(names)},
        rotation=batches.in_order(turned),
        length=batches.in_order(lengths),
    )


class _Batches:
    """Batches of equal length, put back into the order of the texts."""

    def __init__(self, layers: tuple[int, ...], n: int) -> None:
        self.layers, self.n = layers, n
        self.info: dict[str, Any] = {}
        self.indices: list[list[int]] = []
        self.tokens: list[np.ndarray] = []
        self.angles: list[np.ndarray] = []
        self.strings: dict[int, list[str]] = {}

    def add(self, batch: AngleBatch) -> list[int]:
        """Keeps a batch's tokens and adjacent pairs; returns the rows of its layers that are wanted."""
        self.info = batch.info
        rows = [batch.layers.index(layer) for layer in self.layers]
        self.indices.append(batch.indices)
        self.tokens.append(batch.tokens)
        self.angles.append(batch.angles["sequential"][rows])
        self.strings |= dict(zip(batch.indices, batch.token_strings, strict=True))
        return rows

    def in_order(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """[layer text column] from batches [layer batch column] of different widths, filled up with NaN."""
        width = max(part.shape[2] for part in parts)
        whole = np.full((len(self.layers), self.n, width), np.nan)
        for indices, part in zip(self.indices, parts, strict=True):
            whole[:, indices, : part.shape[2]] = part
        return whole

    def common(self) -> dict[str, Any]:
        width = max(part.shape[1] for part in self.tokens)
        tokens = np.full((self.n, width), -1)
        for indices, part in zip(self.indices, self.tokens, strict=True):
            tokens[indices, : part.shape[1]] = part
        strings = [(self.strings[k] + [""] * width)[:width] for k in range(self.n)]
        return {
            "layers": self.layers,
            "tokens": tokens,
            "token_strings": strings,
            "angle": self.in_order(self.angles),
            "info": {**self.info, "layers": list(self.layers)},
        }


def _rotations(batch: AngleBatch, rows: Sequence[int], tokens: np.ndarray) -> np.ndarray:
    """Angle [layer batch occurrence] between a token's vector and its own in the layer before."""
    rotation = np.full((len(rows), *tokens.shape), np.nan)
    texts, places = np.arange(len(tokens))[:, None], np.maximum(tokens, 0)
    for at, row in enumerate(rows):
        if batch.layers[row] > 0:
            rotation[at] = batch.angles["rotation"][row - 1][texts, places]
    return np.where(tokens < 0, np.nan, rotation)
