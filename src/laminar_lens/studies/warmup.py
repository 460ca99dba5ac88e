"""How many first tokens to leave out of a statistic on this model: measured on texts, answered in one
sentence."""

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool
from torch import Tensor

from laminar_lens.axes import PLAIN, Progress
from laminar_lens.capture import ResidualStates
from laminar_lens.errors import InputError, ShapeError
from laminar_lens.interventions import Intervention
from laminar_lens.interventions.conditions import as_conditions, named_progress
from laminar_lens.interventions.conditions import notes as intervention_notes
from laminar_lens.models import processing_note
from laminar_lens.models.forward import check_model
from laminar_lens.models.sample import check_seed
from laminar_lens.results import StudyResult, label_dataset, layer_rows, make_provenance
from laminar_lens.stats.sinks import sink_tokens
from laminar_lens.stats.warmup import check_tau
from laminar_lens.studies.conditions import with_conditions
from laminar_lens.studies.warmup_dataset import answer_dataset
from laminar_lens.studies.warmup_measurement import measure, random_angles
from laminar_lens.studies.warmup_texts import DEFAULT_TEXTS, Texts, chosen_texts


class WarmupResult(StudyResult):
    """The three-valued answer of `warmup_study`, with its curves; see `mask` for using it elsewhere.

    With several conditions, the answer is that of the plain run; `condition(name)` has another's.
    """

    study: ClassVar[str | None] = "warmup"

    def condition(self, name: str) -> "WarmupResult":
        """As `StudyResult.condition`."""
        return WarmupResult(super().condition(name).dataset)

    def _number(self, name: str) -> int | None:
        value = int(self.dataset.attrs[name])
        return None if value < 0 else value

    @property
    def verdict(self) -> str:
        """ "decided", "undetermined" or "drift"."""
        return str(self.dataset.attrs["verdict"])

    @property
    def skip(self) -> int | None:
        """Number of first tokens to leave out; None unless decided."""
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
        """Texts that would decide nine times in ten; None where decided, drifting, or more than a million."""
        return self._number("n_needed")

    @property
    def by_layer(self) -> list[dict[str, Any]]:
        """The answer of each layer by itself, one dictionary a layer."""
        return layer_rows(self.condition(PLAIN).dataset)

    @property
    def tokens(self) -> Tensor | None:
        """The texts that were measured, as token ids [text pos] without the BOS that `prepend_bos` put before
        them; None if the result does not hold them."""
        plain = self.condition(PLAIN).dataset
        if "token_id" not in plain:
            return None
        return torch.from_numpy(np.array(plain["token_id"].values, dtype=np.int64))

    def mask(
        self,
        tokens: Any = None,
        *,
        states: ResidualStates | None = None,
        layers: Any = None,
        padding: Any = None,
        strict: bool = False,
    ) -> Bool[Tensor, "batch pos"]:
        """Which tokens to keep in any other analysis: True = keep, padding False.

        Args:
            tokens: ids [batch pos] on either padding side, or give `states`. Where the study put a BOS before
                its texts, a row without one starts at position 1, as it would in `capture_residuals`.
            states: captured states; tokens that are sinks by their vectors are then left out wherever they
                stand (see `laminar_lens.stats.sinks.sink_tokens`).
            layers: hidden states in which to look for sinks; all that were captured by default.
            padding: bool [batch pos], True = real token; without it a negative id is padding.
            strict: refuse an undetermined answer, instead of leaving out `k_hi` tokens with a warning.

        Raises:
            InputError: drift, no upper bound, or undetermined with `strict`; neither or both of tokens and
                states.
        """
        if (tokens is None) == (states is None):
            raise InputError("mask() takes either tokens [batch pos] or states=, one of the two")
        skip = self._skip_for_mask(strict)
        if states is None:
            return _position_mask(tokens, padding, skip, self._bos())
        self._check_same_bos(states)
        keep = states.mask & (torch.tensor(states.positions, device=states.mask.device) >= skip)
        rows = range(len(states.layers)) if layers is None else _rows(states, layers)
        values = states.values[list(rows)].detach().float().cpu().numpy()
        sinks = sink_tokens(values, states.mask.cpu().numpy())
        return keep & ~torch.from_numpy(sinks).to(keep.device)

    def _bos(self) -> int | None:
        """The BOS that the study put before its texts, -1 where its id is not known; None without one."""
        if not self.settings.get("prepend_bos"):
            return None
        bos = self.provenance.get("model", {}).get("bos_token_id")
        return -1 if bos is None else int(bos)

    def _skip_for_mask(self, strict: bool) -> int:
        if self.skip is not None:
            return self.skip
        if self.verdict == "drift" or self.k_hi is None:
            raise InputError(
                f"the warm-up is {self.verdict} without a finite upper bound, so no position rule exists; "
                "look at the curve, widen tau, or measure more texts"
            )
        if strict:
            raise InputError(
                f"the warm-up is undetermined ({self.k_lo} to {self.k_hi} tokens); measure more texts"
            )
        warnings.warn(
            f"the warm-up is undetermined ({self.k_lo} to {self.k_hi} tokens); leaving out {self.k_hi}",
            stacklevel=3,
        )
        return self.k_hi

    def _check_same_bos(self, states: ResidualStates) -> None:
        here, there = bool(self.settings.get("prepend_bos")), states.info.get("prepend_bos")
        if there is not None and bool(there) != here:
            raise InputError(
                f"states were captured with prepend_bos={bool(there)}, the warm-up measured with {here}; "
                "position 0 is not the same token, use the same setting"
            )


