"""Which token stands for text that a tokenizer does not know."""

from laminar_lens.models.quiet import quiet
from laminar_lens.texts.tokenization import Tokenizer, token_ids

OTHER_USES = ("bos_token", "eos_token", "pad_token", "sep_token", "cls_token", "mask_token")
RARE = ("𓂀", "𒀀", "ꙮ", "ⵣ", "𝄞", "🜁")
"""Letters and signs that few vocabularies hold; one that is made of bytes writes them all."""


def unknown_token(tokenizer: Tokenizer | None, *, from_text: bool) -> int | None:
    """The id that stands for unknown text; None where there is none.

    An id that is also the BOS, EOS or padding (GPT-2's <|endoftext|> is called its unknown token, too) counts
    only in tokens that come from text, without special tokens, and only if the tokenizer does write it for
    rare letters.

    Args:
        tokenizer: of the model, or None.
        from_text: whether the tokens were made from text; in token ids such an id may be what else it is.
    """
    name, token = getattr(tokenizer, "unk_token", None), getattr(tokenizer, "unk_token_id", None)
    if tokenizer is None or name is None or token is None:
        return None
    if all(str(getattr(tokenizer, other, None)) != str(name) for other in OTHER_USES):
        return int(token)
    if not from_text:
        return None
    with quiet():
        written = token_ids(tokenizer, RARE)
    return int(token) if any(token in row for row in written) else None
