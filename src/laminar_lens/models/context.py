"""How many tokens a model reads, and from which length on its attention or its positions work otherwise."""

from typing import Any

from laminar_lens.models.families import family_of
from laminar_lens.models.hooked import HFConfig, HookedModel


def config_context(config: HFConfig) -> int | None:
    """The context that a Hugging Face configuration names, or None: BLOOM's names none.

    A dictionary, as `config.json` holds it, will do; of a model of several parts, the part that reads text
    counts.
    """
    for part in _text_parts(config):
        for key in family_of(config).context_keys:
            value = part.get(key) if isinstance(part, dict) else getattr(part, key, None)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def context_length(model: HookedModel) -> int:
    """The most tokens that a TransformerLens model reads at once.

    A bridge carries the model's own configuration, which says it. A HookedTransformer has `cfg.n_ctx`, which
    `load_model` sets to what the configuration says (see `set_context`).
    """
    original = getattr(model, "original_model", None)
    return config_context(getattr(original, "config", None)) or int(model.cfg.n_ctx)


def set_context(cfg: Any, config: HFConfig, kinds: tuple[str, ...] = ("rotary", "alibi")) -> None:
    """Gives a HookedTransformer's configuration the context of the Hugging Face one, where its positions are
    of these kinds: TransformerLens puts one number for all models of some families (2,048 for Qwen3 and
    Mistral, 512 for TinyStories).

    To be called once the model is there: rotary tables then grow with the texts, whatever the context says,
    and ALiBi's unused table of positions stays short. A table of learned positions is as long as it is made,
    so for those ("standard") before.
    """
    context = config_context(config)
    if context is not None and cfg.positional_embedding_type in kinds:
        cfg.n_ctx = context


def turning_lengths(config: HFConfig) -> list[int]:
    """Lengths beyond which a configuration's attention or positions work otherwise, shortest first: windows
    of local attention, chunks, and the context before it was extended."""
    found: set[int] = set()
    _collect(config if isinstance(config, dict) else config.to_dict(), found)
    return sorted(found)


def _collect(part: object, found: set[int]) -> None:
    for key, value in part.items() if isinstance(part, dict) else ():
        if isinstance(value, dict):
            _collect(value, found)
        elif isinstance(value, int) and not isinstance(value, bool) and value > 0 and _turns(str(key)):
            found.add(value)


def _turns(key: str) -> bool:
    return (
        ("window" in key and "layers" not in key and "pattern" not in key)
        or "chunk_size" in key
        or key in ("original_max_position_embeddings", "train_seq_length")
    )


def _text_parts(config: HFConfig) -> list[Any]:
    if config is None:
        return []
    if isinstance(config, dict):
        return [config, *(config[key] for key in ("text_config",) if isinstance(config.get(key), dict))]
    text = getattr(config, "text_config", None)
    return [config] if text is None else [config, text]
