"""Angles of prompts: the pairs that are asked for, batch by batch; nothing is kept but angles."""

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from laminar_lens.axes import Progress
from laminar_lens.capture import ResidualStates, iter_residuals
from laminar_lens.errors import InputError
from laminar_lens.kernels import angle, pair_angles, pairwise_angles, resolve_backend, sequential_angles

PAIRWISE_LIMIT = 64
"""Up to this many positions all pairs of a prompt are computed at once; beyond, only those asked for."""


@dataclass(frozen=True)
class Capture:
    """How the residual stream is captured and compared; the same for prompts, donors and random twin."""

    prepend_bos: bool = False
    final_norm: bool = False
    layers: tuple[int, ...] | None = None
    backend: str = "auto"


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
    """Adjacent pairs, and the pairs and rotations that were asked for by name.

    Attributes:
        pair_angle: by name, [layer text draw] in radians; NaN where the pair is −1.
        rotation: [layer text occurrence] of the asked tokens since the layer before; NaN in layer 0.
    """

    pair_angle: dict[str, np.ndarray]
    rotation: np.ndarray


def adjacent_angles(
    model: Any,
    texts: Sequence[str] | Tensor,
    how: Capture,
    *,
    label: str = "capturing texts",
    progress: Progress | None = None,
) -> Adjacent:
    """Angles of all adjacent pairs of texts or of a token tensor [text pos]."""
    batches = _Batches(how, len(texts))
    angles: list[np.ndarray] = []
    for indices, states in _stream(model, texts, how, how.layers, label, progress):
        batches.add(indices, states)
        angles.append(_numpy(sequential_angles(states.values, backend=how.backend)))
    return Adjacent(**batches.common(angles))


def measured_angles(
    model: Any,
    texts: Sequence[str],
    pairs: Mapping[str, np.ndarray],
    tokens: np.ndarray,
    how: Capture,
    *,
    progress: Progress | None = None,
) -> Measured:
    """Angles of the named `pairs` [text draw 2], rotations of `tokens` [text occurrence], adjacent pairs.

    A negative position stands for "none" and gives NaN.
    """
    names, wanted = list(pairs), np.concatenate([pairs[name] for name in pairs], axis=1)
    batches = _Batches(how, len(texts))
    angles: list[np.ndarray] = []
    chosen: list[np.ndarray] = []
    turned: list[np.ndarray] = []
    layers = _with_previous(how.layers)
    for indices, states in _stream(model, texts, how, layers, "capturing prompts", progress):
        rows = batches.add(indices, states)
        values = states.values[rows]
        angles.append(_numpy(sequential_angles(values, backend=how.backend)))
        chosen.append(_pair_angles(values, wanted[indices], how.backend))
        turned.append(_rotations(states, batches.layers, tokens[indices], how.backend))
    at = np.cumsum([0, *(pairs[name].shape[1] for name in names)])
    every = batches.in_order(chosen)
    return Measured(
        **batches.common(angles),
        pair_angle={name: every[:, :, at[k] : at[k + 1]] for k, name in enumerate(names)},
        rotation=batches.in_order(turned),
    )


