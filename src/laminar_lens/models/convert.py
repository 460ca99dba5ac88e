"""A HookedTransformer of a Hugging Face model."""

import tempfile
from typing import Any

import torch

from laminar_lens.models.context import set_context
from laminar_lens.models.hooked import HFModel, Hooked
from laminar_lens.texts.tokenization import Tokenizer


def build_hooked(
    hf: HFModel,
    tokenizer: Tokenizer | None,
    hooked: Hooked,
    name: str,
    dtype: torch.dtype,
    *,
    official: tuple[str, str | None] | None = None,
) -> Any:
    """A HookedTransformer with the weights of a Hugging Face model, unprocessed.

    `from_pretrained` refuses local folders, so the steps it consists of are taken one by one. TransformerLens
    knows some architectures by their `official` names alone (given with the revision). Any other
    configuration goes through a folder of its own, as it looks for words like "llama" in the path.
    """
    from transformer_lens import loading_from_pretrained as loading

    device = str(hf.device)
    with tempfile.TemporaryDirectory() as folder:
        if hf.config.model_type == "gpt2":
            hf.config.n_ctx = hf.config.n_positions  # transformers 5 no longer saves it
        hf.config.save_pretrained(folder)
        where, state_of = (folder, {}) if official is None else (official[0], {"revision": official[1]})
        cfg = loading.get_pretrained_model_config(
            where, fold_ln=False, device=device, dtype=dtype, **state_of
        )
        set_context(cfg, hf.config, ("standard",))
        state = loading.get_pretrained_state_dict(where, cfg, hf, dtype=dtype)
    cfg.model_name = name
    if tokenizer is None and official is None:
        cfg.tokenizer_name = None  # it names the folder that is no more
    model = hooked(cfg, tokenizer, move_to_device=False)
    set_context(model.cfg, hf.config)
    # `load_and_process_state_dict` would load one tensor at a time, each through every module: half the time.
    model.load_state_dict(loading.fill_missing_keys(model, state), strict=False)
    if cfg.positional_embedding_type == "alibi":
        # A table that nothing reads, and nothing fills: what lay in memory would be part of the fingerprint.
        torch.nn.init.zeros_(model.pos_embed.W_pos)
    return model.to(device)
