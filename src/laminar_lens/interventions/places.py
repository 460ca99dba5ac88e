"""Interventions that begin at a position: the same in every prompt, or each prompt's own."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from laminar_lens import arguments
from laminar_lens.errors import InputError
from laminar_lens.interventions.arguments import check_positions
from laminar_lens.models.edits import Intervention, Span
from laminar_lens.models.hooked import HookedModel


@dataclass(frozen=True)
class AtPosition(Intervention):
    """Something happens from position `t` of a text on.

    Attributes:
        t: one position, or one for each prompt of the measurement.
    """

    t: int | tuple[int, ...]

    @property
    def portable(self) -> bool:
        """As of every intervention; positions of certain prompts fit no others."""
        return not isinstance(self.t, tuple)

    def check(self, model: HookedModel, length: int) -> None:
        """As of every intervention."""
        if not isinstance(self.t, tuple):
            check_positions(self.label, [self.t], length)

    def check_texts(
        self,
        model: HookedModel,
        lengths: Sequence[int],
        *,
        indices: Sequence[int] | None = None,
        prepend_bos: bool | None = None,
    ) -> None:
        """As of every intervention."""
        super().check_texts(model, lengths, indices=indices, prepend_bos=prepend_bos)
        for t, length in zip(self._each(len(lengths), indices), lengths, strict=True):
            check_positions(self.label, [t], length)

    def columns(self, value: Tensor, span: Span) -> Int[Tensor, " prompt"]:
        """The column of each prompt's position t in `value` [batch …]; one where it is the same in all."""
        n = len(value) if span.indices is None else len(span.indices)
        found = self._each(n, span.indices) if isinstance(self.t, tuple) else [self.t]
        return torch.tensor(found, device=value.device) + span.before

    def _each(self, n: int, indices: Sequence[int] | None) -> list[int]:
        if not isinstance(self.t, tuple):
            return [self.t] * n
        return [self.t[row] for row in prompt_rows(self.label, "positions", len(self.t), n, indices)]


def position(name: str, given: object) -> int | tuple[int, ...]:
    """One position, or several, one a prompt.

    Raises:
        InputError: no whole numbers of at least 0.
    """
    several = isinstance(given, Sequence) or getattr(given, "ndim", 0) > 0
    if several and not isinstance(given, str | bytes):
        return arguments.wholes(name, given, least=0)
    return arguments.whole(name, given, least=0)


def prompt_rows(label: str, what: str, held: int, n: int, indices: Sequence[int] | None) -> list[int]:
    """Which of what is `held` prompt by prompt a batch of `n` prompts gets.

    Raises:
        InputError: there are other prompts.
    """
    rows = list(range(n)) if indices is None else list(indices)
    if max(rows) >= held or (indices is None and n != held):
        raise InputError(
            f"{label}: it has the {what} of {held} prompts, the run has {max(max(rows) + 1, n)}; "
            f"give one prompt's {what}, or those of as many"
        )
    return rows
