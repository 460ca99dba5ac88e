"""Prompts, checked and put into batches of equal length.

No padding ever reaches the model: a padded token tensor is unpadded first, and position 0 is a prompt's first
token whatever side its padding was on.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from laminar_lens.axes import Mask, Prompts, Wholes
from laminar_lens.errors import CaptureError, InputError
from laminar_lens.models.causality import check_causal
from laminar_lens.models.edits import (
    Intervention,
    Interventions,
    as_interventions,
    before_text,
    check_interventions,
)
from laminar_lens.models.forward import check_model, check_reached
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import check_final_norm, describe_name, warn_if_processed
from laminar_lens.models.selection import layer_indices
from laminar_lens.models.surroundings import described_model
from laminar_lens.models.tokens import PADDING, token_rows
from laminar_lens.texts.tokenization import Tokenizer

BATCH_TOKENS = 4096


@dataclasses.dataclass(frozen=True)
class PromptBatches:
    """What is to run, with every argument checked.

    Attributes:
        rows: token ids of each prompt.
        texts: the prompts, where they were texts.
        layers: hidden states that are wanted, in the order they were asked for.
        info: the model and the settings, JSON-safe.
        interventions: change every run.
        n_before: tokens that they put before each prompt.
    """

    model: HookedModel
    rows: list[list[int]]
    texts: tuple[str, ...] | None
    layers: tuple[int, ...]
    final_norm: bool
    batch_size: int | None
    info: dict[str, object]
    interventions: tuple[Intervention, ...] = ()
    n_before: int = 0

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return max(map(len, self.rows))

    @property
    def texts_only(self) -> list[list[int]]:
        """Token ids of each prompt without a BOS that was put before it."""
        return [row[int(bool(self.info["prepend_bos"])) :] for row in self.rows]

    def indices(self) -> list[tuple[int, ...]]:
        """Indices of prompts of equal length, shortest first, in batches."""
        by_length: dict[int, list[int]] = {}
        for index, row in enumerate(self.rows):
            by_length.setdefault(len(row), []).append(index)
        batches = []
        for length in sorted(by_length):
            size = self.batch_size or max(1, BATCH_TOKENS // (length + self.n_before))
            indices = by_length[length]
            batches += [tuple(indices[start : start + size]) for start in range(0, len(indices), size)]
        return batches

    def tokens(self, indices: Iterable[int]) -> Int[Tensor, "batch pos"]:
        """Token ids of prompts of equal length."""
        return torch.tensor([self.rows[index] for index in indices])

    def largest(self) -> tuple[int, int]:
        """Prompts and tokens of the batch whose run needs the most memory."""
        indices = max(self.indices(), key=lambda batch: len(batch) * len(self.rows[batch[0]]) ** 2)
        return len(indices), len(self.rows[indices[0]]) + self.n_before


def prompt_batches(
    model: HookedModel,
    prompts: Prompts,
    *,
    prepend_bos: bool = False,
    final_norm: bool = False,
    layers: Wholes = None,
    mask: Mask = None,
    batch_size: object = None,
    interventions: Interventions = None,
    about: Mapping[str, object] | None = None,
) -> PromptBatches:
    """Checks everything that can be checked before a run; arguments and errors as in `capture_residuals`.

    `about` describes the model where that was done before: its weights are read for it.
    """
    check_model(model)
    check_causal(model, describe_name(model))
    wanted = layer_indices(layers, int(model.cfg.n_layers))
    if batch_size is not None and (
        isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1
    ):
        raise InputError(f"batch_size is {batch_size!r}; expected a whole number of at least 1")
    if final_norm:
        check_final_norm(model)
    changes = as_interventions(interventions)
    rows, texts = token_rows(model, prompts, mask=mask, prepend_bos=prepend_bos)
    if changes:
        check_interventions(model, changes, list(map(len, rows)), prepend_bos=bool(prepend_bos))
        check_reached(model, changes, max(wanted))
    warn_if_processed(model)
    info: dict[str, object] = {
        **(described_model(model) if about is None else about),
        "prepend_bos": bool(prepend_bos),
        "final_norm": bool(final_norm),
    }
    if changes:
        info["interventions"] = [one.describe(model) for one in changes]
    before = len(before_text(model, changes))
    return PromptBatches(model, rows, texts, wanted, final_norm, batch_size, info, changes, before)


def token_strings(
    tokenizer: Tokenizer | None, tokens: Int[Tensor, "batch pos"], mask: Bool[Tensor, "batch pos"]
) -> list[list[str]]:
    """The text of each real token, one list a prompt; the token id where there is no tokenizer."""
    distinct = set(tokens.flatten().tolist()) - {PADDING}
    strings = {
        token: str(token) if tokenizer is None else str(tokenizer.decode([token])) for token in distinct
    }
    return [
        [strings[token] for token, real in zip(row.tolist(), keep.tolist(), strict=True) if real]
        for row, keep in zip(tokens, mask, strict=True)
    ]


def finite_vectors(states: Shaped[Tensor, "*place d_model"]) -> Bool[Tensor, "*place"]:
    """Whether each vector has finite coordinates only; no temporary has the size of the input."""
    return states.amax(-1).isfinite() & states.amin(-1).isfinite()


def check_finite(
    finite: Bool[Tensor, "layer batch kept"],
    layers: Sequence[int],
    indices: Sequence[int],
    positions: Sequence[int],
) -> None:
    """Refuses vectors that are not finite.

    Args:
        finite: of `finite_vectors`, of prompts `indices` at `positions`.

    Raises:
        CaptureError: names prompt, hidden state and position of the first.
    """
    if finite.all():
        return
    layer, row, column = (~finite).nonzero()[0].tolist()
    raise CaptureError(
        f"prompt {indices[row]}: the residual vector of hidden state {layers[layer]} at position "
        f"{positions[column]} is not finite (NaN or infinity); try dtype='float32', or check the weights"
    )
