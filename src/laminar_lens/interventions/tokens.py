"""What stands before a text: tokens that take part in the run and are left out of everything measured.

Context, positions and the token that may become the sink change together: no verdict on a cause.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from laminar_lens.arguments import characters, checked, shown
from laminar_lens.errors import InputError
from laminar_lens.models.edits import Intervention
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import bos_token_id, bos_training, describe_name
from laminar_lens.models.quiet import quiet
from laminar_lens.texts.tokenization import token_ids


@dataclass(frozen=True)
class _Prefix(Intervention):
    name = "prefix"
    does = "a text before position 0, which takes part in the run and is not measured"
    text: str

    def tokens_before(self, model: HookedModel) -> list[int]:
        tokenizer = getattr(model, "tokenizer", None)
        if tokenizer is None:
            raise InputError(f"{self.label} needs a tokenizer, which {describe_name(model)} does not have")
        with quiet():
            tokens = token_ids(tokenizer, [self.text])[0]
        if not tokens:
            raise InputError(f"{self.label}: the text has no tokens in this model's vocabulary")
        return tokens

    def describe(self, model: HookedModel | None = None) -> dict[str, Any]:
        found = super().describe(model)
        return found if model is None else {**found, "token_ids": self.tokens_before(model)}

    def clash(self, other: Intervention, model: HookedModel, length: int) -> str:
        return "give one prefix with the whole text" if isinstance(other, _Prefix) else ""


@checked()
def prefix(text: object) -> Intervention:
    """Puts a text before position 0, joined to it as it stands: give the space that belongs between them.

    >>> prefix("Once upon a time").label
    "prefix('Once upon a time')"

    Raises:
        InputError: no text, or a blank one. Where it is used: a prompt that with it is longer than the
            model's context.
    """
    if not isinstance(text, str) or not text:
        raise InputError(f"prefix is {shown(text)}; expected a text, such as 'Once upon a time.'")
    return _Prefix(characters("prefix", text))


@dataclass(frozen=True)
class _Bos(Intervention):
    name, first = "bos", True
    does = "the model's BOS before position 0, which takes part in the run and is not measured"

    def tokens_before(self, model: HookedModel) -> list[int]:
        token = bos_token_id(model)
        if token is None:
            raise InputError(
                f"bos() needs a BOS token, which the tokenizer of {describe_name(model)} does not have; "
                "use prefix(text)"
            )
        return [token]

    def describe(self, model: HookedModel | None = None) -> dict[str, Any]:
        found = super().describe(model)
        if model is None:
            return found
        trained, why = bos_training(model)
        return {**found, "token_ids": self.tokens_before(model), "trained_with_bos": trained, "why": why}

    def note(self, model: HookedModel) -> str:
        trained, why = bos_training(model)
        how = {
            "no": "The model was not trained with a BOS before texts",
            "rarely": "The model was rarely trained with a BOS before texts",
            "unknown": "Whether the model was trained with a BOS before texts is not known",
        }
        return f"{how[trained]}: {why}." if trained in how else ""

    def note_of(self, model: HookedModel, rows: Iterable[Sequence[int]]) -> str:
        token, starts = bos_token_id(model), [int(row[0]) for row in rows]
        twice = sum(start == token for start in starts)
        return (
            f"{twice} of {len(starts)} texts have the BOS twice: bos() puts it before their own."
            if twice
            else ""
        )

    def clash(self, other: Intervention, model: HookedModel, length: int) -> str:
        return "there is one BOS" if self == other else ""


@checked()
def bos() -> Intervention:
    """Puts the model's BOS token before position 0.

    >>> bos().label
    'bos()'

    With `prepend_bos=True` the BOS is position 0 and is measured; here it is neither. Whether the model was
    trained with it is said in the provenance, as far as its files tell, and as a warning where it was not.

    A text that already starts with it then has two, which a warning says.

    Raises:
        InputError: where it is used, with `prepend_bos=True`, or on a model whose tokenizer has no BOS.
    """
    return _Bos()
