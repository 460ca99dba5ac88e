"""What can be told about a run from the model's folder alone: its context, its layers, and its tokens.

Only for a folder on this machine (novella is one): the tokenizer and the configuration are read without
TransformerLens, so that a prompt that cannot work is refused at once. For other models the study says it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from laminar_lens.cli.folder_tokenizer import folder_tokenizer
from laminar_lens.cli.requests import (
    AnglesRequest,
    MaskRequest,
    ModelChoice,
    SequentialRequest,
    TextStudyRequest,
    WarmupRequest,
    WhyRequest,
)
from laminar_lens.errors import InputError, is_failure
from laminar_lens.measures import MEASURES
from laminar_lens.models.context import config_context
from laminar_lens.models.families import family_of
from laminar_lens.models.names import WRITES_ITS_TEXTS, local_folder
from laminar_lens.prompts import find_targets
from laminar_lens.texts.files import holds_records, read_texts
from laminar_lens.texts.passages import SAMPLED, check_number
from laminar_lens.texts.reading import read_document
from laminar_lens.texts.tokenization import token_ids

NUMBER_WORDS = {1: "one", 2: "two", 3: "three"}
LONGEST, SHORTEST = 64, 4  # tokens of a text, where no --length says otherwise
INDEPENDENT = 4  # texts at least, where texts exchange beginnings or one half chooses what the other measures


def check_sequential(request: SequentialRequest) -> SequentialRequest:
    """The request, if its layers, prompts and target fit the model.

    Raises:
        InputError: a layer out of range; fewer than two prompts; a prompt of one token or longer than the
            context; a target that is absent, is a text's first token, or that the skip leaves no pair of;
            prompts that mostly repeat each other; a grid of a baseline that it does not have.
    """
    check_layers(request.model)
    texts = request.prompts.texts
    if len(texts) < 2:
        raise InputError(
            f"--prompts {request.prompts.name!r} has one prompt, but each prompt is one observation: give at "
            "least 2 prompts, better 50"
        )
    if request.grid and request.baseline == "matched":
        raise InputError(
            "--grid has no donor texts for --baseline matched: choose another baseline, or leave out --grid"
        )
    tokenizer = _tokenizer(request.model)
    if tokenizer is None:
        return request
    rows = token_ids(tokenizer, texts)
    check_lengths(request.model, list(map(len, rows)), texts)
    targets = find_targets(tokenizer, texts, request.target, request.occurrence, request.regex)
    from laminar_lens.pairs import target_pairs
    from laminar_lens.studies.observations import prompt_observations

    target_pairs(targets, skip=request.skip, bos=int(request.model.prepend_bos))
    prompt_observations(rows, tokenizer, targets)
    return request


def check_angles(request: AnglesRequest) -> AnglesRequest:
    """The request, if its layers and prompts fit the model.

    Raises:
        InputError: a layer out of range; a prompt that is too short for its angle or longer than the context.
    """
    check_layers(request.model)
    if tokenizer := _tokenizer(request.model):
        texts, measure = request.prompts.texts, MEASURES.find(request.what)
        lengths = _lengths(tokenizer, texts)
        check_lengths(request.model, lengths, texts, needed=measure.tokens if measure else 1)
    return request


def check_texts_study(request: TextStudyRequest, *, least: int = 2, whole: bool = True) -> TextStudyRequest:
    """The request, if its layers, length and texts fit each other and the model.

    Raises:
        InputError: a layer out of range; a length beyond the context; fewer than `least` texts of the length;
            texts that mostly repeat each other, where they are measured as a whole.
    """
    choice = request.model
    check_layers(choice)
    length = _text_length(request)
    if isinstance(request.texts, str | None):
        _check_number(request)
    elif length is not None and (tokenizer := _tokenizer(choice)):
        check_texts(_texts_or_files(request.texts), tokenizer, length, least, whole=whole)
    return request


def _check_number(request: TextStudyRequest) -> None:
    """Refuses more passages than there are."""
    sampled = request.texts is None and request.model.name in WRITES_ITS_TEXTS
    if request.n_texts is not None and request.texts != SAMPLED and not sampled:
        check_number(request.n_texts)


def _texts_or_files(given: Path | tuple[Path, ...]) -> Sequence[str] | Sequence[Path]:
    """The texts of one file, or of several that hold records; of others, the files themselves."""
    paths = (given,) if isinstance(given, Path) else given
    if isinstance(given, Path) or holds_records(paths[0]):
        return [text for path in paths for text in read_texts(path).texts]
    return paths


def check_warmup(request: WarmupRequest) -> TextStudyRequest:
    """The same, if also its reference fits.

    Raises:
        InputError: a reference that the texts do not have, or that leaves nothing to test.
    """
    if isinstance(request.reference, tuple):
        check_reference(request.reference, _text_length(request), int(request.model.prepend_bos))
    return check_texts_study(request)


def check_why(request: WhyRequest) -> TextStudyRequest:
    """The same, if also its places fit.

    Raises:
        InputError: a place that texts of this length do not have.
    """
    length = _text_length(request)
    if length is not None and request.at is not None and request.at[-1] > length - 2:
        raise InputError(
            f"--at {request.at[-1]} is out of range: texts of {length} tokens have pairs 0 to {length - 2}; "
            "give less, or a greater --length"
        )
    return check_texts_study(request, least=INDEPENDENT, whole=request.at is None)


def check_mask(request: MaskRequest) -> MaskRequest:
    """The request, if its layers and texts fit the model.

    Raises:
        InputError: a layer out of range; a text longer than the context.
    """
    check_layers(request.model)
    if tokenizer := _tokenizer(request.model):
        texts = request.texts.texts
        check_lengths(request.model, _lengths(tokenizer, texts), texts, needed=1)
    return request


def check_reference(window: tuple[int, int], length: int | None, bos: int) -> None:
    """Refuses a reference [first, stop) that leaves no pair before it, or goes beyond texts of `length`."""
    given = f"--reference {window[0]}-{window[1] - 1}"
    if window[0] < 1:
        raise InputError(f"{given} leaves no pair to test: begin at 1 or later, for example 42-62")
    if length is not None and window[1] > (pairs := length + bos - 1):
        raise InputError(
            f"{given} is out of range: texts of {length} tokens have pairs 0 to {pairs - 1}; end there or "
            "earlier, or give a greater --length"
        )


def check_texts(
    texts: Sequence[str] | Sequence[Path], tokenizer: Any, length: int, least: int = 2, *, whole: bool = True
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


def check_layers(choice: ModelChoice) -> None:
    """Refuses a layer that the model does not have, where its folder tells how many it has."""
    config = _config(choice)
    n_layers = _number(config, family_of(config).layer_keys)
    beyond = [layer for layer in choice.layers or () if n_layers is not None and layer > n_layers]
    if beyond:
        raise InputError(
            f"--layers {beyond[0]} is out of range: {choice.name} has hidden states 0 (the embedding) to "
            f"{n_layers}; choose among them"
        )


def check_length(choice: ModelChoice, length: int) -> int:
    """`length` if texts of that many tokens fit the context, where the model's folder tells it."""
    context = config_context(_config(choice))
    if context is not None and length + choice.prepend_bos > context:
        raise InputError(
            f"--length {length} is too long: {choice.name} reads at most {context} tokens; give "
            f"{context - choice.prepend_bos} or less"
        )
    return length


