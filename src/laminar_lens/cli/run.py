"""Does what a request asks: load, measure, save, say. The science is in the studies."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from laminar_lens.axes import Progress
from laminar_lens.cli import tables
from laminar_lens.cli.requests import (
    AnglesRequest,
    ModelChoice,
    Output,
    Request,
    SequentialRequest,
    ShowRequest,
    WarmupRequest,
)
from laminar_lens.cli.screen import say, working
from laminar_lens.results import StudyResult, atomic_path, layer_rows, load_result


def execute(request: Request) -> None:
    """Carries out a checked request; the files are whole before anything is said about them."""
    if isinstance(request, SequentialRequest):
        _sequential(request)
    elif isinstance(request, WarmupRequest):
        _warmup(request)
    elif isinstance(request, AnglesRequest):
        _angles(request)
    else:
        _show(request)


def _sequential(request: SequentialRequest) -> None:
    with working(quiet=request.output.quiet) as progress:
        from laminar_lens.studies.sequential import sequential_study

        model = _load(request.model, progress)
        warm = _warmup_part(model, request, progress) if request.warmup else False
        study = sequential_study(
            model,
            request.prompts.texts,
            target=request.target,
            occurrence=request.occurrence,
            regex=request.regex,
            baseline=request.baseline,
            skip=request.skip,
            warmup=warm,
            **_common(request, progress),
        )
        files = _save(study, request.output, "sequential", progress)
        frame = (
            _grid(model, request, files, progress, prompts=request.prompts.texts, target=request.target)
            if request.grid
            else None
        )
    _tell(study, request.output, files, frame)


def _warmup(request: WarmupRequest) -> None:
    with working(quiet=request.output.quiet) as progress:
        from laminar_lens.studies.warmup import warmup_study

        model = _load(request.model, progress)
        chosen: dict[str, Any] = {"length": request.length, "tau": request.tau}
        if request.n_texts is not None:
            chosen["n_texts"] = request.n_texts
        if request.reference is not None:
            chosen["reference"] = request.reference
        study = warmup_study(model, request.texts, **chosen, **_common(request, progress))
        files = _save(study, request.output, "warmup", progress)
        frame = (
            _grid(model, request, files, progress, texts=request.texts, length=request.length)
            if request.grid
            else None
        )
    _tell(study, request.output, files, frame)


def _angles(request: AnglesRequest) -> None:
    with working(quiet=request.quiet) as progress:
        from laminar_lens.studies.angles import angle_rows, angle_table

        model = _load(request.model, progress)
        choice = request.model
        dataset = angle_table(
            model,
            request.prompts.texts,
            what=request.what,
            prepend_bos=choice.prepend_bos,
            final_norm=choice.final_norm,
            layers=choice.layers,
            backend=choice.backend,
            progress=progress,
        )
        if request.format == "nc":
            StudyResult(dataset).save(request.path)
        else:
            with atomic_path(request.path) as path:
                angle_rows(dataset).to_csv(path, index=False)
    say(str(request.path))


def _show(request: ShowRequest) -> None:
    with working(quiet=request.quiet):
        study = load_result(request.path)
        files = {"result": request.path}
        if request.page is not None:
            files["page"] = study.report(request.page)
    _tell(study, Output(request.path.parent, request.json, request.quiet), files, None)


def _load(choice: ModelChoice, progress: Progress) -> Any:
    label = f"loading {choice.name}"
    progress(label, 0, 0)
    from laminar_lens.models import load_model

    model = load_model(
        choice.name,
        device=choice.device,
        dtype=choice.dtype,
        bridge=choice.bridge,
        trust_remote_code=choice.trust_remote_code,
    )
    progress(label, 1, 1)
    return model


def _common(request: SequentialRequest | WarmupRequest, progress: Progress) -> dict[str, Any]:
    """The arguments that both studies take alike."""
    return {
        "seed": request.seed,
        "prepend_bos": request.model.prepend_bos,
        "final_norm": request.model.final_norm,
        "layers": request.model.layers,
        "backend": request.model.backend,
        "progress": progress,
    }


def _warmup_part(model: Any, request: SequentialRequest, progress: Progress) -> Any:
    """How many first positions to leave out, measured on texts that the model writes itself."""
    from laminar_lens.studies.warmup import warmup_study

    chosen: dict[str, Any] = {"tau": request.tau}
    if request.n_texts is not None:
        chosen["n_texts"] = request.n_texts
    return warmup_study(model, **chosen, **_common(request, progress))


def _grid(
    model: Any,
    request: SequentialRequest | WarmupRequest,
    files: dict[str, Path],
    progress: Progress,
    **texts: Any,
) -> Any:
    """The sensitivity grid if it was asked for, also saved as CSV beside the result."""
    if not request.grid:
        return None
    from laminar_lens.studies.grid import sensitivity_grid

    if request.n_texts is not None:
        texts["n_texts"] = request.n_texts
    frame = sensitivity_grid(model, **texts, seed=request.seed, progress=progress)
    files["grid"] = files["result"].with_suffix(".grid.csv")
    with atomic_path(files["grid"]) as path:
        frame.to_csv(path, index=False)
    return frame


def _save(study: StudyResult, output: Output, stem: str, progress: Progress) -> dict[str, Path]:
    """The result and its page in the output folder; each whole, or the earlier one."""
    output.folder.mkdir(parents=True, exist_ok=True)
    files = {"result": study.save(output.folder / f"{stem}.nc")}
    progress("writing the page", 0, 1)
    files["page"] = study.report(output.folder / f"{stem}.html")
    progress("writing the page", 1, 1)
    return files


def _tell(study: StudyResult, output: Output, files: Mapping[str, Path], frame: Any) -> None:
    """The answer, in the form that was asked for."""
    if output.json:
        summary = {**study.summary(), "files": {name: str(path) for name, path in files.items()}}
        if frame is not None:
            summary["grid"] = json.loads(frame.to_json(orient="records"))
        say(json.dumps(summary, ensure_ascii=True, allow_nan=False, indent=2))
    elif output.quiet:
        say("\n".join(str(path) for path in files.values()))
    else:
        say(*_parts(study, frame), *(f"{name}: {path}" for name, path in files.items()))


def _parts(study: StudyResult, frame: Any) -> list[Any]:
    """Sentence, claims, layers and warnings, in the order in which they are read."""
    summary = study.summary()
    parts: list[Any] = [summary["sentence"], ""]
    if summary["claims"]:
        parts.append(tables.claims(summary["claims"]))
    if "target_mean" in study.dataset:
        baseline = str(summary["settings"].get("baseline", "published"))
        parts.append(tables.sequential_by_layer(study.dataset, baseline))
    if rows := layer_rows(study.dataset):
        parts.append(tables.warmup_by_layer(rows))
    if frame is not None:
        parts.append(tables.grid(frame))
    return parts + [f"warning: {warning}" for warning in summary["warnings"]]
