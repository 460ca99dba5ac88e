"""What the header of a .gguf file must hold, so that Hugging Face can be asked to read it.

Without this, a header of a billion blocks is built, for hours, before its missing weights are noticed; and
what Hugging Face leaves out without a word would be another model.
"""

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any

from laminar_lens.models.folder.files import FolderError, is_finite, is_whole, layers_held, quoted, shown
from laminar_lens.models.gguf.header import Header

_NEEDED = ("block_count", "embedding_length")
_COUNTS = ("context_length", "feed_forward_length", "attention.head_count", "attention.head_count_kv")
_SPECIAL = ("bos", "eos", "unknown", "padding")
_LONGEST = 2**31 - 1  # positions, which torch counts in 32 bits in places
_TABLES = (
    ("ggml.py", "GGUF_CONFIG_MAPPING"),
    ("gguf/gguf_config_mapping.py", "GGUF_CONFIG_ARCHS"),
)
_NO_MODELS = {"general", "tokenizer"}
_WHOLE = "give the model's Hugging Face folder instead"


def check_header(header: Header) -> None:
    """Refuses a file that is of no model which Hugging Face reads, or whose numbers do not fit its tensors.

    Raises:
        FolderError: with the key, its value, and what was expected.
    """
    _check_kind(header)
    _check_numbers(header)
    _check_blocks(header)
    _check_vocabulary(header)
    _check_positions(header)


def _check_kind(header: Header) -> None:
    architecture, kind = header.architecture, header.values.get("general.type", "model")
    if not isinstance(architecture, str):
        raise FolderError(f"its general.architecture is {shown(architecture)}; expected a text")
    if kind != "model":
        raise FolderError(
            f"its general.type is {quoted(kind)}; expected a model", "give the model's own file"
        )
    parts = header.values.get("split.count", 1)
    if parts not in (0, 1):
        raise FolderError(f"it is one of {shown(parts)} parts", "join them first: llama-gguf-split --merge")
    known = architectures()
    if known and _spelled(architecture) not in set(map(_spelled, known)):
        raise FolderError(
            f"its architecture {quoted(architecture)} is none that Hugging Face reads from a .gguf file "
            f"({', '.join(sorted(known))})",
            _WHOLE,
        )


def _spelled(architecture: str) -> str:
    """llama.cpp writes qwen2moe and gpt-oss, Hugging Face qwen2_moe and gpt_oss."""
    return re.sub(r"[^a-z0-9]", "", architecture.lower().removesuffix("encoder"))


@cache
def architectures() -> frozenset[str]:
    """What Hugging Face reads from .gguf files; read from its files without importing it, so that an unknown
    one is answered at once. Empty where its tables have moved: then it says so itself."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        return frozenset()
    found: set[str] = set()
    for name, table in _TABLES:
        file = Path(spec.origin).parent / "integrations" / name
        for node in ast.parse(file.read_text(encoding="utf-8")).body if file.is_file() else []:
            if not isinstance(node, ast.Assign) or getattr(node.targets[0], "id", "") != table:
                continue
            keys = node.value.keys if isinstance(node.value, ast.Dict) else []
            found |= {str(key.value) for key in keys if isinstance(key, ast.Constant)}
    return frozenset(found - _NO_MODELS)


def _check_numbers(header: Header) -> None:
    for key in (*_NEEDED, *_COUNTS):
        value, name = header.of_model(key), f"{header.architecture}.{key}"
        if name in header.lengths or (value is None and key not in _NEEDED):
            continue  # some models have one number for each block
        if not (is_whole(value, 1) and value <= _LONGEST):
            raise FolderError(f"its {name} is {shown(value)}; expected a whole number up to {_LONGEST:,}")
    for name, value in header.values.items():
        if isinstance(value, float) and not is_finite(value):
            raise FolderError(f"its {name} is {shown(value)}; expected a finite number")


def _check_blocks(header: Header) -> None:
    """Refuses other blocks, widths or counts than the tensors have."""
    held, claimed = layers_held(header.tensors), header.of_model("block_count")
    if claimed != held:
        raise FolderError(
            f"its {header.architecture}.block_count is {shown(claimed)}, but its tensors are of {held} blocks"
        )
    axes = {axis for tensor in header.tensors.values() for axis in tensor.shape}
    for key in ("embedding_length", "feed_forward_length"):
        if (value := header.of_model(key)) is not None and value not in axes:
            raise FolderError(
                f"its {header.architecture}.{key} is {shown(value)}, but no tensor has that size"
            )
    most = max(axes)
    for key in ("attention.head_count", "attention.head_count_kv", "expert_count", "expert_used_count"):
        if (value := header.of_model(key)) is not None and not (is_whole(value) and value <= most):
            raise FolderError(
                f"its {header.architecture}.{key} is {shown(value)}, but no axis is longer than {most:,}"
            )


def _check_vocabulary(header: Header) -> None:
    """Refuses a tokenizer with ids for which the model has no embedding, as another model's has."""
    tokens = header.lengths.get("tokenizer.ggml.tokens")
    if not tokens:
        raise FolderError("it has no tokenizer (tokenizer.ggml.tokens is missing)", _WHOLE)
    embedding = header.tensors.get("token_embd.weight")
    if embedding is None:
        raise FolderError("it has no embedding (tensor token_embd.weight is missing)")
    rows = embedding.shape[-1]
    if tokens != rows:
        raise FolderError(
            f"its tokenizer has {tokens:,} tokens, but the model's vocabulary {rows:,}: it is another's",
            "give a file with its own tokenizer",
        )
    if (size := header.of_model("vocab_size")) not in (None, rows):
        raise FolderError(
            f"its {header.architecture}.vocab_size is {shown(size)}, but token_embd.weight has {rows:,} rows"
        )
    types = header.lengths.get("tokenizer.ggml.token_type", tokens)
    if types != tokens:
        raise FolderError(f"its tokenizer has {tokens:,} tokens, but {types:,} types of them")
    for role in _SPECIAL:
        key = f"tokenizer.ggml.{role}_token_id"
        number = header.values.get(key)
        if number is not None and not (is_whole(number) and number < tokens):
            raise FolderError(f"its {key} is {shown(number)}; expected a whole number from 0 to {tokens - 1}")


def _check_positions(header: Header) -> None:
    """Refuses scaled rotary positions, which Hugging Face leaves out of all files but gpt-oss's."""
    scaling: Any = header.of_model("rope.scaling.type")
    if scaling not in (None, "none") and _spelled(str(header.architecture)) != "gptoss":
        raise FolderError(
            f"its {header.architecture}.rope.scaling.type is {quoted(scaling)}, which Hugging Face does not "
            "read from a .gguf file, so that it would compute another model",
            _WHOLE,
        )
