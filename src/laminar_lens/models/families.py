"""Model families: under which names a model shows what is read and changed. Every name of a hook stands here.

A family whose names differ is one entry of `FAMILIES`; capture, interventions, the sink study and the command
line's early refusals read it. TransformerLens gives nearly all models the names of `TRANSFORMER`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

WRITES = ("attn", "mlp")
"""What a block adds to the residual stream, in the order in which it does."""

_HOOKS = {
    "before": "blocks.{block}.hook_resid_pre",
    "after": "blocks.{block}.hook_resid_post",
    "attn": "blocks.{block}.hook_attn_out",
    "mlp": "blocks.{block}.hook_mlp_out",
    "scores": "blocks.{block}.attn.hook_attn_scores",
    "pattern": "blocks.{block}.attn.hook_pattern",
    "z": "blocks.{block}.attn.hook_z",
}


@dataclass(frozen=True)
class Family:
    """Names of one family of models.

    Attributes:
        name: in words.
        architectures: as a configuration says them; those of no other family have `TRANSFORMER`.
        hooks: of each block: its input and output, what attention and MLP add to the stream, attention
            scores before the softmax and after it, what each head has read (z).
        aliases: other names of the same in a cache.
        positions: of learned positional embeddings that are added to the stream.
        last: with what names of hooks after the last block begin.
        layer_keys: what Hugging Face's configurations call the number of blocks.
        context_keys: what they call the context, the most usual first.
    """

    name: str
    architectures: tuple[str, ...] = ()
    hooks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType(_HOOKS))
    aliases: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType(
            {"before": "blocks.{block}.hook_in", "after": "blocks.{block}.hook_out"}
        )
    )
    positions: str = "hook_pos_embed"
    last: tuple[str, ...] = ("ln_final.", "unembed.")
    layer_keys: tuple[str, ...] = ("n_layer", "num_hidden_layers", "n_layers")
    context_keys: tuple[str, ...] = (
        "n_positions",
        "max_position_embeddings",
        "max_seq_len",
        "max_sequence_length",
        "max_context_length",
        "seq_length",
        "n_ctx",
    )

    def hook(self, part: str, block: int) -> str:
        """Hook point of a part of a block."""
        return self.hooks[part].format(block=block)

    def state(self, layer: int) -> str:
        """Hook point of hidden state `layer`: 0 is the embedding, l the output of block l − 1."""
        return self.hook("before", 0) if layer == 0 else self.hook("after", layer - 1)

    def cached(self, layer: int, n_layers: int) -> list[str]:
        """Names of hidden state `layer` in a cache: the output of block l − 1 is the input of block l."""
        places = [("after", layer - 1)] if layer > 0 else []
        places += [("before", layer)] if layer < n_layers else []
        return [
            names[part].format(block=block) for part, block in places for names in (self.hooks, self.aliases)
        ]

    def axis(self, hook: str) -> int:
        """Where positions stand in what passes a hook point: [batch pos …], or attention [… query key]."""
        attention = [self.hooks[part].rpartition(".")[2] for part in ("scores", "pattern")]
        return -1 if hook.endswith(tuple(attention)) else 1

    def begins(self, hook: str, n_layers: int) -> int:
        """The first hidden state that comes after a hook point; n_layers + 1 if none does."""
        if hook in self.cached(0, n_layers):
            return 0
        if hook.startswith(self.last):
            return n_layers + 1
        start, _, end = self.hooks["after"].partition("{block}")
        block = re.match(re.escape(start) + r"(\d+)" + re.escape(end[:1]), hook)
        return int(block[1]) + 1 if block else 0


TRANSFORMER = Family("those of TransformerLens")
FAMILIES: tuple[Family, ...] = ()


def family_of(config: object) -> Family:
    """The family of a model's `cfg`, or of what its `config.json` holds."""
    keys = ("architectures", "architecture", "original_architecture")
    said = [config.get(key) if isinstance(config, dict) else getattr(config, key, None) for key in keys]
    names = {str(one) for given in said for one in (given if isinstance(given, list | tuple) else [given])}
    return next((one for one in FAMILIES if names & set(one.architectures)), TRANSFORMER)
