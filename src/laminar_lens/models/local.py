"""Loading a local Hugging Face folder, and checking that TransformerLens computes what Hugging Face does."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from laminar_lens.errors import ModelError
from laminar_lens.models.forward import residual_states
from laminar_lens.models.info import Source
from laminar_lens.models.names import EMBEDDED, NOVELLA

TOLERANCE_RAD = 2e-5
CHECKED_TOKENS = 16
_EXACT = (torch.float32, torch.float64)


def load_folder(
    folder: Path, hooked: Any, *, device: str, dtype: torch.dtype, trust_remote_code: bool = False
) -> tuple[Any, Source]:
    """The model in a folder as a `hooked` (a HookedTransformer class) or, where that is None, as a bridge.

    Raises:
        ModelError: tensors are missing, or the model is more than TOLERANCE_RAD away from Hugging Face's.
    """
    from transformers import AutoTokenizer

    name = EMBEDDED if folder == NOVELLA else str(folder)
    exact = dtype if dtype in _EXACT else torch.float32
    hf = load_hf(folder, device=device, dtype=exact, trust_remote_code=trust_remote_code)
    tokenizer = _tokenizer(AutoTokenizer, folder, trust_remote_code)
    has_bos = tokenizer is not None and tokenizer.bos_token_id is not None
    adds_bos = _adds_bos(tokenizer, name)
    tokens, expected = _reference(hf)
    config = hf.config

    if hooked is None:
        del hf  # the bridge reads the folder itself

    def build(kind: torch.dtype, source: Any) -> Any:
        if hooked is None:
            return _build_bridge(folder, tokenizer, device, kind, trust_remote_code)
        return build_hooked(source, tokenizer, hooked, device=device, dtype=kind, name=_short(folder))

    model = build(exact, None if hooked is None else hf)
    _refuse_if_apart(model, tokens, expected, name, on_hooked=hooked is not None)
    if dtype is not exact:
        del model
        source = (
            load_hf(folder, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
            if hooked
            else None
        )
        model = build(dtype, source)
    return model, Source(name, None, config, has_bos, adds_bos)


def _adds_bos(tokenizer: Any, name: str) -> tuple[str, str]:
    """What is known of a BOS in training: see `bos_training`. TransformerLens changes a HookedTransformer's
    tokenizer, so it is asked here."""
    if name == EMBEDDED:
        return "rarely", "its model card: 1% of the training windows began with it"
    if tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]:
        return "yes", "the model's own tokenizer puts it before every text"
    return "unknown", "the model's own tokenizer puts no BOS before a text"


def load_hf(folder: Path, *, device: str, dtype: torch.dtype, trust_remote_code: bool = False) -> Any:
    """The Hugging Face model of a folder, with eager attention, as hooks need it.

    Raises:
        ModelError: the weights do not hold every tensor of the model (Hugging Face would fill in random
            ones).
    """
    from transformers import AutoModelForCausalLM

    hf, report = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        local_files_only=True,
        attn_implementation="eager",
        trust_remote_code=trust_remote_code,
        output_loading_info=True,
    )
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"model folder {str(folder)!r}: the weights lack {len(missing)} of the model's tensors, "
            f"first {missing[0]!r}"
        )
    return hf.to(device).eval()


def build_hooked(hf: Any, tokenizer: Any, hooked: Any, *, device: str, dtype: torch.dtype, name: str) -> Any:
    """A HookedTransformer with the weights of a Hugging Face model, unprocessed.

    `from_pretrained` refuses local folders, so the steps it consists of are taken one by one. The
    configuration goes through a folder of its own because TransformerLens looks for words like "llama" in the
    path.
    """
    from transformer_lens import loading_from_pretrained as loading

    with tempfile.TemporaryDirectory() as folder:
        if hf.config.model_type == "gpt2":
            hf.config.n_ctx = hf.config.n_positions  # transformers 5 no longer saves it
        hf.config.save_pretrained(folder)
        cfg = loading.get_pretrained_model_config(folder, fold_ln=False, device=device, dtype=dtype)
        state = loading.get_pretrained_state_dict(folder, cfg, hf, dtype=dtype)
    cfg.model_name = name
    model = hooked(cfg, tokenizer, move_to_device=False)
    model.load_and_process_state_dict(
        state, fold_ln=False, center_writing_weights=False, center_unembed=False, fold_value_biases=False
    )
    return model.to(device)


def _build_bridge(
    folder: Path, tokenizer: Any, device: str, dtype: torch.dtype, trust_remote_code: bool
) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_transformers(
        str(folder), device=device, dtype=dtype, tokenizer=tokenizer, trust_remote_code=trust_remote_code
    )


def _tokenizer(loader: Any, folder: Path, trust_remote_code: bool) -> Any:
    if not any(
        (folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json", "vocab.json")
    ):
        raise ModelError(f"model folder {str(folder)!r} has no tokenizer (tokenizer.json is missing)")
    return loader.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)


def _reference(hf: Any) -> tuple[Tensor, list[Tensor]]:
    """Sixteen fixed tokens and Hugging Face's hidden states for them."""
    vocab, context = (
        hf.config.vocab_size,
        getattr(hf.config, "max_position_embeddings", None) or CHECKED_TOKENS,
    )
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, vocab, (1, min(CHECKED_TOKENS, context)), generator=generator).to(hf.device)
    with torch.no_grad():
        output = hf(tokens, output_hidden_states=True, use_cache=False)
    return tokens, list(output.hidden_states)


def _refuse_if_apart(
    model: Any, tokens: Tensor, expected: list[Tensor], name: str, *, on_hooked: bool
) -> None:
    layers = range(int(model.cfg.n_layers) + 1)
    if len(expected) != len(layers):
        raise ModelError(
            f"model {name!r}: TransformerLens counts {len(layers)} hidden states, "
            f"Hugging Face {len(expected)}"
        )
    for layer, theirs in enumerate(expected):
        if not torch.isfinite(theirs).all():
            raise ModelError(
                f"model {name!r}: hidden state {layer} is not finite (NaN or infinity) in Hugging Face too: "
                "check the weights"
            )
    # Hugging Face's last hidden state is after the final norm.
    states = residual_states(model, tokens, layers, final_norm=True)
    apart = [_largest_angle(ours, theirs) for ours, theirs in zip(states, expected, strict=True)]
    worst = max(range(len(apart)), key=lambda layer: apart[layer])
    if not apart[worst] <= TOLERANCE_RAD:
        remedy = (
            "load it with bridge=True" if on_hooked else "it cannot be measured with this TransformerLens"
        )
        raise ModelError(
            f"model {name!r}: TransformerLens does not compute what Hugging Face does, hidden state {worst} "
            f"is {apart[worst]:.1e} rad apart (at most {TOLERANCE_RAD:.0e}); {remedy}"
        )


def _largest_angle(u: Tensor, v: Tensor) -> float:
    """Largest angle between corresponding vectors, in radians (Kahan's form); inf where it is undefined."""
    u, v = (torch.nn.functional.normalize(x.double(), dim=-1) for x in (u, v.to(u.device)))
    angle = 2 * torch.atan2((u - v).norm(dim=-1), (u + v).norm(dim=-1))
    return float(angle.nan_to_num(nan=torch.inf).max())


def _short(folder: Path) -> str:
    return folder.resolve().name