def warmup_study(
    model: Any,
    texts: Any = None,
    *,
    n_texts: int = DEFAULT_TEXTS,
    length: int | None = None,
    tau: float = 0.05,
    reference: Any = None,
    groups: Any = None,
    prepend_bos: bool = False,
    final_norm: bool = False,
    layers: Any = None,
    seed: int = 0,
    random_init: bool = True,
    backend: str = "auto",
    interventions: Any = None,
    progress: Progress | None = None,
) -> WarmupResult:
    """How many first tokens stand apart from the rest of their texts: decided, undetermined, or drift.

    Decided by δ, the mean over texts of a pair's angle minus that of the same text's reference pairs. The
    paired shift, the same bigram first and deep inside its text, is reported beside it and decides nothing.

    Args:
        model: any causal TransformerLens model.
        texts: None to let the model write its own; texts (the first `length` tokens of each), a file with
            one text a line, several files (windows of one file are one group), or token ids [text pos].
        n_texts: how many the model writes.
        length: tokens a text, 64 by default (or what the context or the given ids allow).
        tau: differences below this, in radians, do not matter; between 0 and π.
        reference: pairs that all others are compared with: "last third" (default), "last half",
            "last quarter", a slice, or (first, stop).
        groups: one label a text; texts of one group count as one observation.
        prepend_bos, final_norm, layers: as in `capture_residuals`; with a BOS, position 0 is the BOS.
        seed: of the texts, the bootstrap, the random twin and the split of the texts.
        random_init: measure the same architecture with random weights beside it.
        backend: kernel of the angles.
        interventions: one, a list (applied together), or a mapping from names to lists, such as
            `[cut(5), restart(5)]`; the same texts are measured again under each, on an axis `intervention`
            with "plain" first. Texts are always written by the model as it is.
        progress: called as `progress(label, done, total)`.

    Raises:
        InputError: an argument that does not fit, or fewer than 2 independent texts of that length.

    Source: laminar-lens, definition of the experiment, "Warm-up, a three-valued answer".
    """
    check_model(model)
    check_seed(seed)
    check_tau(tau)
    conditions = as_conditions(interventions)
    how = {"prepend_bos": prepend_bos, "final_norm": final_norm, "layers": layers}
    said = [note] if (note := processing_note(model)) else []
    chosen = chosen_texts(model, texts, n_texts, length, groups, prepend_bos, seed, said, progress)
    plan = _Plan(model, chosen, how, tau, reference, seed, random_init, backend, texts is not None)
    found = {
        name: _condition(plan, changes, said, named_progress(progress, name))
        for name, changes in conditions.items()
    }
    return WarmupResult(with_conditions(model, found, conditions, groups=chosen.groups))


@dataclass(frozen=True)
class _Plan:
    """What is the same in every condition of a study."""

    model: Any
    texts: Texts
    how: dict[str, Any]
    tau: float
    reference: Any
    seed: int
    random_init: bool
    backend: str
    given: bool


def _condition(
    plan: _Plan, changes: tuple[Intervention, ...], said: list[str], progress: Progress | None
) -> xr.Dataset:
    """The labelled dataset of one condition."""
    said = [*said, *intervention_notes(plan.model, changes)]
    how = {**plan.how, "interventions": changes}
    measured = measure(plan.model, plan.texts, how, plan.reference, plan.backend, said, progress)
    random = (
        random_angles(plan.model, plan.texts.tokens, how, plan.backend, plan.seed, said, progress)
        if plan.random_init
        else None
    )
    dataset, sentence = answer_dataset(
        measured,
        random,
        tau=plan.tau,
        reference=plan.reference,
        seed=plan.seed,
        notes=said,
        progress=progress,
    )
    settings = {
        "texts": "given" if plan.given else "written by the model",
        "n_texts": len(plan.texts.tokens),
        "length": plan.texts.tokens.shape[1],
        "tau": plan.tau,
        "reference": [int(dataset.attrs["reference_start"]), int(dataset.attrs["reference_stop"])],
        "grouped": plan.texts.groups is not None,
        "prepend_bos": plan.how["prepend_bos"],
        "final_norm": plan.how["final_norm"],
        "layers": list(measured.layers),
        "random_init": plan.random_init,
    }
    settings |= {"interventions": [one.label for one in changes]} if changes else {}
    provenance = make_provenance(
        measured.info,
        settings,
        backend=str(measured.info["backend"]),
        seed=plan.seed,
        texts=plan.texts.tokens.numpy(),
    )
    return label_dataset(
        dataset,
        study="warmup",
        sentence=sentence,
        provenance=provenance,
        settings=settings,
        warnings=said,
    )


def _position_mask(tokens: Any, padding: Any, skip: int, bos: int | None) -> Bool[Tensor, "batch pos"]:
    """Real tokens from the skip-th of each row on, whichever side is padded; a `bos` that the row lacks
    counts as its first."""
    ids = torch.as_tensor(tokens)
    if ids.ndim != 2 or ids.dtype.is_floating_point:
        raise ShapeError(f"tokens has shape {tuple(ids.shape)} of {ids.dtype}; give integer ids [batch pos]")
    real = ids >= 0 if padding is None else torch.as_tensor(padding).bool()
    if real.shape != ids.shape:
        raise ShapeError(f"padding has shape {tuple(real.shape)}, tokens {tuple(ids.shape)}; they must agree")
    count = real.cumsum(dim=1)
    if bos is not None:
        begins = (real & (count == 1) & (ids == bos)).any(dim=1, keepdim=True)
        count = count + (~begins).long()
    return real & (count > skip)


def _rows(states: ResidualStates, layers: Any) -> list[int]:
    wanted = [layers] if isinstance(layers, int) else list(layers)
    for layer in wanted:
        if layer not in states.layers:
            raise InputError(f"layer {layer} is not among the captured hidden states {list(states.layers)}")
    return [states.layers.index(layer) for layer in wanted]
