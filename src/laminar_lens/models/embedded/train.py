"""Trains novella, the small GPT-2 that ships with Laminar Lens, and writes it as a Hugging Face folder.

The parameters are one dict of tensors that has the names and layout of Hugging Face's GPT-2, so that what is
trained is what is exported. The file stands alone: on a bare GPU image `python train.py --data novella.tokens
--out DIR --device cuda --minutes 25` needs torch, numpy and safetensors and nothing of this package. Heavy
imports are inside the functions, so that a bad argument is answered at once.
"""

import argparse
import dataclasses
import gzip
import hashlib
import json
import math
import os
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Params = dict[str, "torch.Tensor"]

HELD_OUT = ("Persuasion_105", "The-Secret-Garden_113")
END_OF_TEXT = "<|endoftext|>"
BOS_SHARE = 0.01
VOCAB = 4096
MAX_TOKEN_FILE_BYTES = 40_000_000
MAX_WEIGHT_BYTES = 10_000_000
PROMPTS = ("She opened the door, and", "He gave her", "The house", '"I cannot believe', "In the morning")


class TrainError(Exception):
    """A problem the user can solve; its text is the one line that is printed."""


def say(line: str) -> None:
    """A line to the user, past any pipe."""
    print(line, file=sys.stderr, flush=True)


