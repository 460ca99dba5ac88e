"""The same architecture with fresh random weights: the curve to show beside every trained one."""

import copy
from typing import Any

import torch

from laminar_lens.arguments import checked
from laminar_lens.errors import ModelError
from laminar_lens.models.causality import note_alike
from laminar_lens.models.convert import build_hooked
from laminar_lens.models.forward import check_model
from laminar_lens.models.hooked import HFConfig, HookedModel
from laminar_lens.models.info import describe_name
from laminar_lens.models.quiet import quiet
from laminar_lens.models.sources import SOURCES, Source
from laminar_lens.stats.streams import stream


@checked()
def random_twin(model: HookedModel, *, seed: int = 0) -> Any:
    """A model of the same class, architecture, tokenizer, device and dtype, with random weights.

    The weights are drawn as the architecture's authors initialise them (Hugging Face's initialisation), where
    the Hugging Face configuration is known; otherwise TransformerLens's. The global random state is
    untouched.

    Raises:
        ModelError: the architecture cannot be built from its configuration.
    """
    check_model(model)
    original = getattr(model, "original_model", None)
    source = SOURCES.get(model)
    config = original.config if original is not None else source.hf_config if source else None
    devices = [torch.device(model.cfg.device)] if torch.device(model.cfg.device).type == "cuda" else []
    name = f"{describe_name(model)} (random weights, seed {seed})"
    with quiet(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(stream(seed, "random weights").integers(2**63 - 1)))
        try:
            if original is not None:
                twin = _bridge_twin(model, config)
            elif config is not None:
                twin = _hooked_twin(model, config)
            else:
                twin = _bare_twin(model)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(
                f"no random twin of {describe_name(model)}: {type(error).__name__}: {reason}"
            ) from error
    twin.eval()
    note_alike(model, twin)
    untrained = ("no", "its weights are random")
    SOURCES[twin] = Source(name, None, config, source.has_bos if source else None, untrained)
    return twin


def _random_hf(config: HFConfig, dtype: torch.dtype) -> Any:
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(config)
    return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="eager").eval()


def _bridge_twin(model: HookedModel, config: HFConfig) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    dtype, device = next(model.parameters()).dtype, str(model.cfg.device)
    hf = _random_hf(config, dtype).to(device)
    return TransformerBridge.boot_transformers(
        str(model.cfg.model_name), hf_model=hf, tokenizer=model.tokenizer, device=device, dtype=dtype
    )


def _hooked_twin(model: HookedModel, config: HFConfig) -> Any:
    dtype = next(model.parameters()).dtype
    hf = _random_hf(config, dtype).to(model.cfg.device)
    return build_hooked(hf, model.tokenizer, type(model), str(model.cfg.model_name), dtype)


def _bare_twin(model: HookedModel) -> Any:
    """A model that the user built: TransformerLens's own initialisation, unprocessed norms."""
    cfg = copy.deepcopy(model.cfg)
    cfg.init_weights, cfg.seed = True, None
    cfg.normalization_type = {"LNPre": "LN", "RMSPre": "RMS"}.get(
        cfg.normalization_type, cfg.normalization_type
    )
    kind: Any = type(model)
    twin = kind(cfg, tokenizer=model.tokenizer, move_to_device=False)
    return twin.to(cfg.device)