class _Batches:
    """Batches of equal length, put back into the order of the texts."""

    def __init__(self, how: Capture, n: int) -> None:
        self.wanted, self.backend, self.n = how.layers, how.backend, n
        self.layers: tuple[int, ...] = ()
        self.info: dict[str, Any] = {}
        self.indices: list[np.ndarray] = []
        self.tokens: list[np.ndarray] = []
        self.strings: dict[int, list[str]] = {}

    def add(self, indices: Sequence[int], states: ResidualStates) -> list[int]:
        """Keeps a batch's tokens; returns the rows of its layers that are wanted."""
        self.layers = states.layers if self.wanted is None else tuple(self.wanted)
        self.info = {**states.info, "backend": resolve_backend(self.backend, states.values)}
        self.indices.append(np.asarray(indices))
        self.tokens.append(states.tokens.cpu().numpy())
        for index, strings in zip(indices, states.token_strings(), strict=True):
            self.strings[int(index)] = strings
        return [states.layers.index(layer) for layer in self.layers]

    def in_order(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """[layer text column] from batches [layer batch column] of different widths, filled up with NaN."""
        width = max(part.shape[2] for part in parts)
        whole = np.full((len(self.layers), self.n, width), np.nan)
        for indices, part in zip(self.indices, parts, strict=True):
            whole[:, indices, : part.shape[2]] = part
        return whole

    def common(self, angles: Sequence[np.ndarray]) -> dict[str, Any]:
        width = max(part.shape[1] for part in self.tokens)
        tokens = np.full((self.n, width), -1)
        for indices, part in zip(self.indices, self.tokens, strict=True):
            tokens[indices, : part.shape[1]] = part
        strings = [(self.strings[k] + [""] * width)[:width] for k in range(self.n)]
        return {
            "layers": self.layers,
            "tokens": tokens,
            "token_strings": strings,
            "angle": self.in_order(angles),
            "info": {**self.info, "layers": list(self.layers)},
        }


def _stream(
    model: Any,
    texts: Sequence[str] | Tensor,
    how: Capture,
    layers: tuple[int, ...] | None,
    label: str,
    progress: Progress | None,
) -> Iterator[tuple[list[int], ResidualStates]]:
    done = 0
    for indices, states in iter_residuals(
        model, texts, prepend_bos=how.prepend_bos, final_norm=how.final_norm, layers=layers
    ):
        yield list(indices), states
        done += len(indices)
        if progress is not None:
            progress(label, done, len(texts))


def chosen_layers(model: Any, layers: Any) -> tuple[int, ...] | None:
    """Hidden states in increasing order, counted from the front; None for all.

    Raises:
        InputError: empty, not whole numbers, or out of range.
    """
    if layers is None:
        return None
    last = int(model.cfg.n_layers)
    try:
        given = [operator.index(layer) for layer in ([layers] if isinstance(layers, int) else layers)]
    except TypeError:
        raise InputError(f"layers is {layers!r}: expected whole numbers") from None
    if not given:
        raise InputError("layers is empty: give at least one hidden state, or None for all")
    for layer in given:
        if not -last - 1 <= layer <= last:
            raise InputError(f"layer {layer} is out of range: this model has hidden states 0 … {last}")
    return tuple(sorted({layer % (last + 1) for layer in given}))


def _with_previous(layers: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The layers, and the one before each: a rotation needs both."""
    if layers is None:
        return None
    return tuple(sorted({*layers, *(layer - 1 for layer in layers if layer > 0)}))


def _pair_angles(values: Tensor, pairs: np.ndarray, backend: str) -> np.ndarray:
    """Angles [layer batch draw] of pairs [batch draw 2] in either order."""
    missing = np.asarray((pairs < 0).any(axis=-1))
    pairs = np.where(missing[..., None], 0, np.sort(pairs, axis=-1))
    n_pos, rows = values.shape[-2], np.arange(len(pairs))[:, None]
    if n_pos <= PAIRWISE_LIMIT:
        every = _numpy(pairwise_angles(values, backend=backend))
        found = every[:, rows, pairs[..., 0], pairs[..., 1]]
    else:
        code = pairs[..., 0] * n_pos + pairs[..., 1]
        distinct, back = np.unique(code, return_inverse=True)
        asked = torch.from_numpy(np.stack(np.divmod(distinct, n_pos), axis=-1)).to(values.device)
        found = _numpy(pair_angles(values, asked, backend=backend))[:, rows, back.reshape(code.shape)]
    return np.where(missing, np.nan, found)


def _rotations(
    states: ResidualStates, layers: tuple[int, ...], tokens: np.ndarray, backend: str
) -> np.ndarray:
    """Angle [layer batch occurrence] between a token's vector and its own in the layer before."""
    rotation = np.full((len(layers), *tokens.shape), np.nan)
    rows, places = np.arange(len(tokens))[:, None], np.maximum(tokens, 0)
    for row, layer in enumerate(layers):
        if layer == 0:
            continue
        now, before = (states.values[states.layers.index(at)][rows, places] for at in (layer, layer - 1))
        rotation[row] = _numpy(angle(now, before, backend=backend))
    return np.where(tokens < 0, np.nan, rotation)


def _numpy(angles: Tensor) -> np.ndarray:
    return np.asarray(angles.detach().cpu().to(torch.float64).numpy())
