"""Edits of a run: what an intervention does at hook points and before the text, and what fits together.

The interventions themselves are in `laminar_lens.interventions`; `changes` makes them ready for a pass.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from laminar_lens.errors import InputError, a_kind
from laminar_lens.models.context import context_length
from laminar_lens.models.hooked import HookedModel

CHECK, EDIT, READ = 0, 1, 2
"""At one hook point: what earlier edits left is checked, then changed, then read for later."""


@dataclass(frozen=True)
class Span:
    """What a hook must know of a run.

    Attributes:
        before: tokens that stand before the text's position 0.
        indices: which prompts of the measurement the batch holds; None where they are not known.
        hook: TransformerLens's hook point that calls.
    """

    before: int = 0
    indices: tuple[int, ...] | None = None
    hook: Any = None


@dataclass(frozen=True)
class Edit:
    """A function at one hook point.

    Attributes:
        hook: name of the hook point.
        layer: the first hidden state that comes after it; a run that ends before has no need of it.
        call: takes the value, [batch pos …] or attention scores [batch head query key], and returns the one
            to go on with, or None to leave it. It never writes into the value: that may be a weight.
        stage: `CHECK`, `EDIT` or `READ`.
        axis: of the value on which positions stand.
    """

    hook: str
    layer: int
    call: Callable[[Tensor, Span], Tensor | None]
    stage: int = EDIT
    axis: int = 1


@dataclass(frozen=True)
class Intervention:
    """A change of the run, to be measured by anything that takes `interventions=`.

    Positions count the tokens of each text; a BOS that `prepend_bos` put there is position 0.

    Attributes:
        name: of the function that makes it.
        does: what it does, in words.
        first: whether what it puts before a text stands before what others put there.
    """

    name: ClassVar[str] = ""
    does: ClassVar[str] = ""
    first: ClassVar[bool] = False

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

    def describe(self, model: HookedModel | None = None) -> dict[str, Any]:
        """What was done, JSON-safe, for the provenance; a model adds what depends on it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return {"intervention": self.name, "label": self.label, "does": self.does, **plain}

    def check(self, model: HookedModel, length: int) -> None:
        """Refuses a model, or a text of `length` tokens, that it does not fit.

        Raises:
            InputError: names the intervention, and the position, layer or hook point that is missing.
        """

    def check_texts(
        self,
        model: HookedModel,
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

    def note(self, model: HookedModel) -> str:
        """What a reader must know of it before trusting a number; empty if nothing."""
        return ""

    def note_of(self, model: HookedModel, rows: Iterable[Sequence[int]]) -> str:
        """What a reader must know of it with texts of these token ids; empty if nothing."""
        return ""

    def tokens_before(self, model: HookedModel) -> list[int]:
        """Token ids that it puts before position 0."""
        return []

    def edits(self, model: HookedModel) -> list[Edit]:
        """What it does at hook points."""
        return []

    def clash(self, other: "Intervention", model: HookedModel, length: int) -> str:
        """Why it contradicts another one that comes after it; empty if it does not."""
        return ""

    def check_together(self, model: HookedModel, interventions: "Sequence[Intervention]") -> None:
        """Refuses all that are applied together where they do what none does alone.

        Raises:
            InputError: names them.
        """

    def __str__(self) -> str:
        return self.label


if TYPE_CHECKING:
    Several = Intervention | Sequence[Intervention] | None
    Interventions = Several | Mapping[str, Several]
    """One, a list that is applied together, or lists by the name of a condition."""
else:  # refused in words of ours
    Interventions = Any


def _short(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(repr, value[:4]))}{', …' if len(value) > 4 else ''}]"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:38]}…{text[-1]}"


def before_text(model: HookedModel, interventions: Sequence[Intervention]) -> list[int]:
    """Token ids that come before each text: a BOS first, then prefixes in the order that they were given."""
    tokens = [one.tokens_before(model) for one in sorted(interventions, key=lambda one: not one.first)]
    return [token for part in tokens for token in part]


def check_interventions(
    model: HookedModel,
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
    if before and len(before) + longest > (context := context_length(model)):
        raise InputError(
            f"{len(before)} tokens before a text of {longest} are more than the model's context of "
            f"{context}; shorten the prefix or the text (nothing is truncated)"
        )


def as_interventions(given: object, name: str = "interventions") -> tuple[Intervention, ...]:
    """One intervention, several, or None, as a tuple; `name` is said in errors.

    Raises:
        InputError: something else, named by its type.
    """
    if given is None:
        return ()
    several = (given,) if isinstance(given, Intervention) else given
    if isinstance(several, str | dict) or not isinstance(several, Sequence):
        raise InputError(f"{name} is {a_kind(given)}; give one such as laminar_lens.cut(5), or a list")
    for one in several:
        if not isinstance(one, Intervention):
            raise InputError(
                f"{name} holds {str(one)[:60]!r}, {a_kind(one)}; give such as laminar_lens.cut(5)"
            )
    return tuple(several)
