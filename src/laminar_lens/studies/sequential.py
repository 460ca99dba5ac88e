"""The sequential-angle study: the target, its baselines, fixed positions, and the published claims."""

from dataclasses import asdict
from typing import Any

import numpy as np

from laminar_lens.axes import Progress
from laminar_lens.errors import InputError, ModelError
from laminar_lens.models import describe, processing_note, random_twin, sample_tokens
from laminar_lens.pairs import BASELINES
from laminar_lens.results import StudyResult, label_dataset, make_provenance, texts_fingerprint
from laminar_lens.studies.claims import answer_claims, sentence
from laminar_lens.studies.comparison import Baseline, compare, mean
from laminar_lens.studies.measurement import (
    Adjacent,
    Capture,
    Measured,
    adjacent_angles,
    chosen_layers,
    measured_angles,
)
from laminar_lens.studies.plan import (
    Plan,
    Settings,
    check_donors,
    check_settings,
    check_tokens,
    draw_matched,
    make_plan,
)
from laminar_lens.studies.sequential_dataset import sequential_dataset
from laminar_lens.studies.warmup import WarmupResult, warmup_study

N_DONORS = 128
DONOR_LENGTH = 64


def sequential_study(
    model: Any,
    prompts: Any,
    *,
    target: Any = " her",
    occurrence: Any = "error",
    regex: bool = False,
    baseline: Any = "published",
    skip: Any = 0,
    seed: int = 0,
    prepend_bos: bool = False,
    final_norm: bool = False,
    layers: Any = None,
    donors: Any = None,
    n_donors: int = N_DONORS,
    warmup: Any = None,
    random_init: bool = True,
    n_draws: int = 200,
    n_perm: int = 10_000,
    backend: str = "auto",
    progress: Progress | None = None,
) -> StudyResult:
    """Measure a target's sequential angle against its baselines, layer by layer, and answer the claims C1–C7.

    Args:
        model: any TransformerLens model with a tokenizer.
        prompts: independent texts; each is one observation.
        target: text or regular expression; the pair is (token before, first token of the target).
        occurrence: "error" wants one occurrence a prompt; "first" and "last" choose, "all" averages.
        baseline: "published", "adjacent", "matched" or "by_position": the one whose modes are analysed. All
            are compared with the target.
        skip: leaves out pairs that begin in the first `skip` positions.
        seed: of every random draw; the same seed gives the same numbers.
        prepend_bos: puts the model's BOS at position 0.
        final_norm: takes the last hidden state after the final norm, as the original did.
        layers: hidden states, all by default.
        donors: texts, or token ids [text pos], from outside the study for `matched`; by default the texts of
            the warm-up part, or, without it, `n_donors` that the model writes. Each prompt has donors of
            its own, at least two where the model writes them.
        warmup: an earlier `warmup_study` of this model, None to run one, False to leave it out (C7 is then
            undetermined).
        random_init: also measures the same architecture with random weights.
        n_draws: seeded draws of each random baseline; the first is the published single draw.
        n_perm: sign flips of each test.
        backend: of the angle kernels.
        progress: called as (label, done, total).

    Returns:
        A result of kind "sequential". Angles are radians in [0, π]; NaN where a prompt has no such pair.

    Raises:
        InputError: an argument or prompt that does not fit; the message names it.
        CaptureError: an activation that is not finite.
    """
    settings = Settings(target, occurrence, regex, baseline, skip, seed, prepend_bos, n_draws)
    texts = check_settings(prompts, settings)
    if n_perm < 1:
        raise InputError(f"n_perm={n_perm} draws no sign flip: give at least 1, usually 10000")
    plan = make_plan(getattr(model, "tokenizer", None), texts, settings)
    how = Capture(prepend_bos, final_norm, chosen_layers(model, layers), backend)
    measured = _measure(model, plan, how, progress)
    if note := processing_note(model):
        plan.notes.insert(0, note)
    check_tokens(plan, measured.tokens, bos=int(prepend_bos))
    warm = _warmup(model, warmup, how, seed, progress)
    donated = _donors(model, donors, n_donors, warm, plan, how, seed, progress)
    baselines = _baselines(plan, measured, donated, settings, n_perm, progress)
    random = _random_curve(model, plan, how, seed, progress) if random_init else None
    dataset = sequential_dataset(plan, measured, baselines, random, warm, chosen=baseline, seed=seed)
    claims = answer_claims(dataset, baselines, chosen=baseline, warmup=warm, seed=seed)
    used = {**asdict(settings), "final_norm": final_norm, "layers": list(measured.layers), "n_perm": n_perm}
    used |= {"n_donors": len(donated.tokens), "donors_sha256": texts_fingerprint(donated.tokens)[1]}
    used |= {"random_init": random_init, "warmup": warm is not None}
    return StudyResult(
        label_dataset(
            dataset.assign(claims),
            study="sequential",
            sentence=sentence(measured.layers, baselines[baseline], warm),
            provenance=make_provenance(
                measured.info, used, backend=str(measured.info["backend"]), seed=seed, texts=texts
            ),
            settings=used,
            warnings=plan.notes,
        )
    )