@dataclasses.dataclass(frozen=True)
class Config:
    """What a run is; together with the token file it fixes every number of the run."""

    layers: int = 8
    width: int = 128
    heads: int = 4
    context: int = 128
    batch: int = 32
    seed: int = 0
    tokens: int = 40_000_000
    lr: float = 1.5e-3
    weight_decay: float = 0.1
    warmup: int = 200

    @property
    def steps(self) -> int:
        """Optimizer steps that see `tokens`, rounded up."""
        return math.ceil(self.tokens / (self.batch * self.context))

    def lr_at(self, step: int) -> float:
        """Linear warm-up, then cosine down to 10%."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.lr * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


DATA_FACTS = frozenset({"tokenizer", "bytes", "novels", "prompts", "corpus_sha256", "vocab", "sha256"})
SEAL = b"\ntrain.py checkpoint sha256 "

# What may be changed at --resume: the schedule, not the model or the order of the data.
CHANGEABLE = ("tokens", "lr", "weight_decay", "warmup")


# ------------------------------------------------------------------------------------------------------- data


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


def tokens_sha256(train: Any, val: Any, meta: dict[str, str]) -> str:
    """SHA-256 over both parts and all that is written about them, but itself."""
    digest = hashlib.sha256()
    for name, tokens in (("train", train), ("val", val)):
        digest.update(f"{name} {tokens.dtype} {len(tokens)} ".encode() + tokens.tobytes())
    digest.update(json.dumps({k: v for k, v in meta.items() if k != "sha256"}, sort_keys=True).encode())
    return digest.hexdigest()


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


# ------------------------------------------------------------------------------------------------------ model


def init_params(cfg: Config, vocab: int) -> Params:
    """GPT-2's initial weights under Hugging Face's names, Conv1D matrices [in, out]."""
    import torch

    generator = torch.Generator().manual_seed(cfg.seed)
    d, residual_std = cfg.width, 0.02 / math.sqrt(2 * cfg.layers)

    def normal(*shape: int, std: float = 0.02) -> "torch.Tensor":
        return torch.randn(*shape, generator=generator) * std

    params = {"transformer.wte.weight": normal(vocab, d), "transformer.wpe.weight": normal(cfg.context, d)}
    for n in range(cfg.layers):
        h = f"transformer.h.{n}."
        for name, rows, columns, std in (
            ("attn.c_attn", d, 3 * d, 0.02),
            ("attn.c_proj", d, d, residual_std),
            ("mlp.c_fc", d, 4 * d, 0.02),
            ("mlp.c_proj", 4 * d, d, residual_std),
        ):
            params[f"{h}{name}.weight"] = normal(rows, columns, std=std)
            params[f"{h}{name}.bias"] = torch.zeros(columns)
        for name in ("ln_1", "ln_2"):
            params[f"{h}{name}.weight"], params[f"{h}{name}.bias"] = torch.ones(d), torch.zeros(d)
    params["transformer.ln_f.weight"], params["transformer.ln_f.bias"] = torch.ones(d), torch.zeros(d)
    return params


def logits_of(params: Params, tokens: "torch.Tensor", layers: int, heads: int) -> "torch.Tensor":
    """Logits [batch, pos, vocab] of tokens [batch, pos]: GPT-2 (Radford et al. 2019), no dropout."""
    from torch.nn import functional

    def norm(x: "torch.Tensor", name: str) -> "torch.Tensor":
        return functional.layer_norm(x, x.shape[-1:], params[name + ".weight"], params[name + ".bias"], 1e-5)

    def linear(x: "torch.Tensor", name: str) -> "torch.Tensor":
        return functional.linear(x, params[name + ".weight"].t(), params[name + ".bias"])

    length = tokens.shape[1]
    x = (
        functional.embedding(tokens, params["transformer.wte.weight"])
        + params["transformer.wpe.weight"][:length]
    )
    for n in range(layers):
        h = f"transformer.h.{n}."
        qkv = linear(norm(x, h + "ln_1"), h + "attn.c_attn").view(*x.shape[:2], 3, heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + linear(mixed, h + "attn.c_proj")
        hidden = functional.gelu(linear(norm(x, h + "ln_2"), h + "mlp.c_fc"), approximate="tanh")
        x = x + linear(hidden, h + "mlp.c_proj")
    return functional.linear(norm(x, "transformer.ln_f"), params["transformer.wte.weight"])


def loss_of(params: Params, windows: "torch.Tensor", layers: int, heads: int) -> "torch.Tensor":
    """Mean nats a token over windows [batch, context + 1]."""
    from torch.nn import functional

    logits = logits_of(params, windows[:, :-1], layers, heads)
    return functional.cross_entropy(logits.flatten(0, 1).float(), windows[:, 1:].flatten())


def validation_loss(params: Params, cfg: Config, val: "torch.Tensor", most: int | None = None) -> float:
    """Nats a token over non-overlapping windows of the held-out text, all of them or `most` spread evenly."""
    import torch

    count = (len(val) - 1) // cfg.context
    if count < 1:
        raise TrainError(f"held-out text of {len(val)} tokens: too short for --context {cfg.context}")
    chosen = torch.arange(count) if most is None or most >= count else torch.arange(most) * count // most
    starts = (chosen * cfg.context).to(val.device)
    total = 0.0
    with torch.no_grad():
        for some in torch.split(starts, 64):
            windows = val[some[:, None] + torch.arange(cfg.context + 1, device=val.device)].long()
            total += float(loss_of(params, windows, cfg.layers, cfg.heads)) * len(some)
    return total / len(starts)


# --------------------------------------------------------------------------------------- saving and exporting


def write_whole(file: Path, content: bytes) -> None:
    """Writes under another name and renames, so that a reader never meets half a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def save_checkpoint(file: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint whole; a last line after what torch reads seals it."""
    import io

    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    write_whole(file, content + SEAL + hashlib.sha256(content).hexdigest().encode())


def load_checkpoint(file: Path) -> dict[str, Any]:
    """Reads a checkpoint: tensors and plain values only, nothing is executed, nothing that was altered."""
    import io

    import torch

    try:
        content, seal, digest = file.read_bytes().rpartition(SEAL)
    except FileNotFoundError as reason:
        raise TrainError(f"{file}: no checkpoint there") from reason
    if not seal or hashlib.sha256(content).hexdigest().encode() != digest:
        raise TrainError(
            f"{file}: not a checkpoint of this program, or altered, or half of one (its hash does not "
            "match): take a copy of it, or begin again in another --out"
        )
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as reason:  # torch names no set of errors for what it cannot read
        raise TrainError(
            f"{file}: not a checkpoint that this torch reads ({type(reason).__name__})"
        ) from reason
    if not isinstance(state, dict) or not {"config", "params", "meta", "step"} <= state.keys():
        raise TrainError(f"{file}: not a checkpoint of this program")
    return state


def diverged(what: str, step: int) -> TrainError:
    """Numbers that are not worth keeping."""
    advice = "take a smaller --lr (--resume goes on from the last good checkpoint, if there is one)"
    return TrainError(f"{what} not finite at step {step}, nothing was saved: {advice}")


def check_finite(state: dict[str, Any]) -> None:
    """Raises unless every weight is finite in float16, as it is exported; a loss of nan makes weights nan."""
    for p in state["params"].values():
        if not p.half().isfinite().all():
            raise diverged("weights are", state["step"])


def text_of(ids: list[int], tokenizer: dict[str, Any]) -> str:
    """Text of token ids: GPT-2's byte alphabet turned back, without the tokenizers library."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    byte_of = {chr(b): b for b in plain}
    byte_of |= {chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in plain)}
    token_of = {i: t for t, i in tokenizer["model"]["vocab"].items()}
    tokens = [token_of[i] for i in ids if token_of[i] != END_OF_TEXT]
    return bytes(byte_of[c] for token in tokens for c in token).decode("utf-8", errors="replace")


