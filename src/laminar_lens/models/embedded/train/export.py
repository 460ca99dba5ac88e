"""The Hugging Face folder of a checkpoint, its held-out loss and samples of its text."""

import json
import math
from pathlib import Path
from typing import Any

from .checkpoint import check_finite
from .config import Config, say
from .corpus import END_OF_TEXT, text_of
from .files import write_whole
from .gpt2 import Params, sample, validation_loss
from .tokens import Data

MAX_WEIGHT_BYTES = 10_000_000


def samples(params: Params, cfg: Config, meta: dict[str, str], bos: int) -> list[str]:
    """A text after <|endoftext|> and one after each prompt."""
    prompts = [[bos], *json.loads(meta["prompts"])]
    tokenizer = json.loads(meta["tokenizer"])
    count = max(1, min(80, cfg.context - max(map(len, prompts))))
    return [text_of(sample(params, cfg, p, count, cfg.seed + i), tokenizer) for i, p in enumerate(prompts)]


def model_config(cfg: Config, vocab: int) -> dict[str, Any]:
    """Hugging Face's config.json, without the ids of special tokens."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": vocab,
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
    }


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
        ("config.json", model_config(cfg, len(vocab)) | ids),
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
