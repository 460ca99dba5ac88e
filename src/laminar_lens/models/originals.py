"""Hugging Face's model and tokenizer as a folder, a .gguf file or the Hub holds them."""

import dataclasses
import hashlib
import sys
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from laminar_lens.errors import ModelError
from laminar_lens.models.convert import build_hooked
from laminar_lens.models.folder import refuse_adapter
from laminar_lens.models.folder.files import FolderError
from laminar_lens.models.gguf import Header, check_gguf
from laminar_lens.models.gguf.tokenizer import gguf_tokenizer, split_limit, with_bos
from laminar_lens.models.gguf.weights import Weights
from laminar_lens.models.hooked import HFConfig, HFModel, Hooked
from laminar_lens.models.hub import snapshot
from laminar_lens.models.smollm2 import SMOLLM2
from laminar_lens.models.sources import File
from laminar_lens.texts.tokenization import Tokenizer

_WEIGHTS = (".safetensors", ".bin")


@runtime_checkable
class Original(Protocol):
    """A model before TransformerLens.

    Attributes:
        name: in messages and results.
        short: TransformerLens's `model_name`.
        bytes: of the weights, where they are not quantised.
        exact: whether it can be made in float64, with all its tables.
        tokenizer: Hugging Face's own; None where TransformerLens finds it.
        device: where it runs.
        revision: its commit, where it is of the Hub.
        file: where the weights are one file that is no Hugging Face folder.
        limits: what is to be said of it, in sentences.
    """

    name: str
    short: str
    bytes: int
    exact: bool
    tokenizer: Any
    device: str
    revision: str | None
    file: File | None
    limits: tuple[str, ...]

    def hugging_face(self, dtype: torch.dtype) -> Any:
        """Hugging Face's model, with eager attention."""

    def bridge(self, dtype: torch.dtype, tokenizer: Tokenizer | None) -> Any:
        """A TransformerBridge of it."""

    def convert(self, hf: HFModel, hooked: Hooked, dtype: torch.dtype, tokenizer: Tokenizer | None) -> Any:
        """A `hooked` (a HookedTransformer class) with the weights of Hugging Face's model."""

    def lensed_tokenizer(self) -> Any:
        """The tokenizer to give to TransformerLens, which changes it."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a model goes: one device, or a map of its parts to several."""

    device: str = "cpu"
    device_map: Any = None


