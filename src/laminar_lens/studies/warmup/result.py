"""The answer of a warm-up study, and how to use it elsewhere."""

import warnings
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from laminar_lens.arguments import checked, whole
from laminar_lens.axes import Mask, Starts, Wholes
from laminar_lens.capture import ResidualStates
from laminar_lens.errors import InputError
from laminar_lens.models import describe
from laminar_lens.models.forward import check_model
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.padding import pad_token
from laminar_lens.results import StudyResult
from laminar_lens.results.complete import complete
from laminar_lens.studies.documents import document_starts_of, packed_note, places_in_documents
from laminar_lens.studies.masks import (
    check_whole,
    laid_out,
    position_mask,
    real_tokens,
    sink_mask,
    states_sinks,
)

ALL = "all"
"""Every layer at once."""


class WarmupResult(StudyResult):
    """The answer of `warmup_study`, with its curves; see `mask` for using it elsewhere.

    With several conditions, the answer is that of the plain run; `condition(name)` has another's.
    """

    study: ClassVar[str | None] = "warmup"

    @complete
    def condition(self, name: str) -> "WarmupResult":
        """As `StudyResult.condition`."""
        return WarmupResult(super().condition(name).tree)

    @complete
    def _number(self, name: str) -> int | None:
        value = int(self.dataset.attrs[name])
        return None if value < 0 else value

    @property
    @complete
    def verdict(self) -> str:
        """ "exact" (k_lo is k_hi), "bracketed" (between the two), "undetermined" or "drift"."""
        return str(self.dataset.attrs["verdict"])

    @property
    def skip(self) -> int | None:
        """Number of first tokens to leave out: `k_hi`, enough in every layer; None where none was shown."""
        return self._number("skip")

    @property
    def k_lo(self) -> int | None:
        """So many first tokens at least stand apart; None for drift."""
        return self._number("k_lo")

    @property
    def k_hi(self) -> int | None:
        """Past so many tokens nothing stands apart; None where no such bound was shown."""
        return self._number("k_hi")

    @property
    def n_needed(self) -> int | None:
        """By these texts, how many would make it exact, nine times in ten, or where it is undetermined would
        show that some number is enough; None where it is exact, drifts, or above a million."""
        return self._number("n_needed")

    @property
    @complete
    def by_layer(self) -> list[dict[str, Any]]:
        """The answer of each layer by itself, one dictionary a layer."""
        from laminar_lens.studies.warmup.view import by_layer

        table = by_layer(self.dataset)
        return [] if table is None else table.rows()

    @property
    @complete
    def tokens(self) -> Tensor | None:
        """The texts that were measured, as token ids [text pos] without the BOS that `prepend_bos` put before
        them; None if the result does not hold them."""
        plain = self.dataset
        if "token_id" not in plain:
            return None
        return torch.from_numpy(np.array(plain["token_id"].values, dtype=np.int64))

    @checked()
    def mask(
        self,
        tokens: object = None,
        *,
        states: ResidualStates | None = None,
        model: HookedModel | None = None,
        layers: Wholes = None,
        padding: Mask = None,
        document_starts: Starts = None,
        strict: bool = False,
        layer: object = ALL,
    ) -> Bool[Tensor, "batch pos"]:
        """Which tokens to keep in any other analysis: True = keep, padding False.

        Args:
            tokens: ids [batch pos] on either padding side; the mask is laid out as they are. Where the study
                put a BOS before its texts, a row without one starts at position 1, as it would in
                `capture_residuals`.
            states: captured states; tokens that are sinks by their vectors are then left out wherever they
                stand (see `laminar_lens.stats.sinks.sink_tokens`). The mask is laid out as `states.values`,
                from each text's start on, or as `tokens` where they are given, too.
            model: finds the same sinks in `tokens` by running the model, without keeping its states.
            layers: hidden states in which to look for sinks; all by default.
            padding: bool [batch pos], True = real token; without it a negative id is padding, or, where there
                is none, the tokenizer's pad id at the ends of rows (said where it could be text).
            document_starts: where documents start in packed rows, bool as `tokens` (or `states`) or a token
                id; positions count anew from each. The first token of a row always starts one.
            strict: refuse an answer that is not exact, instead of leaving out `k_hi` tokens.
            layer: hidden state whose own number of tokens is left out; "all", by default, leaves out as many
                as are enough in every layer, which may be many more than in the one you look at.

        Raises:
            InputError: drift, no upper bound, or not exact with `strict`; a layer that was not measured;
                neither tokens nor states, or states of other tokens; a model that the warm-up was not
                measured on.
        """
        if tokens is None and states is None:
            raise InputError(
                "mask() takes tokens [batch pos] or states=: give one of the two, or both for the states of "
                "these tokens"
            )
        skip = self.positions_to_skip(strict, layer)
        if tokens is None:
            assert states is not None
            if document_starts is None:
                self._say_if_packed(states.tokens, states.mask)
            return self._of_states(states, skip, layers, document_starts)
        ids, real = real_tokens(tokens, padding, pad_token(self._special()))
        if document_starts is None:
            self._say_if_packed(ids, real)
        starts = document_starts_of(ids, real, document_starts)
        if states is not None:
            self._check_same_bos(states)
            keep = position_mask(ids, real, skip, self._bos(), starts)
            return keep & ~laid_out(states_sinks(states, layers), states, ids, real)
        keep = position_mask(ids, real, skip, self._bos(), starts)
        return keep if model is None else keep & ~self._sinks(model, ids, real, layers, starts)

    def _of_states(
        self, states: ResidualStates, skip: int, layers: Wholes, document_starts: Starts
    ) -> Bool[Tensor, "batch pos"]:
        """The mask of captured states, laid out as they are."""
        self._check_same_bos(states)
        place = torch.tensor(states.positions, device=states.mask.device).expand_as(states.mask) + 1
        if document_starts is not None:
            check_whole(states)
            starts = document_starts_of(states.tokens, states.mask, document_starts)
            place = places_in_documents(states.mask, starts)
        keep = states.mask & (place > skip)
        return keep & ~states_sinks(states, layers).to(keep.device)

    def _say_if_packed(self, ids: Tensor, real: Tensor) -> None:
        """Warns where rows seem to hold several documents."""
        rows = (row[keep].tolist() for row, keep in zip(ids, real, strict=True))
        if note := packed_note(rows, self._special()):
            warnings.warn(note, stacklevel=4)

    def _special(self) -> dict[str, Any]:
        """The special tokens of the model's tokenizer, as far as the result holds them."""
        return dict(self.provenance.get("model", {}).get("special_tokens", {}))

    def _sinks(
        self, model: HookedModel, ids: Tensor, real: Tensor, layers: Wholes, starts: Tensor
    ) -> Bool[Tensor, "batch pos"]:
        check_model(model)
        made, here = self.provenance.get("model", {}), describe(model)
        if made.get("weights_sha256", here.weights_sha256) != here.weights_sha256:
            raise InputError(
                f"the warm-up was measured on model {made.get('name')!r}, this is {here.name!r}: measure it "
                "again, or give the model that it belongs to"
            )
        bos = here.bos_token_id if self.settings.get("prepend_bos") else None
        return sink_mask(model, ids, padding=real, bos=bos, starts=starts, layers=layers)

    def _bos(self) -> int | None:
        """The BOS that the study put before its texts, -1 where its id is not known; None without one."""
        if not self.settings.get("prepend_bos"):
            return None
        bos = self.provenance.get("model", {}).get("bos_token_id")
        return -1 if bos is None else int(bos)

    @checked()
    def positions_to_skip(self, strict: bool = False, layer: object = ALL) -> int:
        """How many first tokens to leave out: `skip`, or that of one layer.

        Raises:
            InputError: drift, no upper bound, or an answer that is not exact with `strict`; a layer that was
                not measured.
        """
        where, found = "", {name: getattr(self, name) for name in ("verdict", "k_lo", "k_hi")}
        if not (isinstance(layer, str) and layer == ALL):
            found, where = self._of_layer(layer), f" in layer {layer}"
        verdict, k_hi = found["verdict"], found["k_hi"]
        if verdict == "drift" or k_hi is None:
            raise InputError(
                f"the warm-up is {verdict}{where} without a finite upper bound, so no position rule exists; "
                "look at the curve, widen tau, or measure more texts"
            )
        if strict and verdict != "exact":
            raise InputError(
                f"the warm-up is not exact{where} ({found['k_lo']} to {k_hi} tokens); measure more texts"
            )
        return int(k_hi)

    def _of_layer(self, layer: object) -> dict[str, Any]:
        """Verdict and bounds of one layer."""
        rows = {row["layer"]: row for row in self.by_layer}
        number = whole("layer", layer)
        if number not in rows:
            raise InputError(f"layer {number} was not measured; choose from {', '.join(map(str, rows))}")
        return rows[number]

    def _check_same_bos(self, states: ResidualStates) -> None:
        here, there = bool(self.settings.get("prepend_bos")), states.info.get("prepend_bos")
        if there is not None and bool(there) != here:
            raise InputError(
                f"states were captured with prepend_bos={bool(there)}, the warm-up measured with {here}; "
                "position 0 is not the same token, use the same setting"
            )
