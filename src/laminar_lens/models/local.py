"""Loading from a folder or file of this machine, and comparing TransformerLens with Hugging Face."""

import copy
import tempfile
from typing import Any

import torch

from laminar_lens.errors import ModelError
from laminar_lens.models.causality import note_causal
from laminar_lens.models.context import set_context
from laminar_lens.models.exact import AllFloat64
from laminar_lens.models.faithful import (
    EXACT_RAD,
    SURE_RAD,
    TOLERANCE_RAD,
    WRONG_RAD,
    Distance,
    Reference,
    distance,
    limits,
    make_reference,
    refuse_if_apart,
)
from laminar_lens.models.hooked import HFConfig, HFModel, HookedModel
from laminar_lens.models.memory import available_bytes
from laminar_lens.models.names import EMBEDDED
from laminar_lens.models.originals import Original
from laminar_lens.models.sources import Source
from laminar_lens.texts.tokenization import Tokenizer

SMALL_BYTES = 2**26
"""Weights of a model that is compared in float64 at once, which takes up to four times as much memory for
each of the two."""

_NOT_IN_FLOAT64 = (NotImplementedError, RuntimeError, TypeError)
"""What torch raises where an operation, or a device, has no float64; a mixture of experts is one."""


def load_local(source: Original, hooked: Any, *, dtype: torch.dtype) -> tuple[Any, Source]:
    """The model of a folder or file as a `hooked` (a HookedTransformer class) or, where that is None, as a
    bridge.

    It is compared with Hugging Face's first (see `faithful`): a small one in float64, where right and wrong
    are far apart; a larger one in float32, and in float64 too where that leaves a doubt and memory allows it.

    Raises:
        ModelError: tensors are missing, the model is not causal, or it is not what Hugging Face computes.
    """
    has_bos = source.tokenizer is not None and source.tokenizer.bos_token_id is not None
    adds_bos = _adds_bos(source.tokenizer, source.name)
    tokenizer = source.lensed_tokenizer()
    compared = _Compared(source, hooked)
    hf = compared.in_float64(tokenizer) if source.bytes <= SMALL_BYTES else None
    exact = torch.float64 if dtype is torch.float64 else torch.float32
    model = None
    if hf is None:
        hf, model = compared.in_dtype(exact, tokenizer)
    if model is None or exact is not dtype:
        del model
        model = compared.build(hf, dtype, tokenizer)
    note_causal(model)
    limits = (*source.limits, *compared.limits)
    return model, Source(
        source.name, None, compared.config, has_bos, adds_bos, compared.comparison, limits, source.file
    )


class _Compared:
    """A model that is built one way, in one dtype or another, and held against Hugging Face's.

    Attributes:
        config: Hugging Face's, once it was loaded.
        comparison: how it was compared with Hugging Face.
        limits: what that found or did not reach, in sentences.
    """

    config: Any = None
    comparison = ""
    limits: tuple[str, ...] = ()

    def __init__(self, source: Original, hooked: Any) -> None:
        self._source, self._hooked, self._name = source, hooked, source.name

    def build(self, hf: HFModel, dtype: torch.dtype, tokenizer: Tokenizer | None) -> Any:
        """TransformerLens's model; a bridge holds a Hugging Face model of its own."""
        if self._hooked is None:
            return self._source.bridge(dtype, tokenizer)
        device, name = self._source.device, self._source.short
        return build_hooked(hf.to(dtype), tokenizer, self._hooked, device=device, dtype=dtype, name=name)

    def _hugging_face(self, dtype: torch.dtype) -> Any:
        hf = self._source.hugging_face(dtype)
        self.config = hf.config
        return hf

    def in_float64(self, tokenizer: Tokenizer) -> Any:
        """Hugging Face's model in float64, with which TransformerLens agrees; None where float64 cannot be.

        Raises:
            ModelError: they do not agree.
        """
        try:
            with AllFloat64():
                hf = self._hugging_face(torch.float64)
                reference = make_reference(hf, self._name)
                # Building changes a tokenizer; a HookedTransformer needs none.
                own = copy.deepcopy(tokenizer) if self._hooked is None else None
                model = self.build(hf, torch.float64, own)
                found = distance(model, reference, self._name)
                self._accept(model, reference, found, EXACT_RAD)
        except _NOT_IN_FLOAT64:
            return None
        return hf

    def in_dtype(self, dtype: torch.dtype, tokenizer: Tokenizer) -> tuple[Any, Any]:
        """Hugging Face's model (None for a bridge, which holds its own) and TransformerLens's, compared in
        `dtype`; where rounding leaves a doubt, in float64 if memory holds both once more."""
        hf = self._hugging_face(dtype)
        reference = make_reference(hf, self._name)
        hf = None if self._hooked is None else hf
        model = self.build(hf, dtype, tokenizer)
        found = distance(model, reference, self._name)
        free = available_bytes(self._source.device)
        room = free is not None and 2.5 * 8 * sum(one.numel() for one in model.parameters()) < free
        doubt = room and SURE_RAD < found.rad <= WRONG_RAD
        if not doubt or self.in_float64(tokenizer) is None:
            self._accept(model, reference, found, TOLERANCE_RAD)
        return hf, model

    def _accept(self, model: HookedModel, reference: Reference, found: Distance, most: float) -> None:
        """Takes a model that is at most so many radians apart, with what is to be said of it."""
        on_hooked = self._hooked is not None
        refuse_if_apart(found, most, reference, self._name, on_hooked)
        kind = str(reference.states[0].dtype).removeprefix("torch.")
        self.comparison = f"with Hugging Face, in {kind}, {reference.probe.text.shape[1]} tokens"
        self.limits = limits(model, reference, most, self._name, on_hooked)


def _adds_bos(tokenizer: Tokenizer, name: str) -> tuple[str, str]:
    """What is known of a BOS in training: see `bos_training`. TransformerLens changes a HookedTransformer's
    tokenizer, so it is asked here."""
    if name == EMBEDDED:
        return "rarely", "its model card: 1% of the training windows began with it"
    if tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]:
        return "yes", "the model's own tokenizer puts it before every text"
    return "unknown", "the model's own tokenizer puts no BOS before a text"


def check_decoder(config: HFConfig, name: str) -> None:
    """Refuses a model that writes one text while it reads another in both directions.

    Raises:
        ModelError: names its type.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"model {name!r} is an encoder-decoder ({config.model_type}): give a causal language model"
        )


def build_hooked(
    hf: HFModel,
    tokenizer: Tokenizer | None,
    hooked: Any,
    *,
    device: str,
    dtype: torch.dtype,
    name: str,
) -> Any:
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
    if tokenizer is None:
        cfg.tokenizer_name = None  # it names the folder that is no more
    model = hooked(cfg, tokenizer, move_to_device=False)
    set_context(model.cfg, hf.config)
    # `load_and_process_state_dict` would load one tensor at a time, each through every module: half the time.
    model.load_state_dict(loading.fill_missing_keys(model, state), strict=False)
    clear_unused_positions(model)
    return model.to(device)


def clear_unused_positions(model: HookedModel) -> None:
    """TransformerLens gives a model with ALiBi a table of positions that nothing reads and nothing fills:
    what lay in memory would be part of its fingerprint."""
    if model.cfg.positional_embedding_type == "alibi":
        torch.nn.init.zeros_(model.pos_embed.W_pos)
