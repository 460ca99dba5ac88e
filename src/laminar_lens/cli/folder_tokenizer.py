"""The tokenizer of a model's folder or file, as the model itself will use it.

Where Transformers takes `tokenizer.json` as it is, so does this, without importing Transformers; a class with
a tokenizer of its own (GPT-2's, GPT-NeoX's, Qwen's …) takes only the vocabulary from that file, so that
Transformers is asked, at the cost of its import.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from laminar_lens.models.names import NOVELLA

AS_IT_IS = ("TokenizersBackend", "PreTrainedTokenizerFast")
"""Classes for which Transformers uses the file itself."""

LARGEST_AS_IT_IS = 100_000
"""Transformers may replace the pre-tokenizer of a larger vocabulary (Mistral's)."""

SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class FileTokenizer:
    """A tokenizer.json, with the part of a Hugging Face tokenizer that finding a target needs."""

    is_fast = True

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        self.backend_tokenizer = Tokenizer.from_file(str(path))

    def __call__(self, text: str | Sequence[str], **_: Any) -> dict[str, Any]:
        """Token ids and character offsets, without special tokens, of one text or of several."""
        texts = [text] if isinstance(text, str) else list(text)
        found = [self.backend_tokenizer.encode(one, add_special_tokens=False) for one in texts]
        if isinstance(text, str):
            return {"input_ids": found[0].ids, "offset_mapping": found[0].offsets}
        return {"input_ids": [one.ids for one in found], "offset_mapping": [one.offsets for one in found]}


def folder_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """What makes the same tokens of a text as the model in `folder` will.

    Raises:
        Exception: whatever the folder's files make the libraries raise.
    """
    if folder == NOVELLA:
        return FileTokenizer(folder / "tokenizer.json")
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    tokenizer = FileTokenizer(folder / "tokenizer.json")
    if _is_taken_as_it_is(settings, tokenizer.backend_tokenizer):
        return tokenizer
    from transformers import AutoTokenizer

    from laminar_lens.models.quiet import quiet

    with quiet():
        return AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )


def file_tokenizer(file: Path) -> Any:
    """What makes the same tokens of a text as the model in a .gguf file will; Transformers makes it.

    Raises:
        Exception: whatever the file makes the libraries raise.
    """
    from laminar_lens.models.gguf.tokenizer import gguf_tokenizer
    from laminar_lens.models.quiet import quiet

    with quiet():
        return gguf_tokenizer(file)


def _is_taken_as_it_is(settings: dict[str, Any], backend: Any) -> bool:
    """Whether Transformers uses this tokenizer.json unchanged."""
    named = [settings.get(name) for name in SPECIAL]
    named += list(settings.get("added_tokens_decoder", {}).values())
    contents = [one.get("content") if isinstance(one, dict) else one for one in named if one is not None]
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    return (
        settings.get("tokenizer_class") in AS_IT_IS
        and not settings.get("split_special_tokens")
        and not {"auto_map", "extra_special_tokens", "additional_special_tokens"} & set(settings)
        and set(contents) <= known
        and int(backend.get_vocab_size()) <= LARGEST_AS_IT_IS
    )
