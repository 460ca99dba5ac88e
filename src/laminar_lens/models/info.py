"""What a model is: size, positions, BOS, and whether its weights were processed so that angles turn."""

import dataclasses
import hashlib
import json
import warnings
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor

from laminar_lens.errors import CaptureError, InputError
from laminar_lens.models.context import context_length
from laminar_lens.models.fingerprint import fingerprint
from laminar_lens.models.forward import check_model
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.names import without_path
from laminar_lens.models.sources import SOURCES

_WARNED: "WeakSet[Any]" = WeakSet()

_POSITIONS = {"standard": "absolute", "learned": "absolute", "absolute": "absolute"}
_FOLDED = {"LNPre", "RMSPre"}


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """A model in words and numbers, as results record it.

    `path` is where it was loaded from, if `load_model` was asked to keep that.
    `file`, `file_sha256` and `quantisation` are of a model that was read from one file of quantised weights:
    the numbers are of these weights, dequantised.
    """

    name: str
    revision: str | None
    checkpoint: str | None
    n_layers: int
    d_model: int
    n_ctx: int
    vocab_size: int
    generation: str
    weight_processing: str
    device: str
    dtype: str
    positions: str
    bos_token_id: int | None
    weights_sha256: str
    special_tokens: dict[str, Any]
    tokenizer_sha256: str | None
    compared: str | None
    file: str | None = None
    file_sha256: str | None = None
    quantisation: str | None = None
    path: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON-safe values; `path` only where it is kept."""
        found = dataclasses.asdict(self)
        return found if self.path else {name: value for name, value in found.items() if name != "path"}


def describe(model: HookedModel) -> ModelInfo:
    """What is known of any TransformerLens model, loaded here or built by the user.

    Raises:
        InputError: not a TransformerLens model.
    """
    check_model(model)
    cfg = model.cfg
    source = SOURCES.get(model)
    positions = str(getattr(cfg, "positional_embedding_type", None) or "unknown")
    file = source.file if source else None
    return ModelInfo(
        name=describe_name(model, "unnamed"),
        revision=source.revision if source else None,
        checkpoint=checkpoint(model),
        n_layers=int(cfg.n_layers),
        d_model=int(cfg.d_model),
        n_ctx=context_length(model),
        vocab_size=int(cfg.d_vocab),
        generation="TransformerBridge" if hasattr(model, "original_model") else "HookedTransformer",
        weight_processing=weight_processing(model),
        device=", ".join(dict.fromkeys(str(one.device) for one in model.parameters())),
        dtype=str(next(model.parameters()).dtype).removeprefix("torch."),
        positions=_POSITIONS.get(positions, positions),
        bos_token_id=bos_token_id(model),
        weights_sha256=fingerprint(model),
        special_tokens=special_tokens(model),
        tokenizer_sha256=tokenizer_sha256(model),
        compared=source.compared if source else None,
        file=file.name if file else None,
        file_sha256=file.sha256 if file else None,
        quantisation=file.quantisation if file else None,
        path=source.path if source else None,
    )


def tokenizer_sha256(model: HookedModel) -> str | None:
    """Of the tokenizer's vocabulary, tokens with their ids; None without one. Where two are equal, the same
    ids are the same tokens."""
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        return None
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(vocabulary.encode()).hexdigest()


def special_tokens(model: HookedModel) -> dict[str, Any]:
    """Ids of the tokenizer's special tokens by role (bos, eos, pad, unk, sep, cls) and its `padding_side`, as
    far as it has them; empty without a tokenizer.

    TransformerLens gives a tokenizer without a pad token its EOS for it, and `to_tokens` pads with that.
    """
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        return {}
    found: dict[str, Any] = {"bos": bos_token_id(model)}
    for role in ("eos", "pad", "unk", "sep", "cls"):
        found[role] = getattr(tokenizer, f"{role}_token_id", None)
    ids = {role: token for role, token in found.items() if isinstance(token, int)}
    side = getattr(tokenizer, "padding_side", None)
    return ids | ({"padding_side": side} if isinstance(side, str) else {})


def bos_token_id(model: HookedModel) -> int | None:
    """The model's own BOS token, or None.

    TransformerLens gives a tokenizer without a BOS its EOS in that place; that one is not counted. A
    tokenizer whose BOS and EOS are the same token, as GPT-2's, has one. One that the model has no embedding
    of is not counted either.
    """
    tokenizer = getattr(model, "tokenizer", None)
    source = SOURCES.get(model)
    if tokenizer is None or tokenizer.bos_token_id is None or (source and source.has_bos is False):
        return None
    if tokenizer.bos_token_id == tokenizer.eos_token_id and (source is None or source.has_bos is None):
        own = getattr(tokenizer, "init_kwargs", {})
        if "bos_token" not in own or own["bos_token"] is None:
            return None
    token = int(tokenizer.bos_token_id)
    return token if token < int(model.cfg.d_vocab) else None


def bos_training(model: HookedModel) -> tuple[str, str]:
    """Whether a model was trained with its BOS before texts, as far as its files tell: "yes", "rarely", "no"
    or "unknown", and why.

    A tokenizer that TransformerLens loaded always puts a BOS there, so that it tells nothing; what a local
    folder's own tokenizer does was noted when it was loaded.
    """
    source = SOURCES.get(model)
    if source is not None and source.adds_bos is not None:
        return source.adds_bos
    if getattr(model.cfg, "default_prepend_bos", None) is False:
        return "no", "TransformerLens counts this architecture among those trained without one"
    return "unknown", "nothing in the model's files says so"


def weight_processing(model: HookedModel) -> str:
    """What TransformerLens's processing did to the weights: "none", "folded", "centred" or "folded, centred".

    Centring leaves no mark in the configuration: it is read from the embedding, each row of which then has
    mean 0 (√d·‖row means‖/‖W_E‖ is about 2·10⁻² in raw weights and 10⁻⁸ in centred ones).
    """
    cfg = model.cfg
    folded = getattr(cfg, "normalization_type", None) in _FOLDED
    touched = bool(getattr(model, "_weights_processed", False))
    if touched and not folded:
        folded = _is_identity(getattr(model, "ln_final", None))
    names = [name for name, found in (("folded", folded), ("centred", _is_centred(model))) if found]
    return ", ".join(names) or ("processed" if touched else "none")


def norm_is_folded(model: HookedModel) -> bool:
    """Whether `ln_final` lacks its scale and shift, because processing moved them into the unembedding."""
    return "folded" in weight_processing(model) or "processed" in weight_processing(model)


def check_final_norm(model: HookedModel) -> None:
    """Refuses to measure after the final norm where there is none, or only a part of it.

    Raises:
        InputError: says which.
    """
    if not hasattr(model, "ln_final"):
        raise InputError("final_norm=True, but this model has no final norm")
    if norm_is_folded(model):
        raise InputError(
            "final_norm=True, but the final norm's scale and shift were folded into the unembedding; "
            "load the model without weight processing"
        )


def processing_note(model: HookedModel) -> str:
    """One sentence on what the model's weight processing does to the measurement; empty for unprocessed
    weights."""
    processing = weight_processing(model)
    if processing == "none":
        return ""
    effect = (
        "centring removes the mean of every residual vector, which turns angles between tokens (by degrees, "
        "even in a random model)"
        if "centred" in processing
        else "folding keeps the residual angles, but the final norm is not possible"
    )
    return (
        f"The weights of {describe_name(model)} were processed by TransformerLens ({processing}): {effect}; "
        "load the model without processing, as laminar_lens.load_model does, to measure the model itself"
    )


def warn_if_processed(model: HookedModel) -> None:
    """Warns once for each model object whose weights were processed."""
    if model not in _WARNED and (note := processing_note(model)):
        _WARNED.add(model)
        warnings.warn(note, UserWarning, stacklevel=6)


def describe_name(model: HookedModel, otherwise: str = "the model") -> str:
    """The model's name, with the checkpoint that it is, without a path; `otherwise` where it has none."""
    source = SOURCES.get(model)
    if source is not None:
        return source.name
    name, step = without_path(str(getattr(model.cfg, "model_name", None) or otherwise)), checkpoint(model)
    return f"{name} ({step})" if step else name


