"""What can be told about a run from the model's files alone: its context, its layers, and its tokens.

Only for a folder or a .gguf file on this machine (novella and smollm2 are such): the tokenizer and the
configuration are read without TransformerLens, so that a prompt that cannot work is refused at once. For
other models the study says it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from laminar_lens.cli.folder_tokenizer import file_tokenizer, folder_tokenizer
from laminar_lens.cli.requests import AnglesRequest, MaskRequest, ModelChoice, StudyRequest
from laminar_lens.errors import InputError, is_failure
from laminar_lens.measures import MEASURES
from laminar_lens.models.context import config_context
from laminar_lens.models.families import family_of
from laminar_lens.models.gguf import gguf_config
from laminar_lens.models.names import WRITES_ITS_TEXTS, local_path
from laminar_lens.models.selection import ranges
from laminar_lens.studies.command import Command, Known
from laminar_lens.studies.options import LONGEST, SHORTEST
from laminar_lens.texts.files import holds_records, read_texts
from laminar_lens.texts.passages import SAMPLED, check_number
from laminar_lens.texts.reading import read_document
from laminar_lens.texts.tokenization import Tokenizer, token_ids

NUMBER_WORDS = {1: "one", 2: "two", 3: "three"}


def check_study(request: StudyRequest, does: Command) -> None:
    """Refuses what does not fit the model: of any study, and of this one.

    Raises:
        InputError: a layer out of range; fewer than two prompts; a prompt of one token or longer than the
            context; a length beyond the context; too few texts of the length; texts that mostly repeat each
            other, where they are measured as a whole; what the study's own command refuses.
    """
    choice, options = request.model, request.options
    check_layers(choice, options)
    if request.prompts is not None:
        does.fits(request, _known_prompts(request, request.prompts))
        return
    length = None if "length" in request.study.without else text_length(choice, options)
    does.fits(request, Known(length))
    if isinstance(request.texts, str | None):
        _check_number(request)
    elif length is not None and not {"document_starts", "groups"} & set(options):  # which cut and join texts
        _check_files(request, does, length)


def _check_files(request: StudyRequest, does: Command, length: int) -> None:
    """Refuses files with too few texts of that length, where the tokenizer is there to tell."""
    if tokenizer := _tokenizer(request.model):
        texts = _texts_or_files(request.texts)
        check_texts(texts, tokenizer, length, request.study.least, whole=does.is_whole(request))


def _check_number(request: StudyRequest) -> None:
    """Refuses more passages than there are."""
    sampled = request.texts is None and request.model.name in WRITES_ITS_TEXTS
    n_texts = request.options.get("n_texts")
    if n_texts is not None and request.texts != SAMPLED and not sampled:
        check_number(n_texts)


def _texts_or_files(given: Path | tuple[Path, ...]) -> Sequence[str] | Sequence[Path]:
    """The texts of one file, or of several that hold records; of others, the files themselves."""
    paths = (given,) if isinstance(given, Path) else given
    if isinstance(given, Path) or holds_records(paths[0]):
        return [text for path in paths for text in read_texts(path).texts]
    return paths


def _known_prompts(request: StudyRequest, name: str) -> Known:
    """The tokens of the prompts, of which there are enough, and which fit the model."""
    texts = request.texts
    if isinstance(texts, Mapping):
        texts = [text for group in texts.values() for text in group]
    if len(texts) < 2:
        raise InputError(
            f"--prompts {name!r} has one prompt, but each prompt is one observation: give at least 2 "
            "prompts, better 50"
        )
    tokenizer = _tokenizer(request.model)
    if tokenizer is None:
        return Known()
    rows = token_ids(tokenizer, texts)
    check_lengths(request.model, request.options, list(map(len, rows)), texts)
    return Known(None, tokenizer, rows)


def check_angles(request: AnglesRequest) -> None:
    """Refuses layers and prompts that do not fit the model.

    Raises:
        InputError: a layer out of range; a prompt that is too short for its angle or longer than the context.
    """
    check_layers(request.model, request.options)
    if tokenizer := _tokenizer(request.model):
        texts, measure = request.prompts.texts, MEASURES.find(request.what)
        lengths, needed = _lengths(tokenizer, texts), measure.tokens if measure else 1
        check_lengths(request.model, request.options, lengths, texts, needed=needed)


def check_mask(request: MaskRequest) -> None:
    """Refuses layers and texts that do not fit the model.

    Raises:
        InputError: a layer out of range; a text longer than the context.
    """
    check_layers(request.model, request.options)
    if tokenizer := _tokenizer(request.model):
        texts = request.texts.texts
        check_lengths(request.model, request.options, _lengths(tokenizer, texts), texts, needed=1)


def check_texts(
    texts: Sequence[str] | Sequence[Path],
    tokenizer: Tokenizer,
    length: int,
    least: int = 2,
    *,
    whole: bool = True,
) -> None:
    """Refuses fewer than `least` texts of `length` tokens; of files, fewer that hold so many. Texts that
    mostly repeat each other are refused first, unless only a part of them is measured."""
    files = [text for text in texts if isinstance(text, Path)]
    what = "files" if files else "texts"
    rows = token_ids(tokenizer, [read_document(text) if isinstance(text, Path) else text for text in texts])
    lengths = sorted(map(len, rows))
    enough = [row for row in rows if len(row) >= length]
    if whole and not files:
        from laminar_lens.studies.observations import check_repeats

        compared = enough if len(enough) >= least else rows
        check_repeats([row[:length] for row in compared], tokenizer, "text", whole=compared)
    if len(enough) < least:
        possible = lengths[-least] if len(lengths) >= least else 0
        or_else = f", or --length {possible}" if possible >= SHORTEST else ""
        raise InputError(
            f"{len(enough)} of {len(lengths)} {what} in --texts have {length} tokens, at least {least} are "
            f"needed: give more or longer {what}{or_else}"
        )


def check_layers(choice: ModelChoice, options: Mapping[str, Any]) -> None:
    """Refuses a layer that the model does not have, where its folder tells how many it has."""
    config = _config(choice)
    n_layers = _number(config, family_of(config).layer_keys)
    layers = options.get("layers") or ()
    if n_layers is not None and any(layer > n_layers for layer in layers):
        raise InputError(
            f"--layers {','.join(ranges(layers, '-'))} is out of range: {choice.name} has hidden states 0 "
            f"(the embedding) to {n_layers}; choose among them"
        )


def check_lengths(
    choice: ModelChoice,
    options: Mapping[str, Any],
    lengths: Sequence[int],
    texts: Sequence[str],
    *,
    needed: int = 2,
) -> None:
    """Refuses prompts that are too short for an angle of `needed` tokens, or too long for the model."""
    context = config_context(_config(choice))
    for index, (length, text) in enumerate(zip(lengths, texts, strict=True)):
        total = length + _bos(options)
        if total < needed:
            has = "one token" if total == 1 else f"{total} tokens"
            raise InputError(
                f"prompt {index} ({text!r}) has {has}: an angle needs {NUMBER_WORDS.get(needed, needed)}; "
                "write a longer prompt"
            )
        if context is not None and total > context:
            start = text[:40] + ("…" if len(text) > 40 else "")
            raise InputError(
                f"prompt {index} ({start!r}) has {total} tokens, but {choice.name} reads at most {context}: "
                "shorten it; nothing is cut silently"
            )


def text_length(choice: ModelChoice, options: Mapping[str, Any]) -> int | None:
    """Tokens that a text has; None where that is the default and the model's folder does not tell its
    context. InputError for a length that the context does not hold."""
    context, length = config_context(_config(choice)), options.get("length")
    if context is None:
        return length
    room = context - _bos(options)
    if length is not None and length > room:
        raise InputError(
            f"--length {length} is too long: {choice.name} reads at most {context} tokens; give {room} or "
            "less"
        )
    return min(LONGEST, room) if length is None else length


def _bos(options: Mapping[str, Any]) -> int:
    return int(options.get("prepend_bos", False))


def _config(choice: ModelChoice) -> dict[str, Any]:
    path = local_path(choice.name)
    if path is None:
        return {}
    if path.is_file():
        return gguf_config(path)
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _number(config: dict[str, Any], keys: Sequence[str]) -> int | None:
    return next((config[key] for key in keys if isinstance(config.get(key), int)), None)


def _lengths(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    """Tokens of each text."""
    return list(map(len, token_ids(tokenizer, texts)))


def _tokenizer(choice: ModelChoice) -> Any:
    """The tokenizer of a model's files; None where there is none, or a broken one."""
    path = local_path(choice.name)
    if path is None or not (path.is_file() or (path / "tokenizer.json").is_file()):
        return None
    try:
        if path.is_file():
            return file_tokenizer(path)
        return folder_tokenizer(path, trust_remote_code=choice.trust_remote_code)
    except BaseException as error:  # a broken tokenizer is the model's loading to explain
        if not is_failure(error):
            raise
        return None
