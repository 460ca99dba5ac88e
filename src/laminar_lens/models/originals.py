"""Hugging Face's model and tokenizer as a folder or a .gguf file on this machine holds them."""

import hashlib
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from laminar_lens.errors import ModelError
from laminar_lens.models.gguf import Header, check_gguf
from laminar_lens.models.gguf.tokenizer import gguf_tokenizer, split_limit, with_bos
from laminar_lens.models.gguf.weights import Weights
from laminar_lens.models.names import EMBEDDED, NOVELLA
from laminar_lens.models.smollm2 import SMOLLM2
from laminar_lens.models.sources import File
from laminar_lens.texts.tokenization import Tokenizer

_WEIGHTS = (".safetensors", ".bin")


@runtime_checkable
class Original(Protocol):
    """A model on this machine, before TransformerLens.

    Attributes:
        name: in messages and results.
        short: TransformerLens's `model_name`.
        bytes: of the weights, where they are not quantised.
        tokenizer: Hugging Face's own.
        device: where it runs.
        file: where the weights are one file that is no Hugging Face folder.
        limits: what is to be said of it, in sentences.
    """

    name: str
    short: str
    bytes: int
    tokenizer: Any
    device: str
    file: File | None
    limits: tuple[str, ...]

    def hugging_face(self, dtype: torch.dtype) -> Any:
        """Hugging Face's model, with eager attention."""

    def bridge(self, dtype: torch.dtype, tokenizer: Tokenizer | None) -> Any:
        """A TransformerBridge of it."""

    def lensed_tokenizer(self) -> Any:
        """The tokenizer to give to TransformerLens, which changes it."""


class FolderOriginal:
    """A Hugging Face folder; see `Original`."""

    file: File | None = None
    limits: tuple[str, ...] = ()

    def __init__(self, folder: Path, device: str, trust_remote_code: bool) -> None:
        from transformers import AutoTokenizer

        self._folder, self.device, self._trust = folder, device, trust_remote_code
        self.name = EMBEDDED if folder == NOVELLA else str(folder)
        self.short = folder.resolve().name
        self.bytes = sum(file.stat().st_size for file in folder.iterdir() if file.suffix in _WEIGHTS)
        self.tokenizer = _folder_tokenizer(AutoTokenizer, folder, trust_remote_code)

    def hugging_face(self, dtype: torch.dtype) -> Any:
        """Read again each time."""
        return load_hf(self._folder, device=self.device, dtype=dtype, trust_remote_code=self._trust)

    def bridge(self, dtype: torch.dtype, tokenizer: Tokenizer | None) -> Any:
        """A bridge reads the folder itself."""
        from transformer_lens.model_bridge import TransformerBridge

        return TransformerBridge.boot_transformers(
            str(self._folder),
            device=self.device,
            dtype=dtype,
            tokenizer=tokenizer,
            trust_remote_code=self._trust,
        )

    def lensed_tokenizer(self) -> Any:
        """The same, which TransformerLens reads again from the folder where it has to."""
        return self.tokenizer


class GgufOriginal:
    """A .gguf file, whose weights are read and dequantised once; see `Original`."""

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
        from transformer_lens.model_bridge import TransformerBridge

        return TransformerBridge.boot_transformers(
            self.short,
            hf_model=self.hugging_face(dtype),
            device=self.device,
            dtype=dtype,
            tokenizer=tokenizer,
        )

    def lensed_tokenizer(self) -> Any:
        """One that puts a BOS first, for which TransformerLens would look for its files."""
        return with_bos(self.tokenizer)


def original(path: Path, given: str, *, device: str, trust_remote_code: bool) -> Original:
    """What `path` holds: a folder or a .gguf file; `given` is the name that led there."""
    if path.is_dir():
        return FolderOriginal(path, device, trust_remote_code)
    return GgufOriginal(path, given, device)


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


def _folder_tokenizer(loader: Any, folder: Path, trust_remote_code: bool) -> Any:
    if not any(
        (folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json", "vocab.json")
    ):
        raise ModelError(f"model folder {str(folder)!r} has no tokenizer (tokenizer.json is missing)")
    return loader.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
