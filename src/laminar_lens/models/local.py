"""Loading a local Hugging Face folder, and comparing what TransformerLens computes with Hugging Face."""

import copy
import tempfile
from pathlib import Path
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
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import Source
from laminar_lens.models.memory import available_bytes
from laminar_lens.models.names import EMBEDDED, NOVELLA

SMALL_BYTES = 2**26
"""Weights on the disk of a model that is compared in float64 at once, which takes up to four times as much
memory for each of the two."""

_WEIGHTS = (".safetensors", ".bin")
_NOT_IN_FLOAT64 = (NotImplementedError, RuntimeError, TypeError)
"""What torch raises where an operation, or a device, has no float64; a mixture of experts is one."""


def load_folder(
    folder: Path, hooked: Any, *, device: str, dtype: torch.dtype, trust_remote_code: bool = False
) -> tuple[Any, Source]:
    """The model in a folder as a `hooked` (a HookedTransformer class) or, where that is None, as a bridge.

    It is compared with Hugging Face's first (see `faithful`): a small one in float64, where right and wrong
    are far apart; a larger one in float32, and in float64 too where that leaves a doubt and memory allows it.

    Raises:
        ModelError: tensors are missing, the model is not causal, or it is not what Hugging Face computes.
    """
    from transformers import AutoTokenizer

    files = _Files(folder, hooked, device, trust_remote_code)
    tokenizer = _tokenizer(AutoTokenizer, folder, trust_remote_code)
    has_bos = tokenizer is not None and tokenizer.bos_token_id is not None
    adds_bos = _adds_bos(tokenizer, files.name)
    hf = files.compared_in_float64(tokenizer) if files.bytes <= SMALL_BYTES else None
    exact = torch.float64 if dtype is torch.float64 else torch.float32
    model = None
    if hf is None:
        hf, model = files.compared(exact, tokenizer)
    source = Source(files.name, None, files.config, has_bos, adds_bos, files.comparison, files.limits)
    if model is None or exact is not dtype:
        del model
        model = files.build(hf, dtype, tokenizer)
    note_causal(model)
    return model, source


class _Files:
    """A folder that is loaded one way, in one dtype or another.

    Attributes:
        config: Hugging Face's, once it was loaded.
        bytes: of the weights on the disk.
        comparison: how it was compared with Hugging Face.
        limits: what that found or did not reach, in sentences.
    """

    config: Any = None
    comparison = ""
    limits: tuple[str, ...] = ()

    def __init__(self, folder: Path, hooked: Any, device: str, trust_remote_code: bool) -> None:
        self.name = EMBEDDED if folder == NOVELLA else str(folder)
        self._folder, self._hooked, self._device, self._trust = folder, hooked, device, trust_remote_code
        self.bytes = sum(file.stat().st_size for file in folder.iterdir() if file.suffix in _WEIGHTS)

    def hugging_face(self, dtype: torch.dtype) -> Any:
        """Hugging Face's model."""
        hf = load_hf(self._folder, device=self._device, dtype=dtype, trust_remote_code=self._trust)
        self.config = hf.config
        return hf

    def build(self, hf: Any, dtype: torch.dtype, tokenizer: Any) -> Any:
        """TransformerLens's model; a bridge reads the folder itself."""
        if self._hooked is None:
            return _build_bridge(self._folder, tokenizer, self._device, dtype, self._trust)
        name = self._folder.resolve().name
        return build_hooked(
            hf.to(dtype), tokenizer, self._hooked, device=self._device, dtype=dtype, name=name
        )

    def compared_in_float64(self, tokenizer: Any) -> Any:
        """Hugging Face's model in float64, with which TransformerLens agrees; None where float64 cannot be.

        Raises:
            ModelError: they do not agree.
        """
        try:
            with AllFloat64():
                hf = self.hugging_face(torch.float64)
                reference = make_reference(hf, self.name)
                # Building changes a tokenizer; a HookedTransformer needs none.
                own = copy.deepcopy(tokenizer) if self._hooked is None else None
                model = self.build(hf, torch.float64, own)
                found = distance(model, reference, self.name)
                self._accept(model, reference, found, EXACT_RAD)
        except _NOT_IN_FLOAT64:
            return None
        return hf

    def compared(self, dtype: torch.dtype, tokenizer: Any) -> tuple[Any, Any]:
        """Hugging Face's model (None for a bridge, which holds its own) and TransformerLens's, compared in
        `dtype`; where rounding leaves a doubt, in float64 if memory holds both once more."""
        hf = self.hugging_face(dtype)
        reference = make_reference(hf, self.name)
        hf = None if self._hooked is None else hf
        model = self.build(hf, dtype, tokenizer)
        found = distance(model, reference, self.name)
        free = available_bytes(self._device)
        room = free is not None and 2.5 * 8 * sum(one.numel() for one in model.parameters()) < free
        doubt = room and SURE_RAD < found.rad <= WRONG_RAD
        if not doubt or self.compared_in_float64(tokenizer) is None:
            self._accept(model, reference, found, TOLERANCE_RAD)
        return hf, model

    def _accept(self, model: HookedModel, reference: Reference, found: Distance, most: float) -> None:
        """Takes a model that is at most so many radians apart, with what is to be said of it."""
        on_hooked = self._hooked is not None
        refuse_if_apart(found, most, reference, self.name, on_hooked)
        kind = str(reference.states[0].dtype).removeprefix("torch.")
        self.comparison = f"with Hugging Face, in {kind}, {reference.probe.text.shape[1]} tokens"
        self.limits = limits(model, reference, most, self.name, on_hooked)


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
        ModelError: no causal language model, or the weights do not hold every tensor of the model (Hugging
            Face would fill in random ones).
    """
    from transformers import AutoModelForCausalLM

    try:
        hf, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            attn_implementation="eager",
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
    except ValueError as error:
        if "Unrecognized configuration class" not in str(error):
            raise
        raise ModelError(
            f"model folder {str(folder)!r}: config.json is not of a causal language model that Hugging Face "
            "knows; give one of which it is"
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"model folder {str(folder)!r}: the weights lack {len(missing)} of the model's tensors, "
            f"first {missing[0]!r}"
        )
    return hf.to(device).eval()


def check_decoder(config: Any, name: str) -> None:
    """Refuses a model that writes one text while it reads another in both directions.

    Raises:
        ModelError: names its type.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"model {name!r} is an encoder-decoder ({config.model_type}): give a causal language model"
        )


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
