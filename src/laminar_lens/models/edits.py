"""Edits of a run: what an intervention does at hook points and before the text, and the proof that it did.

The interventions themselves are in `laminar_lens.interventions`; this is what a forward pass needs of them.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from laminar_lens.errors import CaptureError, InputError

CHECK, EDIT, READ = 0, 1, 2
"""At one hook point: what earlier edits left is checked, then changed, then read for later."""


@dataclass(frozen=True)
class Span:
    """What a hook must know of a run.

    Attributes:
        before: tokens that stand before the text's position 0.
        indices: which prompts of the measurement the batch holds; None where they are not known.
    """

    before: int = 0
    indices: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Edit:
    """A function at one hook point.

    Attributes:
        hook: name of the hook point.
        layer: the first hidden state that comes after it; a run that ends before has no need of it.
        call: takes the value, [batch pos …] or attention scores [batch head query key], and returns the one
            to go on with, or None to leave it. It never writes into the value: that may be a weight.
        stage: `CHECK`, `EDIT` or `READ`.
    """

    hook: str
    layer: int
    call: Callable[[Tensor, Span], Tensor | None]
    stage: int = EDIT


@dataclass(frozen=True)
class Intervention:
    """A change of the run, to be measured by anything that takes `interventions=`.

    Positions count the tokens of each text; a BOS that `prepend_bos` put there is position 0.

    Attributes:
        name: of the function that makes it.
        does: what it does, in words.
    """

    name: ClassVar[str] = ""
    does: ClassVar[str] = ""

    @property
    def label(self) -> str:
        """How it is written: "cut(5)"."""
        needed = [field.name for field in fields(self) if field.default is MISSING]
        given = [_short(getattr(self, name)) for name in needed]
        options = [field for field in fields(self) if field.default is not MISSING]
        given += [
            f"{field.name}={_short(getattr(self, field.name))}"
            for field in options
            if getattr(self, field.name) != field.default
        ]
        return f"{self.name}({', '.join(given)})"

    def describe(self, model: Any = None) -> dict[str, Any]:
        """What was done, JSON-safe, for the provenance; a model adds what depends on it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return {"intervention": self.name, "label": self.label, "does": self.does, **plain}

    def check(self, model: Any, length: int) -> None:
        """Refuses a model, or a text of `length` tokens, that it does not fit.

        Raises:
            InputError: names the intervention, and the position, layer or hook point that is missing.
        """

    def check_texts(
        self,
        model: Any,
        lengths: Sequence[int],
        *,
        indices: Sequence[int] | None = None,
        prepend_bos: bool | None = None,
    ) -> None:
        """Refuses texts of these `lengths` (prompts `indices` of the measurement, if known) that do not fit.

        Raises:
            InputError: as `check`.
        """
        shortest, longest = min(lengths), max(lengths)
        self.check(model, longest)
        if shortest < longest:
            try:
                self.check(model, shortest)
            except InputError as error:
                raise InputError(f"prompt {lengths.index(shortest)}: {error}") from None

    @property
    def portable(self) -> bool:
        """Whether it makes sense on other texts than those it was made for."""
        return True

    @property
    def everywhere(self) -> bool:
        """Whether it does the same at all positions of any text, so that a text may stand anywhere."""
        return self.portable and getattr(self, "positions", ()) is None

    def note(self, model: Any) -> str:
        """What a reader must know of it before trusting a number; empty if nothing."""
        return ""

    def tokens_before(self, model: Any) -> list[int]:
        """Token ids that it puts before position 0."""
        return []

    def edits(self, model: Any) -> list[Edit]:
        """What it does at hook points."""
        return []

    def clash(self, other: "Intervention", model: Any, length: int) -> str:
        """Why it contradicts another one that comes after it; empty if it does not."""
        return ""

    def check_together(self, model: Any, interventions: "Sequence[Intervention]") -> None:
        """Refuses all that are applied together where they do what none does alone.

        Raises:
            InputError: names them.
        """

    def __str__(self) -> str:
        return self.label


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(repr, value[:4]))}{', …' if len(value) > 4 else ''}]"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:38]}…{text[-1]}"


