"""The weights of a .gguf file, dequantised, as a model of Hugging Face in any dtype."""

import contextlib
import copy
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from laminar_lens.errors import ModelError
from laminar_lens.models.gguf import alone
from laminar_lens.models.gguf.header import Header
from laminar_lens.models.hooked import HFModel

_UNREAD = frozenset({"output.weight"})
"""Tensors that may go unread: the unembedding stands a second time where it is the embedding."""

_READ_ALIKE = {
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
}
"""Keys that change what is computed, and that Hugging Face reads of some architectures only: what it takes
otherwise must be the same."""


class Weights:
    """What was read from a file once: from it, a model is made in any dtype without reading again.

    Attributes:
        config: Hugging Face's, of an ordinary model: it can be saved, and built again.
    """

    def __init__(self, file: Path, header: Header, name: str) -> None:
        """Reads a checked file; `name` is for messages.

        Raises:
            ModelError: no causal language model, tensors are missing, or Hugging Face would leave out a part
                of the file.
        """
        with _read_once(), alone(file) as folder:
            hf, report = _from_pretrained(folder, file.name, name)
            unread = _unread(hf, header, report)
        if missing := sorted(report["missing_keys"]):
            raise ModelError(
                f"model {name!r}: it lacks {len(missing)} of the model's tensors, first {missing[0]!r}"
            )
        if unread:
            raise ModelError(_left_out(name, f"the tensor {unread[0]!r} ({len(unread)} such)"))
        for key, attribute in _READ_ALIKE.items():
            asked, taken = header.of_model(key), getattr(hf.config, attribute, None)
            if asked not in (None, taken):
                raise ModelError(_left_out(name, f"{key} = {asked} (it takes {taken})"))
        self.config = _plain(hf)
        self._kind, self._state = type(hf), hf.state_dict()

    def model(self, dtype: torch.dtype) -> Any:
        """The model in a dtype, with eager attention, as hooks need it; in float32 it shares its memory with
        what was read."""
        return self._kind.from_pretrained(
            None,
            config=copy.deepcopy(self.config),
            state_dict=dict(self._state),
            dtype=dtype,
            attn_implementation="eager",
        ).eval()


def _from_pretrained(folder: Path, file: str, name: str) -> tuple[Any, dict[str, Any]]:
    from transformers import AutoModelForCausalLM

    try:
        found: tuple[Any, dict[str, Any]] = AutoModelForCausalLM.from_pretrained(
            folder,
            gguf_file=file,
            dtype=torch.float32,
            local_files_only=True,
            attn_implementation="eager",
            output_loading_info=True,
        )
    except ValueError as error:
        if "Unrecognized configuration class" not in str(error):
            raise
        raise ModelError(
            f"model {name!r} is not a causal language model that Hugging Face knows; give one"
        ) from error
    return found


def _unread(hf: HFModel, header: Header, report: dict[str, Any]) -> list[str]:
    """Tensors of the file that have no place in the model: Hugging Face drops them without a word."""
    from transformers.modeling_gguf_pytorch_utils import (
        TENSOR_PROCESSORS,
        TensorProcessor,
        get_gguf_hf_weights_map,
    )

    if _is_read_anew(header.architecture):
        return sorted(report["unexpected_keys"])
    processor = TENSOR_PROCESSORS.get(header.architecture, TensorProcessor)(config=hf.config.to_dict())
    return sorted(set(header.tensors) - set(get_gguf_hf_weights_map(hf, processor)) - _UNREAD)


def _is_read_anew(architecture: str) -> bool:
    """Whether Transformers' newer reader takes this architecture; that one reports what it did not place."""
    try:
        from transformers.integrations.gguf import is_gguf_arch_supported
    except ImportError:
        return False
    return bool(is_gguf_arch_supported(architecture))


def _plain(hf: HFModel) -> Any:
    """The configuration without what would make it one of quantised weights, and with the class's name, which
    TransformerLens asks for."""
    config = copy.deepcopy(hf.config)
    for key in ("quantization_config", "_pre_quantization_dtype", "_model_name_or_path"):
        config.__dict__.pop(key, None)
    config.architectures = [type(hf).__name__]
    config.name_or_path = ""
    return config


def _left_out(name: str, what: str) -> str:
    return (
        f"model {name!r}: Hugging Face does not read {what} from a .gguf file, so that it would compute "
        "another model: give the model's Hugging Face folder instead"
    )


@contextlib.contextmanager
def _read_once() -> Iterator[None]:
    """Transformers asks the package `gguf` for its table of names once for each module of a model, and reads
    the file's header for each question: half of the time. While this is active, both are done once, and no
    progress bar is shown, which no setting of Transformers turns off."""
    import gguf
    from transformers import modeling_gguf_pytorch_utils as reading

    with contextlib.ExitStack() as stack:
        stack.enter_context(_replaced(gguf, "get_tensor_name_map", functools.cache(gguf.get_tensor_name_map)))
        stack.enter_context(_replaced(gguf, "GGUFReader", functools.cache(gguf.GGUFReader)))
        stack.enter_context(_replaced(reading, "tqdm", lambda tensors, **_: tensors))
        yield


@contextlib.contextmanager
def _replaced(module: object, name: str, value: object) -> Iterator[None]:
    """A module's attribute is another for a while."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
