"""Interventions made ready for forward passes of one model, and the proof that they changed it."""

import dataclasses
import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from laminar_lens.errors import CaptureError, InputError
from laminar_lens.models.edits import Edit, Intervention, Span, before_text, check_interventions
from laminar_lens.models.hooked import HookedModel


class Changes:
    """Interventions made ready for forward passes of one model.

    Attributes:
        before: token ids to put before each text.
    """

    def __init__(
        self,
        model: HookedModel,
        interventions: Sequence[Intervention],
        *,
        last: int | None = None,
        indices: Sequence[int] | None = None,
        checked: bool = True,
    ) -> None:
        """Takes the edits up to hidden state `last`, in the order in which they run at one hook point.

        What was not `checked` is, as soon as a run shows its length: who runs it tells nobody before.
        """
        self._model = model
        self.before = before_text(model, interventions)
        self._span = Span(len(self.before), None if indices is None else tuple(indices))
        edits = [(one, edit) for one in interventions for edit in one.edits(model)]
        if last is not None:
            edits = [(one, edit) for one, edit in edits if edit.layer <= last]
        self._edits = sorted(edits, key=lambda pair: pair[1].stage)
        self._fired: set[int] = set()
        self._interventions = tuple(interventions)
        self._checked: bool | tuple[int, int] = checked

    def hooks(self) -> list[tuple[str, Callable[..., Tensor | None]]]:
        """Forward hooks; they must come before those that measure."""
        return [(edit.hook, self._hook(index, edit)) for index, (_, edit) in enumerate(self._edits)]

    def prepended(self, tokens: Tensor) -> Tensor:
        """Token ids [batch pos] with those that come before each text."""
        if not self.before:
            return tokens
        first = torch.tensor(self.before, dtype=tokens.dtype, device=tokens.device)
        return torch.cat([first.expand(len(tokens), -1), tokens], dim=1)

    def check_fired(self, last: int) -> None:
        """Asserts that every hook up to hidden state `last` ran in the pass that ends here, and starts anew.

        Raises:
            CaptureError: names the first that did not, and its intervention.
        """
        fired, self._fired = self._fired, set()
        for index, (one, edit) in enumerate(self._edits):
            if edit.layer <= last and index not in fired:
                raise CaptureError(
                    f"{one.label} changed nothing: its hook {edit.hook!r} did not fire in "
                    f"{getattr(self._model.cfg, 'model_name', None) or 'the model'} "
                    f"({type(self._model).__name__})"
                )

    def _hook(self, index: int, edit: Edit) -> Callable[..., Tensor | None]:
        def run(value: Tensor, hook: object) -> Tensor | None:
            self._check(value, edit)
            self._fired.add(index)
            return edit.call(value, dataclasses.replace(self._span, hook=hook))

        # The compiler breaks its graph there instead of tracing what depends on the text.
        if "torch._dynamo" not in sys.modules:
            return run
        return torch.compiler.disable(run)  # type: ignore[no-untyped-call, no-any-return]

    def _check(self, value: Tensor, edit: Edit) -> None:
        """Checks the texts of a run that nobody checked before."""
        if self._checked is True:
            return
        n = value.shape[edit.axis]
        found = (len(value), n - self._span.before)
        if found != self._checked:
            check_interventions(
                self._model, self._interventions, [found[1]] * found[0], indices=self._span.indices
            )
            self._checked = found


def attached_changes(
    model: HookedModel, interventions: tuple[Intervention, ...], mask: Tensor | None
) -> Changes | None:
    """Interventions for passes that somebody else runs; `mask` is True for real tokens.

    Raises:
        InputError: there is padding, or they put tokens before the text.
    """
    if not interventions:
        return None
    if mask is not None and not bool(mask.all()):
        raise InputError(
            "interventions count positions from a text's first token: measure texts of one length at a time, "
            "without padding"
        )
    changes = Changes(model, interventions, checked=False)
    if changes.before:
        raise InputError(
            f"{' and '.join(one.label for one in interventions if one.tokens_before(model))} puts tokens "
            "before the text, which a meter cannot: put them into the tokens that you run, or use "
            "capture_residuals or a study"
        )
    return changes