def _measure(model: Any, plan: Plan, how: Capture, progress: Progress | None) -> Measured:
    """Everything that the prompts themselves give, in one pass."""
    pairs = {"target": plan.target, "permuted": plan.permuted}
    pairs |= {name: np.swapaxes(drawn, 0, 1) for name, drawn in plan.draws.items()}
    return measured_angles(model, plan.prompts, pairs, plan.target[:, :, 1], how, progress=progress)


def _baselines(
    plan: Plan,
    measured: Measured,
    donors: Adjacent,
    settings: Settings,
    n_perm: int,
    progress: Progress | None,
) -> dict[str, Baseline]:
    """Every baseline that these prompts allow, in the order of `BASELINES`."""
    angles = {name: measured.pair_angle[name] for name in plan.draws}
    pairs = dict(plan.draws)
    drawn = draw_matched(plan, donors, settings)
    if drawn is not None:
        text, first = drawn[..., 0], drawn[..., 1]
        found = donors.angle[:, np.maximum(text, 0), np.maximum(first, 0)]
        angles["matched"] = np.swapaxes(np.where(text < 0, np.nan, found), 1, 2)
        pairs["matched"] = drawn[..., 1:]
    target = mean(measured.pair_angle["target"], axis=2)
    compared = {}
    for done, name in enumerate(BASELINES):
        if progress is not None:
            progress("comparing baselines", done, len(BASELINES))
        if name in angles:
            compared[name] = compare(
                target,
                plan.target[:, 0],
                name,
                angles[name],
                pairs[name],
                measured.layers,
                n_perm=n_perm,
                seed=settings.seed,
            )
    if progress is not None:
        progress("comparing baselines", len(BASELINES), len(BASELINES))
    return compared


def _warmup(
    model: Any, warmup: Any, how: Capture, seed: int, progress: Progress | None
) -> WarmupResult | None:
    """The warm-up part: run now, given and checked, or left out."""
    if warmup is False:
        return None
    if warmup is None or warmup is True:
        return warmup_study(
            model,
            prepend_bos=how.prepend_bos,
            final_norm=how.final_norm,
            layers=how.layers,
            seed=seed,
            backend=how.backend,
            progress=progress,
        )
    if not isinstance(warmup, WarmupResult):
        raise InputError(
            f"warmup is a {type(warmup).__name__}: give a result of warmup_study, None to run one, or False"
        )
    _check_warmup(warmup, model, how)
    return warmup


def _check_warmup(warmup: WarmupResult, model: Any, how: Capture) -> None:
    """Refuses a warm-up of another model, or one that was captured differently."""
    made, info = warmup.provenance.get("model", {}), describe(model)
    if made.get("weights_sha256", info.weights_sha256) != info.weights_sha256:
        raise InputError(
            f"warmup was measured on model {made.get('name')!r}, this is {info.name!r}: measure it again"
        )
    for name in ("prepend_bos", "final_norm"):
        was, now = bool(warmup.settings.get(name)), getattr(how, name)
        if was != now:
            raise InputError(
                f"warmup was measured with {name}={was}, this study has {name}={now}: use the same"
            )
    missing = set(how.layers or range(info.n_layers + 1)) - set(warmup.dataset["layer"].values.tolist())
    if missing:
        raise InputError(f"warmup lacks layer {min(missing)}: measure it on the layers of this study")


def _donors(
    model: Any,
    donors: Any,
    n: int,
    warm: WarmupResult | None,
    plan: Plan,
    how: Capture,
    seed: int,
    progress: Progress | None,
) -> Adjacent:
    """Adjacent angles of texts from outside the study: given, those of the warm-up, or fresh samples."""
    reach, prompts = int(plan.target.max()) + 1 - int(how.prepend_bos), len(plan.prompts)
    if donors is None and warm is not None and warm.tokens is not None:
        n_texts, length = warm.tokens.shape
        if length >= reach and n_texts >= prompts:
            return _shared(warm, model, how)
    if donors is None:
        n = max(n, 2 * prompts)
        length = min(max(DONOR_LENGTH, reach), int(model.cfg.n_ctx) - int(how.prepend_bos))
        donors = sample_tokens(model, n, length, seed=seed, progress=progress)
    elif not hasattr(donors, "ndim"):
        donors = check_donors(donors, plan.prompts)
    return adjacent_angles(model, donors, how, label="capturing donors", progress=progress)


def _shared(warm: WarmupResult, model: Any, how: Capture) -> Adjacent:
    """The warm-up's texts as donors: their angles are already measured."""
    tokens = np.asarray(warm.tokens)
    if how.prepend_bos:
        tokens = np.pad(tokens, ((0, 0), (1, 0)), constant_values=int(describe(model).bos_token_id or 0))
    chosen = warm.dataset["angle"].transpose("layer", "text", "pair")
    layers = tuple(how.layers or range(int(model.cfg.n_layers) + 1))
    angle = np.asarray(chosen.sel(layer=list(layers)).values, dtype=np.float64)
    return Adjacent(layers, tokens, [], angle, {})


def _random_curve(
    model: Any, plan: Plan, how: Capture, seed: int, progress: Progress | None
) -> np.ndarray | None:
    """Mean angle [layer pair] of the same prompts in the same architecture with random weights."""
    try:
        twin = random_twin(model, seed=seed)
    except ModelError as error:
        plan.notes.append(f"No random-weights curve: {error}.")
        return None
    angles = adjacent_angles(twin, plan.prompts, how, label="capturing random weights", progress=progress)
    return mean(angles.angle, axis=1)
