"""load_model: the embedded model, TransformerLens names and local folders, on both generations."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from laminar_lens.arguments import checked, shown
from laminar_lens.errors import InputError, LaminarLensError, ModelError, is_failure
from laminar_lens.models import local, names
from laminar_lens.models.causality import check_causal
from laminar_lens.models.context import set_context
from laminar_lens.models.devices import device_name
from laminar_lens.models.info import SOURCES, Source
from laminar_lens.models.quiet import quiet

_DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


@checked()
def load_model(
    name_or_path: Any = names.EMBEDDED,
    *,
    device: Any = "cpu",
    dtype: Any = torch.float32,
    bridge: bool | None = None,
    trust_remote_code: bool = False,
    processed: bool = False,
) -> Any:
    """A TransformerLens model whose residual stream is the original's: weights are not processed.

    A local folder also runs through Hugging Face once, on texts that reach beyond its windows and the context
    before its rotary scaling, and fill its context where that is cheap; in float64 where the model is small.
    TransformerLens's converters ignore some fields of a configuration silently, and a model that differs is
    refused. So is one that is not causal, wherever it comes from.

    Args:
        name_or_path: "novella" (embedded, offline), a TransformerLens or Hub name, or a Hugging Face folder.
        device: "cpu", "cuda", "cuda:1", …
        dtype: a torch dtype or its name: float32, float64, bfloat16, float16.
        bridge: True for a TransformerBridge, False for a HookedTransformer; by default a HookedTransformer
            where TransformerLens still has it (3.x), otherwise the bridge.
        trust_remote_code: run Python code that comes with the weights. Never done unless asked for.
        processed: apply TransformerLens's default processing (LayerNorm folded, writing weights centred).
            This turns angles by degrees; it is recorded, and captures and studies warn.

    Raises:
        ModelError: unknown name (with near matches), missing or half-written weights, a model that
            TransformerLens cannot load faithfully, or an encoder.
        InputError: a device or dtype that is not there.

    Warns:
        UserWarning: a window or a scaling begins beyond the texts that could be compared, or the model gives
            other states for padded texts.
    """
    names.check_name(name_or_path)
    target = device_name(device)
    kind = _dtype(dtype)
    folder = names.local_folder(name_or_path)
    hooked = _hooked_transformer(bridge)
    with quiet(), torch.random.fork_rng(), _one_line(name_or_path, hooked is not None):
        if folder is not None:
            model, source = local.load_folder(
                folder, hooked, device=target, dtype=kind, trust_remote_code=trust_remote_code
            )
        else:
            model, source = _load_named(str(name_or_path), hooked, target, kind, trust_remote_code)
        check_causal(model, source.name)
        if processed:
            process(model)
    model.eval()
    SOURCES[model] = source
    for limit in source.limits:
        warnings.warn(limit, UserWarning, stacklevel=2)
    return model


def process(model: Any) -> None:
    """TransformerLens's default processing, in place."""
    if hasattr(model, "process_weights_"):
        model.process_weights_()
    else:
        model.enable_compatibility_mode(disable_warnings=True)


def _load_named(name: str, hooked: Any, device: str, dtype: torch.dtype, trust: bool) -> tuple[Any, Source]:
    """A model of the Hub or of its local cache."""
    official = names.official_name(name)
    if hooked is None:
        from transformer_lens.model_bridge import TransformerBridge

        model = TransformerBridge.boot_transformers(
            official or name, device=device, dtype=dtype, trust_remote_code=trust
        )
        config = model.original_model.config
        local.check_decoder(config, name)
        return model, Source(name, getattr(config, "_commit_hash", None), config)
    from transformer_lens import loading_from_pretrained as loading

    if official is None:
        raise ModelError(
            f"model {name!r} is not one that HookedTransformer knows{names.suggestion(name)}; "
            "bridge=True loads any Hub model that the bridge supports"
        )
    if official.startswith(loading.NEED_REMOTE_CODE_MODELS) and not trust:
        raise ModelError(
            f"model {name!r} runs Python code that comes with it: allow it with trust_remote_code=True"
        )
    extra = {"trust_remote_code": True} if trust else {}
    model = hooked.from_pretrained_no_processing(official, device=device, dtype=dtype, **extra)
    config = _hub_config(official)
    set_context(model.cfg, config)
    local.clear_unused_positions(model)
    return model, Source(name, getattr(config, "_commit_hash", None), config)


def _hub_config(official: str) -> Any:
    """The Hugging Face configuration that the weights came with, from the local cache, if it is there."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(official, local_files_only=True)
    except (OSError, ValueError):
        return None


def _hooked_transformer(bridge: bool | None) -> Any:
    """The HookedTransformer class, or None where the bridge is to be used."""
    if bridge:
        return None
    with quiet():
        try:
            from transformer_lens import HookedTransformer
        except ImportError:
            if bridge is None:
                return None
            raise ModelError(
                "bridge=False asks for HookedTransformer, which transformer-lens 4 no longer has: "
                "use the bridge or install transformer-lens<4"
            ) from None
    return HookedTransformer


def _dtype(dtype: Any) -> torch.dtype:
    kind = _DTYPES.get(dtype.removeprefix("torch.")) if isinstance(dtype, str) else dtype
    if not any(kind is known for known in _DTYPES.values()):
        raise InputError(f"dtype {shown(dtype)} is unknown; expected one of {', '.join(_DTYPES)}")
    return torch.float32 if kind is None else kind


@contextlib.contextmanager
def _one_line(name: Any, on_hooked: bool) -> Iterator[None]:
    """Whatever a library says while loading becomes one line of ours."""
    try:
        yield
    except LaminarLensError:
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        if "trust_remote_code" in reason:
            raise ModelError(
                f"model {str(name)!r} runs Python code that comes with it: "
                "allow it with trust_remote_code=True"
            ) from error
        if "ignore_mismatched_sizes" in reason:
            raise ModelError(
                f"model {str(name)!r}: tensors of the weights have other sizes than config.json gives them "
                "(heads, inner sizes): config.json and the weights must be of one model"
            ) from error
        if isinstance(error, OSError) and not Path(str(name)).is_dir():
            hint = "" if names.official_name(str(name)) else names.suggestion(str(name))
            raise ModelError(
                f"model {str(name)!r} is not in the local Hugging Face cache and could not be downloaded"
                f"{hint} ({reason.partition('. ')[0][:160]}); give a folder with a model, or 'novella', "
                "which comes with this package"
            ) from error
        if "HookedEncoder" in reason:  # how TransformerLens refuses BERT and T5 by their names
            raise ModelError(f"model {str(name)!r} is not a causal language model: {reason[:160]}") from error
        retry = (
            "; bridge=True may know this architecture" if on_hooked and isinstance(error, Exception) else ""
        )
        raise ModelError(
            f"model {str(name)!r} could not be loaded: {type(error).__name__}: {reason[:240]}{retry}"
        ) from error
