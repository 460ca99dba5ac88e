"""The tokenizer of a .gguf file, as Hugging Face builds it, with the splits that Hugging Face lacks."""

import tempfile
from pathlib import Path
from typing import Any

from laminar_lens.models.gguf import alone
from laminar_lens.models.gguf.header import Header, read_header

SPLIT = "tokenizer.ggml.pre"

PLAIN = frozenset({"default", "gpt-2", "jais", "mpt", "olmo", "phi-2", "roberta-bpe"})
"""Names of GPT-2's way to split a text, which Hugging Face takes where it does not know a name."""

DIGITS = frozenset({"smollm"})
"""Each digit apart before GPT-2's split: the same tokens but after several spaces or line ends ("  12")."""


def gguf_tokenizer(file: Path) -> Any:
    """The tokenizer of a checked file.

    Raises:
        Exception: whatever the file's tokens make the libraries raise.
    """
    from tokenizers import pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    with alone(file) as folder:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(
            folder, gguf_file=file.name, local_files_only=True
        )
    if read_header(file).values.get(SPLIT) in DIGITS:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    tokenizer.name_or_path = tokenizer.init_kwargs["name_or_path"] = file.name
    return tokenizer


def with_bos(tokenizer: Any) -> Any:
    """The tokenizer putting a BOS first, as TransformerLens wants it (it would look for the files)."""
    if tokenizer.bos_token is None:
        return tokenizer
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        made = type(tokenizer).from_pretrained(folder, add_bos_token=True, local_files_only=True)
    made.name_or_path = made.init_kwargs["name_or_path"] = tokenizer.name_or_path
    return made


def split_limit(header: Header, name: str) -> str:
    """A sentence where a file's way to split texts is none that is known; empty otherwise."""
    split = header.values.get(SPLIT)
    byte_level = header.values.get("tokenizer.ggml.model") == "gpt2"
    if not byte_level or split is None or split in PLAIN | DIGITS | _known_splits():
        return ""
    return (
        f"model {name!r}: Hugging Face does not know how its tokenizer splits texts ({split!r}) and splits "
        "them as GPT-2's does: some tokens may differ from the model's own; give token ids, or the model's "
        "Hugging Face folder"
    )


def _known_splits() -> frozenset[str]:
    try:
        from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
    except ImportError:  # Transformers before 5.20 knows none
        return frozenset()
    return frozenset(GGUF_PRE_TOKENIZER_SPLITS)