def check_lengths(
    choice: ModelChoice, lengths: Sequence[int], texts: Sequence[str], *, needed: int = 2
) -> None:
    """Refuses prompts that are too short for an angle of `needed` tokens, or too long for the model."""
    context = config_context(_config(choice))
    for index, (length, text) in enumerate(zip(lengths, texts, strict=True)):
        total = length + choice.prepend_bos
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


def _text_length(request: TextStudyRequest) -> int | None:
    """Tokens that a text has; None where that is the default and the model's folder does not tell its
    context."""
    choice = request.model
    if request.length is not None:
        return check_length(choice, request.length)
    context = config_context(_config(choice))
    return None if context is None else min(LONGEST, context - choice.prepend_bos)


def _config(choice: ModelChoice) -> dict[str, Any]:
    folder = local_folder(choice.name)
    if folder is None:
        return {}
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _number(config: dict[str, Any], keys: Sequence[str]) -> int | None:
    return next((config[key] for key in keys if isinstance(config.get(key), int)), None)


def _lengths(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """Tokens of each text."""
    return list(map(len, token_ids(tokenizer, texts)))


def _tokenizer(choice: ModelChoice) -> Any:
    """The tokenizer of a model's folder; None where there is none, or a broken one."""
    folder = local_folder(choice.name)
    if folder is None or not (folder / "tokenizer.json").is_file():
        return None
    try:
        return folder_tokenizer(folder, trust_remote_code=choice.trust_remote_code)
    except BaseException as error:  # a broken tokenizer is the model's loading to explain
        if not is_failure(error):
            raise
        return None
