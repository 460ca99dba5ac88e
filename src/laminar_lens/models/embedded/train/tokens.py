"""The token file: made from the novels, read, and drawn from."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import Config, TrainError
from .corpus import END_OF_TEXT, corpus_sha256, read_corpus, train_tokenizer
from .files import write_whole

if TYPE_CHECKING:
    import torch

BOS_SHARE = 0.01
VOCAB = 4096
MAX_TOKEN_FILE_BYTES = 40_000_000
PROMPTS = ("She opened the door, and", "He gave her", "The house", '"I cannot believe', "In the morning")
DATA_FACTS = frozenset({"tokenizer", "bytes", "novels", "prompts", "corpus_sha256", "vocab", "sha256"})


def tokens_sha256(train: Any, val: Any, meta: dict[str, str]) -> str:
    """SHA-256 over both parts and all that is written about them, but itself."""
    digest = hashlib.sha256()
    for name, tokens in (("train", train), ("val", val)):
        digest.update(f"{name} {tokens.dtype} {len(tokens)} ".encode() + tokens.tobytes())
    digest.update(json.dumps({k: v for k, v in meta.items() if k != "sha256"}, sort_keys=True).encode())
    return digest.hexdigest()


def prepare(corpus: Path, file: Path, vocab: int = VOCAB) -> None:
    """Writes the token file: uint16 tokens of both parts; tokenizer, byte counts and prompts as metadata."""
    import numpy as np
    from safetensors.numpy import save

    train, held_out = read_corpus(corpus)
    tokenizer = train_tokenizer((p for text in train.values() for p in text), vocab)
    tensors, byte_counts = {}, {}
    for part, novels in (("train", train), ("val", held_out)):
        lines = [p + "\n" for text in novels.values() for p in text]
        ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(lines)]
        tensors[part] = np.concatenate([np.asarray(i, dtype=np.uint16) for i in ids])
        byte_counts[part] = sum(len(line.encode()) for line in lines)
    meta = {
        "tokenizer": tokenizer.to_str(),
        "bytes": json.dumps(byte_counts),
        "novels": json.dumps({"train": list(train), "val": list(held_out)}),
        "prompts": json.dumps([tokenizer.encode(p).ids for p in PROMPTS]),
        "corpus_sha256": corpus_sha256(corpus),
        "vocab": str(vocab),
    }
    meta["sha256"] = tokens_sha256(tensors["train"], tensors["val"], meta)
    blob = save(tensors, {"meta": json.dumps(meta, sort_keys=True)})  # the order of several would be random
    if len(blob) > MAX_TOKEN_FILE_BYTES:
        raise TrainError(f"--prepare {file}: {len(blob):,} bytes, more than {MAX_TOKEN_FILE_BYTES:,}")
    write_whole(file, blob)


@dataclasses.dataclass(frozen=True)
class Data:
    """The token file, read."""

    train: Any  # numpy arrays of uint16
    val: Any
    meta: dict[str, str]

    @property
    def vocab(self) -> int:
        """Number of token ids."""
        return len(json.loads(self.meta["tokenizer"])["model"]["vocab"])

    @property
    def bos(self) -> int:
        """Id of <|endoftext|>."""
        return int(json.loads(self.meta["tokenizer"])["model"]["vocab"][END_OF_TEXT])

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of the held-out text by its tokens."""
        return float(json.loads(self.meta["bytes"])["val"] / len(self.val))


def load_data(file: Path) -> Data:
    """Reads a token file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            meta = json.loads((opened.metadata() or {}).get("meta", "{}"))
            data = Data(opened.get_tensor("train"), opened.get_tensor("val"), dict(meta))
    except (SafetensorError, OSError, ValueError, TypeError) as reason:
        raise TrainError(f"--data {file}: not a token file of --prepare ({reason})") from reason
    if absent := DATA_FACTS - data.meta.keys():
        raise TrainError(
            f"--data {file}: not a token file of --prepare, or of an older one (no "
            f"{', '.join(sorted(absent))}): make it again with --corpus and --prepare"
        )
    if tokens_sha256(data.train, data.val, data.meta) != data.meta["sha256"]:
        raise TrainError(
            f"--data {file}: altered since it was made: make it again with --corpus and --prepare"
        )
    return data


def batch_at(cfg: Config, tokens: "torch.Tensor", bos: int, step: int) -> "torch.Tensor":
    """Windows [batch, context + 1] of a step, a function of seed and step alone."""
    import numpy as np
    import torch

    rng = np.random.default_rng([cfg.seed, step])
    starts = torch.from_numpy(rng.integers(0, len(tokens) - cfg.context, cfg.batch))
    marked = torch.from_numpy(rng.random(cfg.batch) < BOS_SHARE)
    starts, marked = starts.to(tokens.device), marked.to(tokens.device)
    windows = tokens[starts[:, None] + torch.arange(cfg.context + 1, device=tokens.device)].long()
    shifted = torch.cat([torch.full_like(windows[:, :1], bos), windows[:, :-1]], dim=1)
    return torch.where(marked[:, None], shifted, windows)
