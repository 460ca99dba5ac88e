"""The texts of a study: windows of one length, of passages, of what the model writes, or of what is given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from laminar_lens.axes import Progress, Prompts, Starts
from laminar_lens.errors import InputError
from laminar_lens.interventions.conditions import as_conditions, check_conditions
from laminar_lens.models import sample_tokens
from laminar_lens.models.context import context_length
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.padding import is_token_tensor
from laminar_lens.models.passages import GIVEN, check_language, named_texts, own_texts_note, windows
from laminar_lens.studies.documents import starts_setting
from laminar_lens.studies.given import given_rows, group_labels
from laminar_lens.studies.observations import Observations, Origin, check_repeats, observations
from laminar_lens.studies.options import LONGEST, SHORTEST, USUAL_TEXTS, Options
from laminar_lens.texts.passages import N_PASSAGES, PASSAGES, SAMPLED, check_number


@runtime_checkable
class Chosen(Protocol):
    """What a study measures, texts or prompts, as a run and its labels need it."""

    @property
    def rows(self) -> list[list[int]]:
        """Token ids of each, without a BOS."""

    @property
    def groups(self) -> np.ndarray | None:
        """The group of each; None where all are independent."""

    @property
    def hashed(self) -> Any:
        """What provenance takes the hash of."""

    @property
    def settings(self) -> dict[str, Any]:
        """What a study records of them, JSON-safe."""

    def ends(self, sentence: str) -> str:
        """A sentence, and how many observations it rests on where that is not their number."""


@dataclass(frozen=True)
class Texts:
    """Token ids [text pos] of one length, without a BOS, and the group of each text (None: all
    independent); `checked` says which of the texts that there were they are, `document_starts` what packed
    rows were cut by, `source` whether they are "passages", "sampled" or "given", `others` the tokens of
    passages that are not measured."""

    tokens: Tensor
    groups: np.ndarray | None
    checked: Observations | None = None
    document_starts: Any = None
    source: str = GIVEN
    others: Sequence[list[int]] = ()

    @property
    def rows(self) -> list[list[int]]:
        """Token ids of each text, without a BOS."""
        rows: list[list[int]] = self.tokens.tolist()
        return rows

    @property
    def hashed(self) -> np.ndarray:
        """What provenance takes the hash of."""
        return np.asarray(self.tokens.numpy())

    def ends(self, sentence: str) -> str:
        """A study's sentence, and how many observations it rests on where that is not the number of texts."""
        return sentence if self.checked is None else self.checked.ends(sentence)

    @property
    def settings(self) -> dict[str, Any]:
        """What a study records of them, JSON-safe: how many there were and how many are observations."""
        n = len(self.tokens)
        checked = self.checked
        counts = (n, n) if checked is None else (len(checked.keep), checked.n)
        found: dict[str, Any] = {
            "texts": self.source,
            "n_texts": counts[0],
            "observations": counts[1],
            "length": self.tokens.shape[1],
        }
        found["grouped"] = self.groups is not None
        if self.document_starts is not None:
            found["document_starts"] = starts_setting(self.document_starts)
        return found


def chosen_texts(
    model: HookedModel,
    texts: Prompts,
    options: Options,
    notes: list[str],
    progress: Progress | None,
    *,
    usual: int = USUAL_TEXTS,
    spare: int = 0,
    reach: Callable[[int], int] | None = None,
) -> Texts:
    """Windows of one length; texts that are shorter are left out, counted in `notes`, and so are texts that
    are no observations of their own (see `laminar_lens.studies.observations`).

    Args:
        model, texts, progress: as in `warmup_study`.
        options: how many texts, their length, groups and document starts, BOS and seed.
        notes: get what a reader must know.
        usual: how many the model writes where `options` say nothing.
        spare: how many passages are then not measured.
        reach: on how many first tokens of a text, by its length, depends what is measured; all by default.

    With `document_starts` each document of a packed row is a text by itself; of texts, a token id says where
    one starts.

    Raises:
        InputError: a length that the context does not hold; fewer than 2 texts of that length; groups that
            do not fit; passages that are not of the model's language.
    """
    made, source = _Choice(model, options, notes, reach), named_texts(model, texts)
    notes += own_texts_note(model, texts)
    if source != GIVEN and options.document_starts is not None:
        raise InputError("document_starts= goes with texts= that are given; others are single texts")
    if source == SAMPLED:
        return made.sampled(usual, progress)
    return made.passages(spare) if source == PASSAGES else made.given(texts)


