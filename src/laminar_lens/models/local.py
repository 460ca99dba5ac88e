"""Making TransformerLens's model of an original, and comparing it with Hugging Face's."""

import copy
from collections.abc import Callable
from typing import Any

import torch

from laminar_lens.models.causality import note_causal
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
from laminar_lens.models.hooked import HFModel, Hooked, HookedModel
from laminar_lens.models.memory import available_bytes
from laminar_lens.models.names import EMBEDDED, without_path
from laminar_lens.models.originals import Original
from laminar_lens.models.sources import Source
from laminar_lens.texts.tokenization import Tokenizer

SMALL_BYTES = 2**26
"""Weights of a model that is compared in float64 at once, which takes up to four times as much memory for
each of the two."""

_NOT_IN_FLOAT64 = (NotImplementedError, RuntimeError, TypeError)
"""What torch raises where an operation, or a device, has no float64; a mixture of experts is one."""


def load_original(
    source: Original,
    hooked: Hooked | None,
    *,
    dtype: torch.dtype,
    check: bool,
    step: Callable[[], None] = lambda: None,
) -> tuple[Any, Source]:
    """A model as a `hooked` (a HookedTransformer class) or, where that is None, as a bridge; `step` is called
    when weights were read and when a model was built.

    With `check` it is compared with Hugging Face's first (see `faithful`): a small one in float64, where
    right and wrong are far apart; a larger one in float32, and in float64 too where that leaves a doubt and
    memory allows it.

    Raises:
        ModelError: tensors are missing, the model is not causal, or it is not what Hugging Face computes.
    """
    own = source.tokenizer
    has_bos = None if own is None else own.bos_token_id is not None
    adds_bos = None if own is None else _adds_bos(own, source.name)
    tokenizer = source.lensed_tokenizer()
    compared = _Compared(source, hooked, step)
    model = compared.model(dtype, tokenizer) if check else compared.build(None, dtype, tokenizer)
    if check:
        note_causal(model)
    config = compared.config or model.original_model.config
    return model, Source(
        without_path(source.name),
        source.revision,
        config,
        has_bos,
        adds_bos,
        compared.comparison or None,
        (*source.limits, *compared.limits),
        source.file,
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

    def __init__(self, source: Original, hooked: Hooked | None, step: Callable[[], None]) -> None:
        self._source, self._hooked, self._name, self._step = source, hooked, source.name, step

    def model(self, dtype: torch.dtype, tokenizer: Tokenizer) -> Any:
        """TransformerLens's model, once it was compared."""
        small = self._source.exact and self._source.bytes <= SMALL_BYTES
        hf = self.in_float64(tokenizer) if small else None
        exact = torch.float64 if dtype is torch.float64 else torch.float32
        model = None
        if hf is None:
            hf, model = self.in_dtype(exact, tokenizer)
        if model is None or exact is not dtype:
            del model
            model = self.build(hf, dtype, tokenizer)
        return model

    def build(self, hf: HFModel, dtype: torch.dtype, tokenizer: Tokenizer | None) -> Any:
        """TransformerLens's model of Hugging Face's, which is loaded where it is None; a bridge holds one of
        its own."""
        if self._hooked is None:
            made = self._source.bridge(dtype, tokenizer)
        else:
            hf = self._hugging_face(dtype) if hf is None else hf.to(dtype)
            made = self._source.convert(hf, self._hooked, dtype, tokenizer)
        self._step()
        return made

    def _hugging_face(self, dtype: torch.dtype) -> Any:
        hf = self._source.hugging_face(dtype)
        self.config = hf.config
        self._step()
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
        doubt = self._source.exact and room and SURE_RAD < found.rad <= WRONG_RAD
        if not doubt or self.in_float64(tokenizer) is None:
            self._accept(model, reference, found, TOLERANCE_RAD)
        return hf, model

    def _accept(self, model: HookedModel, reference: Reference, found: Distance, most: float) -> None:
        """Takes a model that is at most so many radians apart, with what is to be said of it."""
        on_hooked = self._hooked is not None
        refuse_if_apart(found, most, reference, self._name, on_hooked)
        kind = str(reference.states[0].dtype).removeprefix("torch.")
        self.comparison = f"with Hugging Face, in {kind}, {reference.probe.text.shape[1]} tokens"
        self.limits = limits(model, reference, most, without_path(self._name), on_hooked)


def _adds_bos(tokenizer: Tokenizer, name: str) -> tuple[str, str]:
    """What is known of a BOS in training: see `bos_training`. TransformerLens changes a HookedTransformer's
    tokenizer, so it is asked here."""
    if name == EMBEDDED:
        return "rarely", "its model card: 1% of the training windows began with it"
    if tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]:
        return "yes", "the model's own tokenizer puts it before every text"
    return "unknown", "the model's own tokenizer puts no BOS before a text"
