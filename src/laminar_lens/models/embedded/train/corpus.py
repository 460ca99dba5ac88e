"""The novels, read; and the tokenizer that is trained on them."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .config import TrainError

HELD_OUT = ("Persuasion_105", "The-Secret-Garden_113")
END_OF_TEXT = "<|endoftext|>"


def read_novel(file: Path) -> list[str]:
    """Paragraphs of a novel, one a line of the file; a byte-order mark at its beginning is no text."""
    if not file.is_file():  # a pipe may never send anything
        raise TrainError(f"{file}: not a regular file: take it away")
    try:
        with gzip.open(file, "rt", encoding="utf-8-sig") as lines:
            text = [s for s in (line.strip() for line in lines) if s]
    except (EOFError, gzip.BadGzipFile, zlib.error) as reason:
        raise TrainError(f"{file}: not a whole gzip file: fetch it again or take it away") from reason
    except UnicodeDecodeError as reason:
        raise TrainError(f"{file}: not UTF-8 text: convert it or take it away") from reason
    if not text:
        raise TrainError(f"{file}: no text in it: fetch it again or take it away")
    return text


def read_corpus(folder: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Paragraphs by novel, of the training novels and of the two held out."""
    files = sorted(folder.glob("*.txt.gz"))
    if not files:
        raise TrainError(f"--corpus {folder}: no *.txt.gz there")
    novels = {}
    for file in files:
        novels[file.name.removesuffix(".txt.gz")] = read_novel(file)
    if absent := [name for name in HELD_OUT if name not in novels]:
        raise TrainError(f"--corpus {folder}: the held-out {', '.join(absent)} is not there")
    train = {name: text for name, text in novels.items() if name not in HELD_OUT}
    if not train:
        raise TrainError(f"--corpus {folder}: nothing but the held-out novels there")
    return train, {name: novels[name] for name in HELD_OUT}


def corpus_sha256(folder: Path) -> str:
    """SHA-256 over the novels' names and bytes as they lie there."""
    files = sorted(folder.glob("*.txt.gz"))
    parts = [(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def train_tokenizer(paragraphs: Iterator[str], vocab: int) -> Any:
    """A byte-level BPE as GPT-2 has it, in which " her" is one token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=[END_OF_TEXT], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(paragraphs, trainer)
    if len(tokenizer.encode(" her").ids) != 1:
        raise TrainError('" her" is not one token of this corpus: give more text')
    return tokenizer


def text_of(ids: list[int], tokenizer: dict[str, Any]) -> str:
    """Text of token ids: GPT-2's byte alphabet turned back, without the tokenizers library."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    byte_of = {chr(b): b for b in plain}
    byte_of |= {chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in plain)}
    token_of = {i: t for t, i in tokenizer["model"]["vocab"].items()}
    tokens = [token_of[i] for i in ids if token_of[i] != END_OF_TEXT]
    return bytes(byte_of[c] for token in tokens for c in token).decode("utf-8", errors="replace")
