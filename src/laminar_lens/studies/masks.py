"""Which tokens to leave out of any other analysis: by position, and by what their vectors are."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from laminar_lens.arguments import checked, wholes
from laminar_lens.axes import Mask, Progress, Starts, Wholes
from laminar_lens.capture import ResidualStates
from laminar_lens.errors import InputError, ShapeError, a_kind
from laminar_lens.geometry import padded
from laminar_lens.models.batches import PromptBatches, prompt_batches
from laminar_lens.models.context import context_length
from laminar_lens.models.forward import run_states
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import special_tokens
from laminar_lens.models.padding import PadToken, pad_token, real_by_pad
from laminar_lens.models.passes import each_batch
from laminar_lens.stats.sinks import (
    MIN_COSINE,
    NORM_RATIO,
    extended,
    nearest_cosine,
    sink_tokens,
    typical_norm,
    unit_vectors,
)
from laminar_lens.studies.documents import document_starts_of, of_documents, places_in_documents

PROBE_TOKENS = 32


def real_tokens(
    tokens: object, padding: Mask, pad: PadToken | None = None
) -> tuple[Tensor, Bool[Tensor, "batch pos"]]:
    """Token ids [batch pos], and which of them are no padding: by `padding`, or by negative ids, or by a pad
    id at the ends of rows (a warning says so where that token could be text).

    Raises:
        ShapeError: not integer ids [batch pos], or padding of another shape.
    """
    try:
        ids = torch.as_tensor(tokens)
    except (TypeError, ValueError, RuntimeError):
        raise ShapeError(
            f"tokens is {a_kind(tokens)} that makes no tensor; give integer ids [batch pos], −1 for padding"
        ) from None
    if ids.ndim != 2 or ids.dtype.is_floating_point:
        raise ShapeError(f"tokens has shape {tuple(ids.shape)} of {ids.dtype}; give integer ids [batch pos]")
    if padding is None:
        by_pad, note = real_by_pad(ids.long(), pad)
        if note:
            warnings.warn(note, UserWarning, stacklevel=3)
        return ids, ids >= 0 if by_pad is None else by_pad
    real = torch.as_tensor(padding).bool()
    if real.shape != ids.shape:
        raise ShapeError(f"padding has shape {tuple(real.shape)}, tokens {tuple(ids.shape)}; they must agree")
    return ids, real


def position_mask(
    tokens: object, padding: Mask, skip: int, bos: int | None, starts: Starts = None
) -> Bool[Tensor, "batch pos"]:
    """Real tokens from the skip-th of each row or document on, whichever side is padded; a `bos` that it
    lacks counts as its first. `starts` as in `document_starts_of`."""
    ids, real = real_tokens(tokens, padding)
    begins = document_starts_of(ids, real, starts)
    count = places_in_documents(real, begins)
    if bos is not None:
        count = count + (~of_documents(begins & (ids == bos), begins)).long()
    return real & (count > skip)


def captured_rows(states: ResidualStates, layers: Wholes) -> list[int]:
    """Rows of captured states that hold these hidden states; all for None.

    Raises:
        InputError: names the one that was not captured.
    """
    if layers is None:
        return list(range(len(states.layers)))
    wanted = wholes("layers", layers)
    for layer in wanted:
        if layer not in states.layers:
            raise InputError(f"layer {layer} is not among the captured hidden states {list(states.layers)}")
    return [states.layers.index(layer) for layer in wanted]


def states_sinks(states: ResidualStates, layers: Wholes) -> Bool[Tensor, "batch pos"]:
    """True at captured tokens that are sinks by their vectors, laid out as the states."""
    if bool((states.mask.sum(dim=1) == 1).all()):
        warnings.warn(
            "Every captured text has one token, so that no length inside a text is there to compare with: "
            "sinks are not found by states; give the tokens and model=",
            UserWarning,
            stacklevel=5,
        )
    values = states.values[captured_rows(states, layers)].detach().float().cpu().numpy()
    return torch.from_numpy(sink_tokens(values, states.mask.cpu().numpy()))


def check_whole(states: ResidualStates) -> None:
    """Refuses states of some positions only: what stands between them is not known.

    Raises:
        InputError: names the positions.
    """
    if list(states.positions) != list(range(len(states.positions))):
        raise InputError(f"states are of positions {list(states.positions)}; capture all positions for this")


def laid_out(
    values: Bool[Tensor, "prompt kept"],
    states: ResidualStates,
    ids: Int[Tensor, "batch pos"],
    real: Bool[Tensor, "batch pos"],
) -> Bool[Tensor, "batch pos"]:
    """`values` of captured states, moved to where the same tokens stand in `ids`, on whichever side these are
    padded; a BOS that `capture_residuals` put before them has no column.

    Raises:
        InputError: the states are of other tokens, or of some positions only.
    """
    check_whole(states)
    before = int(bool(states.info.get("prepend_bos")))
    out = torch.zeros_like(real)
    if len(ids) != len(states.mask):
        raise InputError(f"states are of {len(states.mask)} texts, tokens of {len(ids)}: give the same ones")
    for row in range(len(ids)):
        captured = states.tokens[row][states.mask[row]].tolist()[before:]
        if captured != ids[row][real[row]].tolist():
            raise InputError(f"states are of other tokens than row {row} of tokens: give the same ones")
        out[row, real[row]] = values[row][states.mask[row].cpu()][before:].to(out.device)
    return out


@checked()
def sink_mask(
    model: HookedModel,
    tokens: object,
    *,
    padding: Mask = None,
    bos: int | None = None,
    starts: Starts = None,
    layers: Wholes = None,
    progress: Progress | None = None,
) -> Bool[Tensor, "batch pos"]:
    """True at tokens that are sinks by their vectors: `sink_tokens` of all captured states, keeping none.

    The model runs once for the lengths, and twice more, through the layers that have long vectors, if any
    has: for these vectors, and for what points as they do. Of those a vector a token is kept. Where every
    text has one token, so that none is inside a text, lengths are compared with those of a text of
    `PROBE_TOKENS` tokens spread over the vocabulary.

    Args:
        model: any TransformerLens model.
        tokens: ids [batch pos] on either padding side.
        padding: bool [batch pos], True = real; without it a negative id is padding, or, where there is none,
            the tokenizer's pad id at the ends of rows.
        bos: put before each row that does not begin with it; it counts in the medians, and has no column.
        starts: where documents start in packed rows, as in `document_starts_of`; each is run by itself.
        layers: hidden states in which to look; all by default.
        progress: called as (label, done, total).

    Raises:
        InputError, ShapeError: tokens, padding or layers that do not fit.
    """
    ids, real = real_tokens(tokens, padding, pad_token(special_tokens(model)))
    if len(blank := (~real.any(dim=1)).nonzero()):
        raise InputError(f"row {int(blank[0])} is blank: all of its tokens are padding")
    begins = document_starts_of(ids, real, starts)
    places = [(row, at) for row in range(len(ids)) for at in _documents(real[row], begins[row])]
    texts = [ids[row, at].tolist() for row, at in places]
    before = [[bos] if bos is not None and text[0] != bos else [] for text in texts]
    rows = [first + text for first, text in zip(before, texts, strict=True)]
    run = prompt_batches(model, padded(rows), prepend_bos=False, final_norm=False, layers=layers)
    found = _streamed(run, progress)
    sinks = torch.zeros_like(real)
    for (row, at), first, sink in zip(places, before, found, strict=True):
        sinks[row, at] = torch.from_numpy(sink[len(first) :]).to(sinks.device)
    return sinks


def _documents(real: Bool[Tensor, " pos"], begins: Bool[Tensor, " pos"]) -> list[Tensor]:
    """Columns of each document of a row."""
    at = real.nonzero().flatten()
    cuts = begins[at].nonzero().flatten()[1:]
    return list(at.tensor_split(cuts.cpu()))


def _streamed(run: PromptBatches, progress: Progress | None) -> list[Bool[np.ndarray, " pos"]]:
    """Whether each token of each row is a sink."""
    layers = sorted(set(run.layers))
    lengths = np.array([len(row) for row in run.rows])
    ends = np.cumsum(lengths)
    places = [np.arange(end - n, end) for end, n in zip(ends, lengths, strict=True)]
    norm = np.zeros((len(layers), int(ends[-1])), np.float32)
    each = partial(_each_vector, run, layers, places, progress)

    def lengths_of(row: int, at: np.ndarray, x: np.ndarray) -> None:
        norm[row, at] = np.linalg.norm(x, axis=-1)

    each("lengths of vectors", lengths_of, layers)
    first = np.zeros(norm.shape[1], dtype=bool)
    first[ends - lengths] = True
    typical = _inside_a_text(run, layers) if first.all() else typical_norm(norm, first)
    large = norm > NORM_RATIO * typical[:, None]
    found = _extended(large, layers, each) if large.any() else np.zeros(norm.shape[1], dtype=bool)
    return [found[place] for place in places]


See = Callable[[int, np.ndarray, np.ndarray], None]
"""Called as (row of the layer, places of the tokens, their vectors) with every batch."""


def _each_vector(
    run: PromptBatches,
    layers: Sequence[int],
    places: Sequence[np.ndarray],
    progress: Progress | None,
    label: str,
    see: See,
    wanted: Sequence[int],
) -> None:
    """Shows the vectors of every token in the `wanted` ones of `layers`."""
    for batch in each_batch(run, label, progress):
        at = np.concatenate([places[index] for index in batch.indices])

        def visit(layer: int, state: Tensor, at: np.ndarray = at) -> None:
            see(layers.index(layer), at, state.detach().float().cpu().flatten(0, 1).numpy())

        batch.run(visit, layers=wanted)


def _extended(
    large: Bool[np.ndarray, "layer token"],
    layers: Sequence[int],
    each: Callable[[str, See, Sequence[int]], None],
) -> Bool[np.ndarray, " token"]:
    """The large vectors, and what points as they do in the same layer."""
    rows = np.flatnonzero(large.any(axis=1)).tolist()
    wanted = [layers[row] for row in rows]
    units: dict[int, list[np.ndarray]] = {row: [] for row in rows}
    nearest = {row: np.zeros(large.shape[1], np.float32) for row in rows}

    def keep(row: int, at: np.ndarray, x: np.ndarray) -> None:
        units[row].append(unit_vectors(x[large[row, at]]))

    def compare(row: int, at: np.ndarray, x: np.ndarray) -> None:
        nearest[row][at] = nearest_cosine(x, sinks[row])

    each("long vectors", keep, wanted)
    sinks = {row: np.concatenate(units[row]) for row in rows}
    each("what points as they do", compare, wanted)
    found = [extended(large[row], nearest[row], MIN_COSINE) for row in rows]
    return np.asarray(np.logical_or.reduce(found))


def _inside_a_text(run: PromptBatches, layers: Sequence[int]) -> np.ndarray:
    """Typical length by layer of vectors that are not the first of their text, whatever its tokens are."""
    n = min(PROBE_TOKENS, context_length(run.model))
    tokens = torch.linspace(0, int(run.model.cfg.d_vocab) - 1, n).long()[None]
    norms = np.full((len(layers), n), np.nan, np.float32)

    def see(layer: int, state: Tensor) -> None:
        norms[layers.index(layer)] = state[0].detach().float().norm(dim=-1).cpu().numpy()

    run_states(run.model, tokens, layers, see)
    return typical_norm(norms, np.arange(n) == 0)