@dataclass(frozen=True)
class _Choice:
    """How texts are chosen, of whatever source; see `chosen_texts`."""

    model: HookedModel
    options: Options
    notes: list[str]
    reach: Callable[[int], int] | None

    def sampled(self, usual: int, progress: Progress | None) -> Texts:
        """What the model writes."""
        options = self.options
        n_texts = usual if options.n_texts is None else options.n_texts
        wanted = self.length(LONGEST)
        if n_texts < 2:
            raise InputError(f"n_texts is {n_texts}; at least 2 texts are needed, usually {USUAL_TEXTS}")
        changes, bos = as_conditions(options.interventions), options.prepend_bos
        check_conditions(
            self.model, changes, [wanted + int(bos)] * n_texts, prepend_bos=bos, layers=options.layers
        )  # before the model writes
        tokens = sample_tokens(self.model, n_texts, wanted, seed=options.seed, progress=progress)
        labels = group_labels(options.groups, n_texts)
        return replace(self.checked(tokens, labels, "model", ()), source=SAMPLED)

    def passages(self, spare: int) -> Texts:
        """One window of each passage."""
        options = self.options
        if options.groups is not None:
            raise InputError("groups= goes with texts= that are given; every passage is independent")
        wanted = self.length(LONGEST)
        n_texts = N_PASSAGES - spare if options.n_texts is None else check_number(options.n_texts)
        rows = windows(check_language(self.model), wanted, None, options.seed).rows
        made = self.of_length(rows[:n_texts], wanted, None, "text", what="passages")
        return replace(made, source=PASSAGES, others=rows[n_texts:])

    def given(self, texts: Prompts) -> Texts:
        """Texts of the user's."""
        starts, groups = self.options.document_starts, self.options.groups
        is_ids = hasattr(texts, "ndim") and starts is None
        rows, labels = given_rows(self.model, texts, self.length(LONGEST), groups, starts, self.notes)
        lengths = sorted(map(len, rows))
        as_given = is_ids and lengths[0] == lengths[-1]  # rows that padding made alike are texts like others
        wanted = self.length(lengths[-1] if as_given else LONGEST)
        origin: Origin = "ids" if is_token_tensor(texts) else "text"
        return self.of_length(rows, wanted, labels, origin, document_starts=starts)

    def length(self, default: int) -> int:
        """Tokens of a text, without a BOS."""
        room = context_length(self.model) - int(self.options.prepend_bos)
        wanted = min(default, room) if self.options.length is None else self.options.length
        if not SHORTEST <= wanted <= room:
            raise InputError(
                f"length is {wanted}; expected {SHORTEST} … {room} tokens, what the model's context holds"
            )
        return wanted

    def of_length(
        self,
        rows: list[list[int]],
        wanted: int,
        labels: np.ndarray | None,
        origin: Origin,
        *,
        document_starts: Starts = None,
        what: str = "texts",
    ) -> Texts:
        """The first tokens of the rows that have so many."""
        lengths, notes = sorted(map(len, rows)), self.notes
        enough = [k for k, row in enumerate(rows) if len(row) >= wanted]
        if len(enough) < 2:
            check_repeats(rows, getattr(self.model, "tokenizer", None), origin, groups=labels)
            raise InputError(_too_few(lengths, len(enough), wanted, what))
        if lost := len(rows) - len(enough):
            said = f"{lost} of {len(rows)} {what} have fewer than {wanted} tokens: left out"
            if 2 * lost > len(rows):
                notes.insert(0, f"{said}; a length of {_of_half(lengths)} would keep at least half of them.")
            else:
                notes.append(f"{said}.")
        tokens = torch.tensor([rows[k][:wanted] for k in enough])
        labels = None if labels is None else labels[np.array(enough)]
        return self.checked(tokens, labels, origin, [rows[k] for k in enough], document_starts)

    def checked(
        self,
        tokens: Tensor,
        groups: np.ndarray | None,
        origin: Origin,
        whole: Sequence[Sequence[int]],
        document_starts: Starts = None,
    ) -> Texts:
        """The texts that are observations, or parts of a group that is one."""
        tokenizer = getattr(self.model, "tokenizer", None)
        reach = None if self.reach is None else self.reach(tokens.shape[1])
        found = observations(tokens.tolist(), tokenizer, origin, groups=groups, whole=whole, reach=reach)
        found.tell(self.notes)
        if found.keep.all():
            return Texts(tokens, groups, found, document_starts)
        kept = None if groups is None else groups[found.keep]
        return Texts(tokens[torch.from_numpy(found.keep)], kept, found, document_starts)


def _too_few(lengths: list[int], n: int, wanted: int, what: str) -> str:
    """What is missing, where fewer than 2 texts have the length: texts, or tokens."""
    if len(lengths) < 2:
        return f"there is only {len(lengths)} text, at least 2 of {wanted} tokens are needed; give more texts"
    half = _of_half(lengths)
    instead = f", or length={half}, which at least half of them have" if half >= SHORTEST else ""
    return (
        f"{n} of {len(lengths)} {what} have {wanted} tokens, at least 2 are needed; give longer texts"
        f"{instead}"
    )


def _of_half(lengths: list[int]) -> int:
    """The greatest length that half of the texts have, at least two; `lengths` in increasing order."""
    return lengths[min(len(lengths) // 2, len(lengths) - 2)]