class PretrainedOriginal:
    """A Hugging Face folder, or a model of the Hub; see `Original`."""

    file: File | None = None
    limits: tuple[str, ...] = ()
    exact = True

    def __init__(
        self,
        name: str,
        where: Path | str,
        place: Place,
        revision: str | None = None,
        *,
        files: Path | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        """Of a folder, or of a Hub name; `files` is where the weights are, if they are here.

        Raises:
            ModelError: an encoder-decoder, or no tokenizer.
        """
        self.name, self.device, self._place = name, place.device, place
        weights = [] if files is None else [file for file in files.iterdir() if file.suffix in _WEIGHTS]
        self.bytes = sum(file.stat().st_size for file in weights) if weights else sys.maxsize
        self._where = where
        self._how: dict[str, Any] = {"trust_remote_code": trust_remote_code}
        self._official, self.revision = where if isinstance(where, str) else None, revision
        if isinstance(where, str):
            self.short = where.rpartition("/")[2]
            self.tokenizer = self._one_state(where)
        else:
            self.short = where.resolve().name
            self._how["local_files_only"] = True
            self.tokenizer = _folder_tokenizer(where, self._how)

    def _one_state(self, where: str) -> Any:
        """Lets all that follows read one commit; returns its tokenizer where one was chosen, as otherwise
        TransformerLens finds the model's."""
        from transformers import AutoConfig, AutoTokenizer

        chosen = self.revision
        check_no_adapter(where, chosen, self.name)
        check_decoder(AutoConfig.from_pretrained(where, revision=chosen, **self._how), self.name)
        found = snapshot(where, chosen)
        self.revision = self._how["revision"] = found.name if found else chosen
        return None if chosen is None else AutoTokenizer.from_pretrained(where, **self._how)

    def hugging_face(self, dtype: torch.dtype) -> Any:
        """Read again each time."""
        return load_hf(self._where, self.name, dtype=dtype, place=self._place, **self._how)

    def bridge(self, dtype: torch.dtype, tokenizer: Tokenizer | None) -> Any:
        """A bridge reads the folder, or the Hub, itself."""
        from transformer_lens.model_bridge import TransformerBridge

        return TransformerBridge.boot_transformers(
            str(self._where),
            device=self.device if self._place.device_map is None else None,
            device_map=self._place.device_map,
            dtype=dtype,
            tokenizer=tokenizer,
            revision=self.revision,
            trust_remote_code=self._how["trust_remote_code"],
        )

    def convert(self, hf: HFModel, hooked: Hooked, dtype: torch.dtype, tokenizer: Tokenizer | None) -> Any:
        """As TransformerLens converts it by its name, if it has one."""
        official = (self._official, self.revision) if self._official else None
        return build_hooked(hf, tokenizer, hooked, self.short, dtype, official=official)

    def lensed_tokenizer(self) -> Any:
        """The same, which TransformerLens reads again from the folder where it has to."""
        return (
            self.tokenizer if self.tokenizer is None or self._official is None else with_bos(self.tokenizer)
        )


def check_decoder(config: HFConfig, name: str) -> None:
    """Refuses a model that writes one text while it reads another in both directions.

    Raises:
        ModelError: names its type.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"model {name!r} is an encoder-decoder ({config.model_type}): give a causal language model"
        )


def check_no_adapter(where: str, revision: str | None, name: str) -> None:
    """Refuses a Hub model that is an adapter of another.

    Raises:
        ModelError: names its base.
    """
    from transformers.utils.peft_utils import find_adapter_config_file

    try:
        if (found := find_adapter_config_file(where, revision=revision)) is not None:
            refuse_adapter(Path(found).parent)
    except FolderError as error:
        raise ModelError(f"model {name!r}: {error}: {error.remedy}") from None


class GgufOriginal:
    """A .gguf file, whose weights are read and dequantised once; see `Original`."""

    exact = True
    revision: str | None = None

    def __init__(self, path: Path, given: str, device: str) -> None:
        header = check_gguf(path)
        self.device = device
        self.name, self.short, self.bytes = label(path, header, given), path.stem, 4 * header.n_values
        self.tokenizer = gguf_tokenizer(path)
        self._weights = Weights(path, header, self.name)
        self.file: File | None = File(path.name, _sha256(path), _quantisation(header))
        self.limits = tuple(filter(None, (split_limit(header, self.name),)))

    def hugging_face(self, dtype: torch.dtype) -> Any:
        """Made of the weights that were read."""
        return self._weights.model(dtype).to(self.device)

    def bridge(self, dtype: torch.dtype, tokenizer: Tokenizer | None) -> Any:
        """A bridge around a model of its own."""
        return bridge_around(self.hugging_face(dtype), self.short, tokenizer)

    def convert(self, hf: HFModel, hooked: Hooked, dtype: torch.dtype, tokenizer: Tokenizer | None) -> Any:
        """As a folder's."""
        return build_hooked(hf, tokenizer, hooked, self.short, dtype)

    def lensed_tokenizer(self) -> Any:
        """One that puts a BOS first, for which TransformerLens would look for its files."""
        return with_bos(self.tokenizer)


def bridge_around(hf: HFModel, name: str, tokenizer: Tokenizer | None) -> Any:
    """A TransformerBridge of a Hugging Face model, which becomes a part of it."""
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_transformers(
        name, hf_model=hf, device=str(hf.device), dtype=hf.dtype, tokenizer=tokenizer
    )


def label(path: Path, header: Header, given: str) -> str:
    """The name of a .gguf file's model in results: no path, and which quantisation."""
    kind = header.quantisation
    if given != SMOLLM2:
        return f"{path.name} ({kind})"
    return f"{SMOLLM2} ({path.stem.removesuffix(f'.{kind}')}, {kind})"


def _quantisation(header: Header) -> str:
    """What a reader of numbers must know of the weights: which kinds, and that they are what was measured."""
    kinds = ", ".join(f"{kind} in {number}" for kind, number in header.kinds.items())
    return (
        f"{kinds} of {len(header.tensors)} tensors, dequantised to float32; the numbers are of these weights"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_hf(
    where: Path | str,
    name: str = "",
    *,
    dtype: torch.dtype,
    place: Place = Place(),
    **how: Any,
) -> Any:
    """The Hugging Face model of a folder or a Hub name, with eager attention, as hooks need it; `name` is for
    messages.

    Raises:
        ModelError: no causal language model, or the weights do not hold every tensor of the model (Hugging
            Face would fill in random ones).
    """
    from transformers import AutoModelForCausalLM

    name = name or str(where)
    try:
        hf, report = AutoModelForCausalLM.from_pretrained(
            where,
            dtype=dtype,
            device_map=place.device_map,
            attn_implementation="eager",
            output_loading_info=True,
            **how,
        )
    except ValueError as error:
        if "Unrecognized configuration class" not in str(error):
            raise
        raise ModelError(
            f"model {name!r}: its config.json is not of a causal language model that Hugging Face knows; "
            "give one of which it is"
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"model {name!r}: the weights lack {len(missing)} of the model's tensors, first {missing[0]!r}"
        )
    return (hf.to(place.device) if place.device_map is None else hf).eval()


def _folder_tokenizer(folder: Path, how: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    if not any(
        (folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json", "vocab.json")
    ):
        raise ModelError(f"model folder {str(folder)!r} has no tokenizer (tokenizer.json is missing)")
    return AutoTokenizer.from_pretrained(folder, **how)
