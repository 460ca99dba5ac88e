"""Small .gguf files, written with the package `gguf` from a Hugging Face folder: the same model, so that the
folder's own forward pass is what a file must compute.

The changes that llama.cpp makes to tensors are written here on their own; nothing of the package under test
or of Hugging Face's reader is used.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

LLAMA = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "model.layers": "blk",
}
GPT2 = {
    "wte.weight": "token_embd.weight",
    "wpe.weight": "position_embd.weight",
    "ln_f": "output_norm",
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
    "transformer.": "",
    "h.": "blk.",
}
NORMAL, CONTROL = 1, 3


def write_gguf(
    folder: Path,
    file: Path,
    *,
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
    keys: Mapping[str, Any] | None = None,
    tensors: Mapping[str, np.ndarray | None] | None = None,
    tokens: int = 0,
    architecture: str | None = None,
) -> Path:
    """The model of a folder (Llama or GPT-2) as a .gguf file.

    Args:
        folder: Hugging Face's.
        file: to be written.
        kind: of the matrices; vectors stay float32.
        keys: values that replace or join those of the header; None leaves one out.
        tensors: the same for tensors.
        tokens: that are added to the tokenizer beyond the vocabulary.
        architecture: said instead of the true one.
    """
    config = json.loads((folder / "config.json").read_text())
    true = config["model_type"]
    writer = GGUFWriter(file, architecture or true)
    for key, value in (model_keys(config) | tokenizer_keys(folder, tokens) | dict(keys or {})).items():
        if value is not None:
            add(writer, key.replace("ARCH", architecture or true), value)
    for name, values in (model_tensors(folder, config) | dict(tensors or {})).items():
        if values is None:
            continue
        if values.ndim > 1 and kind is not GGMLQuantizationType.F32:
            writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def add(writer: GGUFWriter, key: str, value: Any) -> None:
    """A value of the header, of the type that llama.cpp gives it."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def model_keys(config: dict[str, Any]) -> dict[str, Any]:
    """What the header says of the model."""
    if config["model_type"] == "gpt2":
        return {
            "ARCH.block_count": config["n_layer"],
            "ARCH.context_length": config["n_positions"],
            "ARCH.embedding_length": config["n_embd"],
            "ARCH.feed_forward_length": 4 * config["n_embd"],
            "ARCH.attention.head_count": config["n_head"],
            "ARCH.attention.layer_norm_epsilon": config["layer_norm_epsilon"],
        }
    heads = config["num_attention_heads"]
    return {
        "ARCH.block_count": config["num_hidden_layers"],
        "ARCH.context_length": config["max_position_embeddings"],
        "ARCH.embedding_length": config["hidden_size"],
        "ARCH.feed_forward_length": config["intermediate_size"],
        "ARCH.attention.head_count": heads,
        "ARCH.attention.head_count_kv": config["num_key_value_heads"],
        "ARCH.attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        "ARCH.rope.freq_base": float(config["rope_parameters"]["rope_theta"]),
        "ARCH.rope.dimension_count": config["hidden_size"] // heads,
        "ARCH.vocab_size": config["vocab_size"],
    }


def tokenizer_keys(folder: Path, more: int) -> dict[str, Any]:
    """What the header says of the tokenizer."""
    content = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = sorted(content["model"]["vocab"].items(), key=lambda item: item[1])
    tokens = [token for token, _ in vocabulary] + [f"more{index}" for index in range(more)]
    special = {token["id"] for token in content["added_tokens"]}
    types = [CONTROL if index in special else NORMAL for index in range(len(tokens))]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": [" ".join(pair) for pair in content["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
    }


def model_tensors(folder: Path, config: dict[str, Any]) -> dict[str, np.ndarray]:
    """The folder's tensors under llama.cpp's names, laid out as it lays them out."""
    from safetensors.numpy import load_file

    gpt2 = config["model_type"] == "gpt2"
    found = {}
    for name, values in load_file(folder / "model.safetensors").items():
        if gpt2 and values.ndim == 2 and "c_" in name:
            values = values.T
        elif name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
            values = interleaved(values, heads)
        for theirs, ours in (GPT2 if gpt2 else LLAMA).items():
            name = name.replace(theirs, ours)
        found[name] = np.ascontiguousarray(values, dtype=np.float32)
    return found


def interleaved(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head in the order in which llama.cpp turns them: pairs of neighbours, not of halves."""
    rows = values.shape[0] // heads
    order = np.arange(rows).reshape(2, rows // 2).T.reshape(-1)
    return values.reshape(heads, rows, -1)[:, order].reshape(values.shape)
