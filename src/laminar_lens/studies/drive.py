"""A study from its options to its result: conditions, geometries, provenance and labels, once for all."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
import xarray as xr

from laminar_lens.arguments import checked, shown
from laminar_lens.axes import PLAIN, Progress, Prompts
from laminar_lens.errors import InputError
from laminar_lens.geometry import check_name
from laminar_lens.interventions.conditions import as_conditions, check_conditions, named_progress
from laminar_lens.interventions.conditions import notes as intervention_notes
from laminar_lens.kernels import resolve_backend
from laminar_lens.models import processing_note
from laminar_lens.models.edits import Intervention
from laminar_lens.models.forward import check_model
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import check_final_norm
from laminar_lens.models.passages import GIVEN
from laminar_lens.models.sample import check_seed
from laminar_lens.models.selection import increasing_layers
from laminar_lens.models.surroundings import described_model, surrounding_notes
from laminar_lens.results import StudyResult, make_provenance
from laminar_lens.results.tree import observation_of
from laminar_lens.studies.answering import ABOUT, answered, as_kept
from laminar_lens.studies.conditions import with_conditions
from laminar_lens.studies.geometries import check_apart, chosen_geometries, fitted, fitted_on
from laminar_lens.studies.options import Options, options_of
from laminar_lens.studies.run import Kept, Run
from laminar_lens.studies.study import Study
from laminar_lens.studies.target_prompts import TargetPrompts
from laminar_lens.studies.texts import Texts

R = TypeVar("R", bound=StudyResult)


@checked()
def run(
    study: Study,
    model: HookedModel,
    texts: Prompts = None,
    *,
    progress: Progress | None = None,
    **options: Any,
) -> StudyResult:
    """Measures a study and answers it.

    Args:
        study: with its own options, such as `Warmup(tau=0.1)`.
        model: any causal TransformerLens model.
        texts: as in `warmup_study`.
        progress: called as `progress(label, done, total)`.
        options: what studies share, see `laminar_lens.studies.options.Options`.

    Raises:
        InputError: something that does not fit; before any text is run where it can be told.
    """
    if not isinstance(study, Study):
        raise InputError(
            f"study is {shown(study)}; expected one of a class derived from laminar_lens.Study, with its "
            "options; shipped studies have functions, such as warmup_study"
        )
    return drive(study, model, texts, options_of(study, options), progress)


def asked(
    study: type[Study], kind: type[R], model: HookedModel, texts: Prompts, given: Mapping[str, Any]
) -> R:
    """As `run`, for the public function of a study: `given` are its arguments by name, the study's own
    options and those that studies share."""
    own, options = (
        {one.name: given[one.name] for one in fields(of) if one.name in given} for of in (study, Options)
    )
    found = run(study(**own), model, texts, progress=given["progress"], **options)
    assert isinstance(found, kind)
    return found


def drive(
    study: Study,
    model: HookedModel,
    texts: Prompts,
    options: Options,
    progress: Progress | None,
    kept: Kept | None = None,
) -> StudyResult:
    """As `run`, with all options; a study that is part of another shares what that one has `kept`."""
    check_model(model)
    check_seed(options.seed)
    conditions = as_conditions(options.interventions)
    for name, changes in conditions.items():
        _accept(study, Run(model, options, condition=name, changes=changes))
    start = Run(model, options, progress=progress, kept={} if kept is None else kept)
    plain = _prepared(study, start, texts)
    assert plain.texts is not None
    bos = options.prepend_bos
    lengths = [len(row) + int(bos) for row in plain.rows]
    check_conditions(model, conditions, lengths, prepend_bos=bos, layers=options.layers)
    runs = {name: _under(plain, name, changes) for name, changes in conditions.items()}
    for one in runs.values():
        study.check(one)
    measured_in = _geometries(study, plain)
    check_apart(plain.texts.settings.get("texts"), measured_in["geometry"])
    runs = {name: replace(one, **measured_in) for name, one in runs.items()}
    measured = {name: _measured(study, one) for name, one in runs.items()}
    found = {name: _told(study, part, runs[name]) for name, part in measured.items()}
    groups = observation_of(measured[PLAIN])
    parts = {name: one.parts for name, one in runs.items()}
    return study.result_class()(
        with_conditions(model, found, conditions, measured, parts=parts, groups=groups)
    )


def _told(study: Study, measured: xr.Dataset, run: Run) -> xr.Dataset:
    """The labelled answer, with progress: resampling takes its time."""
    if run.progress is not None:
        run.progress("statistics", 0, 1)
    found = answered(study, measured, run.parts)
    if run.progress is not None:
        run.progress("statistics", 1, 1)
    return found


def _prepared(study: Study, run: Run, texts: Prompts) -> Run:
    """The plain run with its texts, before any geometry is fitted."""
    processing = processing_note(run.model)
    processed = [processing] if processing else []
    run.notes.extend([*processed, *study.notes(run), *surrounding_notes(run.model)])
    return replace(run, texts=study.texts(run, texts))


def _geometries(study: Study, plain: Run) -> dict[str, Any]:
    """In which angles are measured, and those beside it; fitted on texts of their own where they need any."""
    assert plain.texts is not None
    prompts = isinstance(plain.texts, TargetPrompts)
    beside = fitted(plain.model, plain.options, plain.progress, prompts=prompts)
    return {"beside": beside, "geometry": study.geometry(replace(plain, beside=beside))}


def _under(plain: Run, name: str, changes: tuple[Intervention, ...]) -> Run:
    """The run under a condition, with notes of its own."""
    notes = [*plain.notes, *intervention_notes(plain.model, changes, plain.rows)]
    progress = named_progress(plain.progress, name)
    return replace(plain, condition=name, changes=changes, notes=notes, parts={}, progress=progress)


def _accept(study: Study, run: Run) -> None:
    """Every refusal that needs no texts."""
    model, options = run.model, run.options
    resolve_backend(options.backend, torch.zeros(1, device=model.cfg.device))
    if options.final_norm:
        check_final_norm(model)
    increasing_layers(options.layers, int(model.cfg.n_layers))
    chosen_geometries(options.geometries)
    if isinstance(options.geometry, str):
        check_name(options.geometry)
    else:
        study.geometry(run)
    study.accepts(run)


def _measured(study: Study, run: Run) -> xr.Dataset:
    """What the study measures, and all that its answer's labels need."""
    texts = run.texts
    assert texts is not None
    model = described_model(run.model)  # before anything changes it
    measured = study.measure(replace(run, about=model))
    if not isinstance(measured, xr.Dataset):
        raise InputError(f"measure of study {study.kind!r} returned {shown(measured)}; expected a Dataset")
    if (
        isinstance(texts, Texts)
        and "token_id" not in measured
        and measured.sizes.get("text") == len(texts.rows)
    ):
        measured = measured.assign(token_id=(("text", "token"), texts.hashed))
    taken = [name for name in ("prepend_bos", "final_norm", "random_init") if name not in study.without]
    settings: dict[str, Any] = {name: getattr(run.options, name) for name in taken}
    if "layers" not in study.without:
        settings["layers"] = _layers(study, measured)
    if "geometries" not in study.without:
        settings["geometries"] = list(run.beside)
        settings |= fitted_on(run.beside)
    settings |= {"geometry": run.geometry.name}
    settings |= {"interventions": [one.label for one in run.changes]} if run.changes else {}
    info = {**model, **measured.attrs.pop("info", {})}
    about = {
        "fields": {
            one.name: None if one.name in study.local else as_kept(getattr(study, one.name))
            for one in fields(study)
        },
        "texts": {"texts": GIVEN, **texts.settings},
        "settings": settings,
        "provenance": make_provenance(
            info,
            settings,
            backend=str(info.get("backend", "none")),
            seed=run.options.seed,
            texts=texts.hashed,
        ),
        "notes": run.notes,
        "observed": texts.ends("").strip(),
    }
    return measured.assign_attrs({ABOUT: about, "seed": run.options.seed})


def _layers(study: Study, measured: xr.Dataset) -> list[int]:
    """The hidden states that were measured."""
    if "layer" not in measured.coords:
        raise InputError(
            f"measure of study {study.kind!r} returned no coordinate 'layer': give the hidden states that "
            "were measured, or name 'layers' in its `without`"
        )
    found: list[int] = measured["layer"].values.tolist()
    return found
