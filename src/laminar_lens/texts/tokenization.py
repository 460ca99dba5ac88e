"""The one way from a text to its tokens: no special tokens added, nothing padded, nothing cut.

A `tokenizer.json` may hold padding and truncation, and a tokenizer keeps what it was last asked for: both
are switched off for the call and put back after it, so that a user's tokenizer stays as it was.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from laminar_lens.errors import InputError, LaminarLensError, is_failure

if TYPE_CHECKING:
    from typing import Protocol

    class Tokenizer(Protocol):
        """What is asked of Hugging Face's tokenizers; any other that has the same will do."""

        bos_token_id: int | None
        eos_token_id: int | None
        unk_token: str | None
        unk_token_id: int | None

        def __call__(self, text: str | list[str], **how: Any) -> Any:
            """Token ids, and what else is asked for."""

        def decode(self, ids: Sequence[int], **how: Any) -> str:
            """The text of token ids."""

else:  # the fakes of tests, and of users, are asked for no more than is used
    Tokenizer = Any


def token_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text.

    Raises:
        InputError: the tokenizer fails at a text; its native code may panic at an unusual one.
    """
    with whole_texts(tokenizer), _one_line(texts):
        rows = tokenizer(list(texts), **_plain(tokenizer))["input_ids"]
        return [list(map(int, row)) for row in rows]


def token_offsets(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[tuple[int, int]] | None]:
    """Token ids of a text and the characters [start, end) of each; None where the tokenizer is slow.

    Raises:
        InputError: the tokenizer fails at the text.
    """
    fast = bool(getattr(tokenizer, "is_fast", False))
    asked = {"return_offsets_mapping": True} if fast else {}
    with whole_texts(tokenizer), _one_line([text]):
        encoding = tokenizer(text, **_plain(tokenizer), **asked)
        ids = list(map(int, encoding["input_ids"]))
        return ids, [(int(a), int(b)) for a, b in encoding["offset_mapping"]] if fast else None


@contextlib.contextmanager
def _one_line(texts: Sequence[str]) -> Iterator[None]:
    """What fails in a tokenizer, panics of its native code included, as one line."""
    try:
        yield
    except LaminarLensError:
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        what = f"the text {texts[0]!r:.60}" if len(texts) == 1 else f"one of {len(texts)} texts"
        raise InputError(
            f"the model's tokenizer fails at {what} ({type(error).__name__}: {reason}): change the text, or "
            "check the model's tokenizer.json"
        ) from error


def _plain(tokenizer: Tokenizer) -> dict[str, Any]:
    """The arguments of a call; a slow tokenizer keeps no padding or truncation from call to call."""
    how: dict[str, Any] = {"add_special_tokens": False}
    if getattr(tokenizer, "is_fast", False):
        how |= {"padding": False, "truncation": False, "verbose": False}
    return how


@contextlib.contextmanager
def whole_texts(tokenizer: Tokenizer) -> Iterator[None]:
    """Neither padding nor truncation in a fast tokenizer's backend; what it held is put back."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if not (hasattr(backend, "no_padding") and hasattr(backend, "no_truncation")):
        yield
        return
    padding, truncation = backend.padding, backend.truncation
    backend.no_padding()
    backend.no_truncation()
    try:
        yield
    finally:
        if padding is not None:
            backend.enable_padding(**padding)
        if truncation is not None:
            backend.enable_truncation(**truncation)
