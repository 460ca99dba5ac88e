"""Masks of texts, written for other tools: a probe, an SAE, a statistic of one's own."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from laminar_lens.arguments import checked, flag
from laminar_lens.axes import Progress, Prompts, Starts, Wholes
from laminar_lens.errors import InputError
from laminar_lens.geometry import padded
from laminar_lens.interventions.arguments import whole
from laminar_lens.models.batches import token_strings
from laminar_lens.models.forward import check_model
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import special_tokens
from laminar_lens.models.padding import PADDING, is_token_tensor, without_pads
from laminar_lens.models.passages import check_language, named_texts, notes_of_a_part
from laminar_lens.models.selection import layer_indices
from laminar_lens.models.surroundings import described_model, surrounding_notes
from laminar_lens.models.tokens import token_rows
from laminar_lens.prompts import read_prompts
from laminar_lens.results import atomic_path, json_safe
from laminar_lens.studies.documents import (
    check_starts,
    document_starts_of,
    flags_by_row,
    packed_note,
    places_in_documents,
    starts_setting,
)
from laminar_lens.studies.masks import sink_mask
from laminar_lens.studies.options import MOST_TEXTS
from laminar_lens.texts.passages import N_PASSAGES, PASSAGES

FORMAT = "laminar-lens-masks/1"


@dataclass(frozen=True, eq=False)
class TokenMasks:
    """Which tokens of each text to keep.

    Attributes:
        tokens: ids, with the BOS where one was asked for, −1 after a text's end.
        keep: True = keep; padding False.
        sinks: True at tokens that are left out by their vectors.
        skip: so many first tokens of each text are left out.
        texts: as they were given; empty where token ids were.
        words: tokens of each text as text.
        settings: JSON-safe.
        notes: what a reader must know.
        places: of each token in its document, from 1 on; 0 for padding.
    """

    tokens: Int[Tensor, "text pos"]
    keep: Bool[Tensor, "text pos"]
    sinks: Bool[Tensor, "text pos"]
    skip: int
    texts: tuple[str, ...]
    words: list[list[str]]
    settings: dict[str, Any]
    notes: list[str]
    places: Int[Tensor, "text pos"]

    @property
    def sentence(self) -> str:
        """What was left out."""
        real = self.tokens >= 0
        beyond = int((self.sinks & (self.places > self.skip)).sum())
        more = f", and {beyond:,} more that are sinks by their vectors" if self.settings.get("sinks") else ""
        return (
            f"{int(self.keep.sum()):,} of {int(real.sum()):,} tokens of {len(self.tokens):,} texts are kept: "
            f"without the first {self.skip} of each{more}."
        )

    def summary(self) -> dict[str, Any]:
        """The counts and settings, JSON-safe."""
        return {
            "sentence": self.sentence,
            "skip": self.skip,
            "n_texts": len(self.tokens),
            "n_tokens": int((self.tokens >= 0).sum()),
            "n_kept": int(self.keep.sum()),
            "n_sinks": int(self.sinks.sum()),
            "settings": json_safe(self.settings),
            "notes": self.notes,
        }


@checked(skip=None, sinks=flag)
def token_masks(
    model: HookedModel,
    texts: Prompts,
    *,
    skip: object = None,
    n_texts: int | None = None,
    sinks: bool = True,
    prepend_bos: bool = False,
    layers: Wholes = None,
    seed: int = 0,
    document_starts: Starts = None,
    progress: Progress | None = None,
) -> TokenMasks:
    """Masks of texts by position and by vector.

    Args:
        model: any TransformerLens model with a tokenizer.
        texts: to mask, a file of them as in `warmup_study`, or token ids [text pos], padded as in
            `capture_residuals`.
        skip: how many first tokens to leave out; None runs `warmup_study` on its default texts and takes what
            it says is enough; refused where that is no number.
        n_texts: how many texts for that, as in `warmup_study`.
        sinks: also leaves out tokens that are sinks by their vectors (`sink_tokens`).
        prepend_bos: puts the BOS before each text; it is then its first token.
        layers: hidden states of both, one or several; all by default.
        seed: of the warm-up.
        document_starts: where documents start in packed rows: a token id, or for token ids bool [text pos];
            the first `skip` of each are left out, and sinks looked for in each by itself.
        progress: called as (label, done, total).

    Raises:
        InputError: a text, a number or a layer that does not fit; a warm-up without a finite upper bound.
    """
    check_model(model)
    first = None if skip is None else whole("skip", skip)
    wanted = None if layers is None else list(layer_indices(layers, int(model.cfg.n_layers)))
    if document_starts is not None and prepend_bos:
        raise InputError(
            "document_starts= with prepend_bos=True: packed rows hold a BOS of their own; leave it out"
        )
    check_starts(document_starts, int(model.cfg.d_vocab))
    texts = read_prompts(texts) if isinstance(texts, os.PathLike) else texts
    ids, padding = without_pads(model, texts)
    rows, given = token_rows(model, ids, prepend_bos=prepend_bos)
    tokens = padded(rows)
    notes = [note for note in (padding, _packed(model, rows, document_starts)) if note]
    notes += surrounding_notes(model)
    real = tokens != PADDING
    starts = document_starts_of(tokens, real, _beside(rows, ids, document_starts))
    places = places_in_documents(real, starts)
    if first is None:
        first = _skip(model, n_texts, prepend_bos, wanted, seed, notes, progress)
    keep = real & (places > first)
    found = torch.zeros_like(keep)
    if sinks:
        found = sink_mask(model, tokens, padding=real, starts=starts, layers=wanted, progress=progress)
    settings = {
        "model": described_model(model),
        "skip": "by the warm-up" if skip is None else "given",
        "sinks": sinks,
        "prepend_bos": prepend_bos,
        "layers": wanted,
        "seed": seed,
    }
    settings |= {} if document_starts is None else {"document_starts": starts_setting(document_starts)}
    words = token_strings(getattr(model, "tokenizer", None), tokens, real)
    if not bool((keep & ~found).any()):
        notes.append(
            f"No token is kept: no text has one behind its first {first} that is no sink. Give longer texts, "
            "or a smaller skip."
        )
    return TokenMasks(tokens, keep & ~found, found, first, given or (), words, settings, notes, places)


def _packed(model: HookedModel, rows: list[list[int]], document_starts: Starts) -> str:
    return "" if document_starts is not None else packed_note(rows, special_tokens(model))


def _beside(rows: list[list[int]], ids: object, starts: Starts) -> Any:
    """bool [batch pos] of padded ids, moved to where their tokens are now: from each row's start on."""
    if starts is None or not is_token_tensor(ids) or starts_setting(starts) != "given":
        return starts
    flags = flags_by_row(torch.as_tensor(ids), starts)
    width = max(map(len, rows))
    return torch.tensor([[*row, *[False] * (width - len(row))] for row in flags])