def sample(params: Params, cfg: Config, prompt: list[int], count: int, seed: int) -> list[int]:
    """The prompt and `count` more tokens at temperature 0.8 from the 50 likeliest."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(count):
            logits = logits_of(params, torch.tensor([ids[-cfg.context :]]), cfg.layers, cfg.heads)[0, -1]
            top = logits.topk(min(50, len(logits)))
            chosen = torch.multinomial((top.values / 0.8).softmax(0), 1, generator=generator)
            ids.append(int(top.indices[chosen]))
    return ids


def samples(params: Params, cfg: Config, meta: dict[str, str], bos: int) -> list[str]:
    """A text after <|endoftext|> and one after each prompt."""
    prompts = [[bos], *json.loads(meta["prompts"])]
    tokenizer = json.loads(meta["tokenizer"])
    count = max(1, min(80, cfg.context - max(map(len, prompts))))
    return [text_of(sample(params, cfg, p, count, cfg.seed + i), tokenizer) for i, p in enumerate(prompts)]


def export(state: dict[str, Any], folder: Path) -> Params:
    """Writes the Hugging Face folder of a checkpoint; returns the weights as written, in float32."""
    import torch
    from safetensors.torch import save

    check_finite(state)
    cfg, meta = Config(**state["config"]), state["meta"]
    tokenizer = json.loads(meta["tokenizer"])
    vocab = tokenizer["model"]["vocab"]
    bos = vocab[END_OF_TEXT]
    half = {name: p.to(torch.float16).contiguous() for name, p in state["params"].items()}
    blob = save(half, {"format": "pt"})
    if len(blob) > MAX_WEIGHT_BYTES:
        say(f"warning: weights of {len(blob):,} bytes; at most {MAX_WEIGHT_BYTES:,} ship")
    ids = {"bos_token_id": bos, "eos_token_id": bos}
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": len(vocab),
        "n_positions": cfg.context,
        "n_ctx": cfg.context,
        "n_embd": cfg.width,
        "n_layer": cfg.layers,
        "n_head": cfg.heads,
        "n_inner": None,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "initializer_range": 0.02,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "tie_word_embeddings": True,
        "torch_dtype": "float16",
        **ids,
    }
    specials = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "unk_token": END_OF_TEXT}
    tokenizer_config = {
        "tokenizer_class": "GPT2TokenizerFast",
        "add_prefix_space": False,
        "model_max_length": cfg.context,
        "clean_up_tokenization_spaces": False,
        **specials,
    }
    write_whole(folder / "tokenizer.json", meta["tokenizer"].encode())
    for name, content in (
        ("tokenizer_config.json", tokenizer_config),
        ("special_tokens_map.json", specials),
        ("generation_config.json", {"do_sample": True, "temperature": 0.8, "top_k": 50, **ids}),
        ("config.json", config),
    ):
        write_whole(folder / name, (json.dumps(content, indent=2) + "\n").encode())
    write_whole(folder / "model.safetensors", blob)
    return {name: p.float() for name, p in half.items()}


def finish(state: dict[str, Any], data: Data | None, folder: Path) -> dict[str, Any]:
    """Exports, measures the exported weights on all of the held-out text, writes samples beside."""
    import torch

    cfg = Config(**state["config"])
    params = export(state, folder)
    bos = json.loads(state["meta"]["tokenizer"])["model"]["vocab"][END_OF_TEXT]
    record: dict[str, Any] = {"step": state["step"], "tokens": state["step"] * cfg.batch * cfg.context}
    if data is not None:
        record["final_val_loss"] = validation_loss(params, cfg, torch.from_numpy(data.val.astype("int32")))
        record["final_bits_per_byte"] = record["final_val_loss"] / math.log(2) / data.bytes_per_token
    texts = samples(params, cfg, state["meta"], bos)
    write_whole(folder.parent / "samples.txt", "\n\n----\n\n".join(texts).encode())
    print(f"{folder}: {json.dumps(record)}\n\n" + "\n\n".join(texts), flush=True)
    return record


# --------------------------------------------------------------------------------------------------- training


class Progress:
    """A bar with the time left on a terminal, a line every half minute elsewhere."""

    def __init__(self, steps: int) -> None:
        self.steps, self.shown, self.live = steps, 0.0, sys.stderr.isatty()

    def show(self, step: int, rate: float, left_s: float, loss: float) -> None:
        """Draws the bar, unless it was drawn just now."""
        now = time.monotonic()
        if now - self.shown < (0.2 if self.live else 30) and step < self.steps:
            return
        self.shown = now
        done = 30 * step // self.steps
        bar = "#" * done + "." * (30 - done)
        left = f"{int(left_s) // 3600}:{int(left_s) // 60 % 60:02}:{int(left_s) % 60:02}"
        line = f"[{bar}] {step}/{self.steps}  loss {loss:.3f}  {rate:,.0f} tokens/s  {left} left"
        print("\r" + line if self.live else line, end="" if self.live else "\n", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Ends the bar's line."""
        if self.live:
            print(file=sys.stderr)