class Changes:
    """Interventions made ready for forward passes of one model.

    Attributes:
        before: token ids to put before each text.
    """

    def __init__(
        self,
        model: Any,
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
            for one in interventions:
                first = min((edit.layer for of, edit in edits if of is one), default=0)
                if first > last:
                    raise InputError(
                        f"{one.label} changes nothing before hidden state {first}, but only those up to "
                        f"{last} are measured; measure later layers, or leave it out"
                    )
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
        def run(value: Tensor, hook: Any) -> Tensor | None:
            self._check(value, edit)
            self._fired.add(index)
            return edit.call(value, self._span)

        # The compiler breaks its graph there instead of tracing what depends on the text.
        if "torch._dynamo" not in sys.modules:
            return run
        return torch.compiler.disable(run)  # type: ignore[no-untyped-call, no-any-return]

    def _check(self, value: Tensor, edit: Edit) -> None:
        """Checks the texts of a run that nobody checked before."""
        if self._checked is True:
            return
        n = value.shape[-1] if edit.hook.endswith("scores") else value.shape[1]
        found = (len(value), n - self._span.before)
        if found != self._checked:
            check_interventions(
                self._model, self._interventions, [found[1]] * found[0], indices=self._span.indices
            )
            self._checked = found


def attached_changes(
    model: Any, interventions: tuple[Intervention, ...], mask: Tensor | None
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


def before_text(model: Any, interventions: Sequence[Intervention]) -> list[int]:
    """Token ids that come before each text: a BOS first, then prefixes in the order that they were given."""
    tokens = [one.tokens_before(model) for one in sorted(interventions, key=lambda one: one.name != "bos")]
    return [token for part in tokens for token in part]


def check_interventions(
    model: Any,
    interventions: Sequence[Intervention],
    lengths: Sequence[int],
    *,
    indices: Sequence[int] | None = None,
    prepend_bos: bool | None = None,
) -> None:
    """Refuses interventions that do not fit the model, the texts or each other.

    Args:
        model: runs the texts.
        interventions: applied together.
        lengths: tokens of each text, BOS included.
        indices: which prompts of the measurement they are; None where that is not known.
        prepend_bos: whether the first of those tokens is a BOS; None where that is not known.

    Raises:
        InputError: names the intervention and what does not fit.
    """
    longest = max(lengths)
    for one in interventions:
        one.check_texts(model, lengths, indices=indices, prepend_bos=prepend_bos)
    for index, one in enumerate(interventions):
        for other in interventions[index + 1 :]:
            if why := one.clash(other, model, longest) or other.clash(one, model, longest):
                raise InputError(f"{one.label} and {other.label} contradict each other: {why}")
        one.check_together(model, interventions)
    before = before_text(model, interventions)
    if before and prepend_bos:
        first = next(one.label for one in interventions if one.tokens_before(model))
        raise InputError(
            f"{first} with prepend_bos=True would put a BOS behind other tokens; use bos() and "
            "prepend_bos=False"
        )
    if before and len(before) + longest > int(model.cfg.n_ctx):
        raise InputError(
            f"{len(before)} tokens before a text of {longest} are more than the model's context of "
            f"{int(model.cfg.n_ctx)}; shorten the prefix or the text (nothing is truncated)"
        )


def as_interventions(given: Any) -> tuple[Intervention, ...]:
    """One intervention, several, or None, as a tuple.

    Raises:
        InputError: something else, named by its type.
    """
    if given is None:
        return ()
    several = (given,) if isinstance(given, Intervention) else given
    if isinstance(several, str | dict) or not isinstance(several, Sequence):
        raise InputError(
            f"interventions is a {type(given).__name__}; give one such as laminar_lens.cut(5), or a list"
        )
    for one in several:
        if not isinstance(one, Intervention):
            raise InputError(
                f"interventions holds {str(one)[:60]!r}, a {type(one).__name__}; give such as "
                "laminar_lens.cut(5)"
            )
    return tuple(several)
