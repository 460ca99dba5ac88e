"""config.json: whole numbers where there must be some, and no more of anything than the weights hold."""

import re
from typing import Any

from laminar_lens.models.families import family_of
from laminar_lens.models.folder.files import FolderError, is_finite, is_whole, layers_held, shown
from laminar_lens.models.folder.weights import Stored

_LAYERS = ("n_layer", "num_hidden_layers", "n_layers", "num_layers")
_WIDTHS = ("n_embd", "hidden_size", "d_model")
_HEADS = ("n_head", "num_attention_heads", "num_key_value_heads", "head_dim")
_INNER = ("intermediate_size", "n_inner", "ffn_dim")
_KERNELS = (
    "_attn_implementation",
    "attn_implementation",
    "_experts_implementation",
    "experts_implementation",
)
_COUNTS = re.compile(r"(n|num)_\w*(layers?|heads?|experts?|groups?|labels?|blocks?)\w*")
_FINITE = re.compile(r"\w*(eps|epsilon|rope_theta|rotary_emb_base)")
_TEXTS = ("model_type", "tokenizer_class", "transformers_weights", "_name_or_path")
_OBJECTS = ("auto_map", "text_config", "quantization_config", "id2label", "label2id", "rope_scaling")
_MOST_LOOPS = 64  # times that a layer with one set of weights is run: ALBERT 12, HRM 8
_LONGEST = 2**31 - 1  # positions, which torch counts in 32 bits in places
_LONGEST_TABLE = 2**20  # positions that are a table, built before any text is read; the longest known: 2^18
_ROTARY = ("rope_theta", "rope_parameters", "rope_scaling", "rotary_pct", "rotary_emb_base")
_WITH_TABLES = ("bloom", "codegen", "gptj", "mpt", "opt")
_MATCH = "config.json and the weights must be of one model; copy or download both again"


def check_config(config: dict[str, Any], stored: Stored) -> None:
    """Refuses a configuration of wrong types, or one that asks for more than the weights hold.

    Without this, a model of 100,000 layers is built, for hours, before its missing weights are noticed.

    Raises:
        FolderError: with the field, its value, and what was expected.
    """
    _check_types(config)
    if config.get("is_encoder_decoder") is True:
        raise FolderError(
            f"config.json is of an encoder-decoder ({config.get('model_type')})",
            "give a causal language model",
        )
    parts = [config]
    if isinstance(inner := config.get("text_config"), dict):
        _check_types(inner, "text_config.")
        parts.append(inner)
    for part in parts:
        _check_layers(part, stored)
        _check_sizes(part, stored)
        _check_counts(part, stored)


def vocabulary_size(config: dict[str, Any]) -> int | None:
    """Tokens of the model's vocabulary; None where the configuration leaves it to the default."""
    inner = config.get("text_config")
    size = config.get("vocab_size", inner.get("vocab_size") if isinstance(inner, dict) else None)
    return size if is_whole(size) else None


def _check_types(config: dict[str, Any], prefix: str = "") -> None:
    for key in (*_LAYERS, *_WIDTHS, "vocab_size"):
        if key in config and not is_whole(config[key], 1):
            raise _wrong(prefix + key, config[key], "a whole number of 1 or more")
    longest, why = (_LONGEST, "") if _is_rotary(config) else (_LONGEST_TABLE, ", where positions are a table")
    for key in family_of(config).context_keys:
        if config.get(key) is not None and not (is_whole(config[key], 1) and config[key] <= longest):
            raise _wrong(prefix + key, config[key], f"a whole number from 1 to {longest}{why}")
    for keys, least in ((_HEADS, 1), (_INNER, 0)):
        for key in keys:
            value = config.get(key)
            one_a_layer = isinstance(value, list) and all(map(is_whole, value))
            if value is not None and not one_a_layer and not is_whole(value, least):
                raise _wrong(prefix + key, value, f"a whole number of {least} or more")
    for key, value in config.items():
        numbers = value if isinstance(value, list) else [value]  # or one for each layer
        if _FINITE.fullmatch(key) and not all(number is None or is_finite(number) for number in numbers):
            raise _wrong(prefix + key, value, "a finite number")
    for names, kind, expected in ((_TEXTS, str, "a text"), (_OBJECTS, dict, "an object")):
        for key in names:
            if config.get(key) is not None and not isinstance(config[key], kind):
                raise _wrong(prefix + key, config[key], expected)
    for key in _KERNELS:
        if isinstance(value := config.get(key), str) and "/" in value:
            raise FolderError(
                f"config.json: {prefix}{key} is {shown(value)}, which is code of the Hub; nothing was run",
                "take it out of config.json",
            )


def _is_rotary(config: dict[str, Any]) -> bool:
    """Whether positions are turned as they come, so that a long context takes no memory before it is used."""
    return any(key in config for key in _ROTARY) and config.get("model_type") not in _WITH_TABLES


def _check_layers(config: dict[str, Any], stored: Stored) -> None:
    """Refuses many more layers than there are weights of; a few more show in the tensors that are missing."""
    held = layers_held(stored.names)
    for key in _LAYERS:
        if key in config and config[key] > _MOST_LOOPS * held:
            raise FolderError(
                f"config.json: {key} is {shown(config[key])}, but the weights hold {held} layers", _MATCH
            )


def _check_sizes(config: dict[str, Any], stored: Stored) -> None:
    """Refuses a vocabulary, width or table of positions of which no tensor has the size."""
    learned = any(name.endswith("wpe.weight") for name in stored.names)
    for key in (*_WIDTHS, "vocab_size", *(("n_positions",) if learned else ())):
        if key in config and config[key] not in stored.axes:
            raise FolderError(
                f"config.json: {key} is {shown(config[key])}, but no tensor of the weights has that size",
                _MATCH,
            )


def _check_counts(config: dict[str, Any], stored: Stored) -> None:
    """Refuses more experts, heads or labels than the longest axis: each has its own place in some tensor."""
    most = max((*stored.axes, len(stored.names)), default=0)
    for key, value in config.items():
        if _COUNTS.fullmatch(key) and is_whole(value) and value > most:
            raise FolderError(
                f"config.json: {key} is {shown(value)}, but no axis of the weights is longer than {most:,}",
                _MATCH,
            )


def _wrong(key: str, value: object, expected: str) -> FolderError:
    return FolderError(f"config.json: {key} is {shown(value)}; expected {expected}")