def step_of(line: bytes) -> float:
    """The step of a log line; infinity for a line that was not written to its end."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return math.inf


class Run:
    """A training run: parameters and optimizer on the device, and a folder with its checkpoint and log."""

    def __init__(self, cfg: Config, data: Data, out: Path, device: str, compiled: bool) -> None:
        import torch

        self.cfg, self.data, self.out, self.device, self.step, self.seconds = cfg, data, out, device, 0, 0.0
        if len(data.train) <= cfg.context + 1:
            raise TrainError(
                f"training text of {len(data.train)} tokens: too short for --context {cfg.context}"
            )
        self.tokens = torch.from_numpy(data.train.astype("int32")).to(device)
        self.val = torch.from_numpy(data.val.astype("int32")).to(device)
        self.params = {n: p.to(device).requires_grad_() for n, p in init_params(cfg, data.vocab).items()}
        matrices = [p for p in self.params.values() if p.ndim > 1]
        vectors = [p for p in self.params.values() if p.ndim == 1]
        groups = [
            {"params": matrices, "weight_decay": cfg.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=cfg.lr, betas=(0.9, 0.95), fused=True)
        self.loss: Callable[..., torch.Tensor] = loss_of
        if compiled:
            self.loss = torch.compile(loss_of, dynamic=False)

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up a checkpoint; log lines written after it, or only in part, are dropped."""
        import torch

        with torch.no_grad():
            for name, p in self.params.items():
                p.copy_(state["params"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        for group, decay in zip(self.optimizer.param_groups, (self.cfg.weight_decay, 0.0), strict=True):
            group["weight_decay"] = decay
        self.step, self.seconds = state["step"], state["seconds"]
        log = self.out / "log.jsonl"
        if log.exists():
            kept = [line for line in log.read_bytes().splitlines() if step_of(line) <= self.step]
            write_whole(log, b"".join(line + b"\n" for line in kept))

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "config": dataclasses.asdict(self.cfg),
            "params": {n: p.detach().cpu() for n, p in self.params.items()},
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "tokens": self.step * self.cfg.batch * self.cfg.context,
            "seconds": self.seconds,
            "meta": self.data.meta,
        }

    def save(self) -> None:
        """Writes the checkpoint, never over a good one when training has diverged."""
        state = self.state()
        check_finite(state)
        save_checkpoint(self.out / "checkpoint.pt", state)

    def record(self, **numbers: float | int) -> None:
        """Appends a line to the log."""
        with (self.out / "log.jsonl").open("a") as log:
            seen = self.step * self.cfg.batch * self.cfg.context
            log.write(json.dumps({"step": self.step, "tokens": seen, **numbers}) + "\n")

    def advance(self) -> "torch.Tensor":
        """One optimizer step; the loss stays on the device."""
        import torch

        for group in self.optimizer.param_groups:
            group["lr"] = self.cfg.lr_at(self.step)
        windows = batch_at(self.cfg, self.tokens, self.data.bos, self.step)
        with torch.autocast(self.device, dtype=torch.bfloat16):
            loss = self.loss(self.params, windows, self.cfg.layers, self.cfg.heads)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.params.values(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.detach()

    def train(self, minutes: float | None, checkpoint_s: float = 180.0, log_every: int = 50) -> bool:
        """Trains to the end of the schedule (True), or until time is up or a signal comes (False)."""
        stopped: list[int] = []
        signals = (signal.SIGTERM, signal.SIGINT)
        handlers = {s: signal.signal(s, lambda number, _: stopped.append(number)) for s in signals}
        progress = Progress(self.cfg.steps)
        begin = saved = mark = time.monotonic()
        before, first = self.seconds, self.step
        try:
            while self.step < self.cfg.steps and not stopped:
                loss = self.advance()
                now = time.monotonic()
                self.seconds = before + now - begin
                if self.step % log_every == 0 or self.step == self.cfg.steps:
                    value = float(loss)
                    if not math.isfinite(value):
                        raise diverged("loss is", self.step)
                    now = time.monotonic()
                    size = self.cfg.batch * self.cfg.context
                    rate = ((self.step - 1) % log_every + 1) * size / (now - mark)
                    mark = now
                    left = (self.cfg.steps - self.step) * (now - begin) / (self.step - first)
                    self.record(loss=value, lr=self.cfg.lr_at(self.step - 1), tokens_per_s=round(rate))
                    progress.show(self.step, rate, left, value)
                if self.step % (20 * log_every) == 0:
                    val = validation_loss(self.params, self.cfg, self.val, most=128)
                    if not math.isfinite(val):
                        raise diverged("validation loss is", self.step)
                    self.record(val_loss=val, bits_per_byte=val / math.log(2) / self.data.bytes_per_token)
                if now - saved > checkpoint_s:
                    self.save()
                    saved = now
                if minutes is not None and now - begin > 60 * minutes:
                    break
        finally:
            progress.close()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        self.save()
        return self.step >= self.cfg.steps


# ----------------------------------------------------------------------------------------------- command line


def positive(kind: Callable[[str], Any], *, zero: bool = False) -> Callable[[str], Any]:
    """An argument type: a finite number above 0, or 0 as well."""

    def convert(text: str) -> Any:
        try:
            value = kind(text.replace("_", ""))
        except ValueError:
            value = -1
        if not (value > 0 or (zero and value == 0)) or math.isinf(value):
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {what} {'of at least' if zero else 'above'} 0")
        return value

    return convert


class Parser(argparse.ArgumentParser):
    """Without a usage box."""

    def error(self, message: str) -> Any:
        """One line for `main` to print."""
        raise TrainError(message)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = Parser(prog="train", description="Trains novella, a small GPT-2, on novels.", allow_abbrev=False)
    p.add_argument("--corpus", type=Path, metavar="DIR", help="folder of *.txt.gz, one paragraph a line")
    p.add_argument("--data", type=Path, metavar="FILE", help="token file of --prepare, instead of --corpus")
    p.add_argument("--prepare", type=Path, metavar="FILE", help="only write the token file of --corpus")
    p.add_argument(
        "--export", type=Path, metavar="CKPT", help="only write the model of a checkpoint to --out"
    )
    p.add_argument("--out", type=Path, metavar="DIR", help="checkpoint, log, and at the end the model")
    p.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    p.add_argument("--minutes", type=positive(float), metavar="M", help="save and stop after M minutes")
    p.add_argument("--threads", type=positive(int), metavar="N", help="CPU threads")
    p.add_argument("--compile", action=argparse.BooleanOptionalAction, help="default: on CUDA only")
    p.add_argument("--vocab", type=positive(int), help=f"size of the tokenizer (default {VOCAB})")
    p.add_argument("--checkpoint-minutes", type=positive(float), default=3.0, metavar="M")
    p.add_argument("--log-every", type=positive(int), default=50, metavar="STEPS")
    for field in dataclasses.fields(Config):
        kind = positive(field.type, zero=field.name in ("seed", "weight_decay", "warmup"))  # type: ignore[arg-type]
        p.add_argument("--" + field.name.replace("_", "-"), type=kind, help=f"default {field.default}")
    return p


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments, checked with the standard library alone."""
    a = parser().parse_args(argv)
    if a.export is None and (a.corpus is None) == (a.data is None):
        raise TrainError("give one of --corpus DIR and --data FILE")
    if a.prepare is not None and a.corpus is None:
        raise TrainError("--prepare needs --corpus DIR")
    if a.prepare is None and a.out is None:
        raise TrainError("--out DIR is missing")
    if a.corpus is not None and not a.corpus.is_dir():
        raise TrainError(f"--corpus {a.corpus}: no such folder")
    for name in ("data", "export"):
        if getattr(a, name) is not None and not getattr(a, name).is_file():
            raise TrainError(f"--{name} {getattr(a, name)}: no such file")
    if a.vocab is not None and not 257 <= a.vocab <= 65_536:
        raise TrainError(f"--vocab {a.vocab}: must be from 257 to 65,536")
    if a.prepare is None and a.export is None:
        checkpoint = a.out / "checkpoint.pt"
        if a.resume and not checkpoint.is_file():
            raise TrainError(f"--resume: no checkpoint in {a.out}")
        if not a.resume and checkpoint.exists():
            raise TrainError(f"--out {a.out} holds a run already: add --resume, or choose another folder")
    width, heads = a.width or Config.width, a.heads or Config.heads
    if not a.resume and width % heads:
        raise TrainError(f"--width {width} is not a multiple of --heads {heads}")
    return a


def device_of(name: str) -> str:
    """The device to train on."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise TrainError("--device cuda: torch sees no CUDA device here")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def config_of(a: argparse.Namespace, device: str, state: dict[str, Any] | None) -> Config:
    """The run's configuration: the checkpoint's if there is one, and what was given by name."""
    given = {f.name: getattr(a, f.name) for f in dataclasses.fields(Config) if getattr(a, f.name) is not None}
    if state is None:
        return Config(**({"batch": 512} if device == "cuda" else {}) | given)
    for name, value in given.items():
        if name not in CHANGEABLE and value != state["config"][name]:
            raise TrainError(f"--{name} {value}: the checkpoint has {state['config'][name]}")
    return Config(**state["config"] | given)


def check_data(a: argparse.Namespace, data: Data, file: Path, state: dict[str, Any] | None) -> None:
    """That the token file is the one that the checkpoint and the other arguments mean."""
    if state is not None and state["meta"] != data.meta:
        raise TrainError(f"the checkpoint was trained from another token file than {file}: give that one")
    if a.vocab is not None and str(a.vocab) != data.meta["vocab"]:
        raise TrainError(f"--vocab {a.vocab}: {file} was made with {data.meta['vocab']}: leave it out")
    if a.corpus is not None and corpus_sha256(a.corpus) != data.meta["corpus_sha256"]:
        raise TrainError(
            f"--corpus {a.corpus}: {file} was made from other novels: give those, or leave it out"
        )


def run(a: argparse.Namespace) -> None:
    """Does what the arguments say."""
    import torch

    if a.threads:
        torch.set_num_threads(a.threads)
    if a.prepare is not None:
        return prepare(a.corpus, a.prepare, a.vocab or VOCAB)
    if a.export is not None:
        trained, held = load_checkpoint(a.export), load_data(a.data) if a.data else None
        if held is not None:
            check_data(a, held, a.data, trained)
        finish(trained, held, a.out)
        return None
    a.out.mkdir(parents=True, exist_ok=True)
    file = a.data or a.out / "novella.tokens"
    if a.corpus is not None and not (a.resume and file.exists()):
        prepare(a.corpus, file, a.vocab or VOCAB)
    device = device_of(a.device)
    torch.set_float32_matmul_precision("high")
    data, checkpoint = load_data(file), a.out / "checkpoint.pt"
    state = load_checkpoint(checkpoint) if a.resume else None
    check_data(a, data, file, state)
    cfg = config_of(a, device, state)
    job = Run(cfg, data, a.out, device, a.compile if a.compile is not None else device == "cuda")
    if state is not None:
        job.restore(state)
    count = sum(p.numel() for p in job.params.values())
    say(f"{count:,} parameters, {len(data.train):,} training tokens, {cfg.steps:,} steps on {device}")
    if job.train(a.minutes, 60 * a.checkpoint_minutes, a.log_every):
        measured = finish(job.state(), data, a.out / "novella")
        job.record(**{name: value for name, value in measured.items() if name.startswith("final")})
    else:
        say(f"stopped at step {job.step} of {cfg.steps}; --resume goes on")
    return None


def main(argv: list[str] | None = None) -> int:
    """The command; its exit status."""
    try:
        run(parse(argv))
    except TrainError as problem:
        say(f"train: {problem}")
        return 2
    except OSError as problem:
        say(f"train: {problem.filename}: {problem.strerror}" if problem.filename else f"train: {problem}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