def checkpoint(model: HookedModel) -> str | None:
    """At which point of its training a model was saved, as its configuration says: "step 1000"; None for the
    end, or where nothing says it."""
    value = getattr(model.cfg, "checkpoint_value", None)
    if value is not None:
        return f"{getattr(model.cfg, 'checkpoint_label_type', None) or 'checkpoint'} {value}"
    index = getattr(model.cfg, "checkpoint_index", None)
    return None if index is None else f"checkpoint number {index}"


def check_same_weights(model: HookedModel, before: object) -> None:
    """Refuses numbers of a model whose weights are no longer those that they are said to be of.

    Raises:
        CaptureError: another fingerprint than `before`.
    """
    if before != (after := fingerprint(model)):
        raise CaptureError(
            f"the weights of {describe_name(model)} changed while they were measured (fingerprint "
            f"{str(before)[:12]}… before, {after[:12]}… after), so the numbers are of no one model: measure "
            "again without changing it"
        )


def _embedding(model: HookedModel) -> Tensor | None:
    try:
        weights = model.W_E
    except AttributeError:
        return None
    return weights.detach() if isinstance(weights, Tensor) else None


def _is_centred(model: HookedModel) -> bool:
    weights = _embedding(model)
    if weights is None or weights.ndim != 2 or weights.shape[-1] < 2:
        return False
    threshold = 1e-5 if weights.dtype in (torch.float32, torch.float64) else 1e-3
    rows = weights[:4096].double()
    norm = rows.norm()
    if not torch.isfinite(norm) or norm == 0:
        return False
    return bool(rows.shape[-1] ** 0.5 * rows.mean(-1).norm() / norm < threshold)


def _is_identity(norm: object) -> bool:
    weight = getattr(norm, "weight", None)
    bias = getattr(norm, "bias", None)
    if not isinstance(weight, Tensor):
        return True
    shift = bias if isinstance(bias, Tensor) else torch.zeros_like(weight)
    return bool((weight == 1).all() and (shift == 0).all())
