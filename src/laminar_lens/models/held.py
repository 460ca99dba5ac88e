"""A model of Hugging Face that is in memory already: a bridge takes its weights without copying them."""

import copy
from typing import Any

import torch
from torch import nn

from laminar_lens.errors import InputError, a_kind
from laminar_lens.models.convert import build_hooked
from laminar_lens.models.forward import check_in_memory
from laminar_lens.models.gguf.tokenizer import with_bos
from laminar_lens.models.hooked import HFModel, Hooked
from laminar_lens.models.originals import bridge_around, check_decoder
from laminar_lens.models.sources import File
from laminar_lens.texts.tokenization import Tokenizer


class HeldOriginal:
    """A model in memory, which stays as it is; see `Original`."""

    file: File | None = None
    limits: tuple[str, ...] = ()
    revision: str | None = None
    exact = False  # its tables of rotary positions were made in the dtype that it has

    def __init__(self, hf: HFModel, tokenizer: Tokenizer | None, *, device: str | None, copied: bool) -> None:
        """With `copied`, the weights are, so that they can be changed.

        Raises:
            InputError: no tokenizer of Hugging Face, or weights that are not in memory.
            ModelError: an encoder-decoder.
        """
        from transformers import PreTrainedTokenizerBase

        self.name = str(hf.config.name_or_path or type(hf).__name__)
        self.short = self.name.rstrip("/").rpartition("/")[2]
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise InputError(
                f"tokenizer is {a_kind(tokenizer)}; give the tokenizer of {self.name!r} with it: "
                "tokenizer=AutoTokenizer.from_pretrained(…)"
            )
        check_in_memory(hf)
        check_decoder(hf.config, self.name)
        self._hf, self._copied = hf, copied
        self.tokenizer = tokenizer
        self.bytes = sum(weight.nbytes for weight in hf.parameters())
        self.device = device or str(hf.device)
        self._moved = device is not None and torch.device(device) != hf.device
        if self._moved and getattr(hf, "hf_device_map", None):
            raise InputError(
                f"device={device!r}: the model is spread over devices already; leave device= out"
            )

    def hugging_face(self, dtype: torch.dtype) -> Any:
        """A model of the same weights, with eager attention; only those of another dtype or device are
        copied."""
        hf = copy.deepcopy(self._hf) if self._copied else sharing(self._hf)
        hf.set_attn_implementation("eager")
        for weight in hf.parameters():
            if weight.is_floating_point() and weight.dtype != dtype:
                weight.data = weight.data.to(dtype)
        return (hf.to(self.device) if self._moved else hf).eval()

    def bridge(self, dtype: torch.dtype, tokenizer: Tokenizer | None) -> Any:
        """A bridge around another model of the same weights."""
        return bridge_around(self.hugging_face(dtype), self.short, tokenizer)

    def convert(self, hf: HFModel, hooked: Hooked, dtype: torch.dtype, tokenizer: Tokenizer | None) -> Any:
        """As a folder's; the weights are copied."""
        return build_hooked(hf, tokenizer, hooked, self.short, dtype)

    def lensed_tokenizer(self) -> Any:
        """A copy that puts a BOS first: TransformerLens would look for its files, and changes it."""
        return with_bos(copy.deepcopy(self.tokenizer))


def sharing(hf: HFModel) -> Any:
    """A model of its own whose parameters lie in the same memory: hooks on one, or moving it, leave the other
    as it was."""
    memo: dict[int, Any] = {id(one): one for one in hf.buffers()}
    for weight in hf.parameters():
        plain = type(weight) is nn.Parameter
        memo[id(weight)] = nn.Parameter(weight.detach(), weight.requires_grad) if plain else weight
    return copy.deepcopy(hf, memo)