def _skip(
    model: HookedModel,
    n_texts: int | None,
    prepend_bos: bool,
    layers: Wholes,
    seed: int,
    notes: list[str],
    progress: Progress | None,
) -> int:
    """What the study says that tells how many to leave out."""
    from laminar_lens.studies.drive import run
    from laminar_lens.studies.registry import LEAVING_OUT, STUDIES

    if named_texts(model, None) == PASSAGES:
        check_language(model, "give skip= (what a warm-up on other texts says)")
    how: dict[str, Any] = {
        "n_texts": n_texts,
        "prepend_bos": prepend_bos,
        "layers": layers,
        "seed": seed,
        "random_init": False,
    }
    warm: Any = run(STUDIES.get(LEAVING_OUT)(), model, **how, progress=progress)
    notes.append(warm.sentence)
    notes.extend(notes_of_a_part(model, warm.warnings, notes))
    if warm.skip is None:
        raise InputError(_remedy(warm))
    return int(warm.skip)


def _remedy(warm: Any) -> str:
    """What to do where a warm-up names no number, and why it does not."""
    data, tau = warm.dataset, float(warm.dataset.attrs["tau"])
    wider = data["tolerance_k_hi"].sel(tolerance=data["tolerance"] > tau)
    enough = [f"{int(k)} (enough at ±{float(k.tolerance):g} rad)" for k in wider if k >= 0][:1]
    by_hand = f"give skip={enough[0] if enough else 'K'}"
    most = N_PASSAGES if warm.settings.get("texts") == PASSAGES else MOST_TEXTS
    more = warm.n_needed is not None and warm.n_needed <= most
    or_more = f", or n_texts={warm.n_needed} (about so many would show a number)" if more else ""
    return f"{by_hand}{or_more}: the warm-up is {warm.verdict} at ±{tau:g} rad on {data.sizes['text']} texts"


def write_masks(masks: TokenMasks, folder: Path) -> dict[str, Path]:
    """masks.safetensors and masks.json in a folder: both, or both earlier ones.

    The safetensors file holds `keep` and `sinks` (bool) and `tokens` (int64), all [text pos], −1 after a
    text's end, with the settings in its metadata; the JSON file holds, for each text, the text (null where
    token ids were given), its tokens as text and as ids, `keep` and `sinks`, without padding.

    Raises:
        ResultError: they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {"masks": folder / "masks.safetensors", "json": folder / "masks.json"}
    metadata = {"format": FORMAT, "summary": _json(masks.summary())}
    tensors = {"keep": masks.keep, "sinks": masks.sinks, "tokens": masks.tokens}
    with atomic_path(files["json"]) as text, atomic_path(files["masks"]) as path:
        path.write_bytes(safetensors_bytes(tensors, metadata))
        body = {"format": FORMAT, **masks.summary(), "texts": _by_text(masks)}
        text.write_bytes(_json(body, indent=1).encode())
    return files


def _json(value: object, indent: int | None = None) -> str:
    """JSON that UTF-8 can hold: half a surrogate pair as its escape."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text.encode("utf-8", errors="backslashreplace").decode()


def safetensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file; equal content gives equal bytes, where the library's metadata have no order."""
    from safetensors.torch import save

    raw: bytes = save({name: tensor.contiguous() for name, tensor in tensors.items()}, dict(metadata))
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors stay aligned
    return len(text).to_bytes(8, "little") + text + raw[end:]


def _by_text(masks: TokenMasks) -> list[dict[str, Any]]:
    found = []
    texts = masks.texts or (None,) * len(masks.words)
    for row, (text, words) in enumerate(zip(texts, masks.words, strict=True)):
        n = len(words)
        found.append(
            {
                "text": text,
                "tokens": words,
                "token_ids": masks.tokens[row, :n].tolist(),
                "keep": masks.keep[row, :n].tolist(),
                "sinks": masks.sinks[row, :n].tolist(),
            }
        )
    return found
