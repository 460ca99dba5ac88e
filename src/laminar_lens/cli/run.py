"""Does what a request asks: load, measure, save, say. The science is in the studies."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from laminar_lens.axes import Progress
from laminar_lens.cli.requests import (
    AnglesRequest,
    CompareRequest,
    MaskRequest,
    ModelChoice,
    Output,
    Request,
    ShowRequest,
    StudyRequest,
)
from laminar_lens.cli.screen import say, working
from laminar_lens.cli.show import options_again
from laminar_lens.cli.streams import written
from laminar_lens.errors import InputError, LaminarLensError, ResultError
from laminar_lens.files import atomic_path, write_text
from laminar_lens.results import StudyResult, load_result
from laminar_lens.studies.choices import grid_table
from laminar_lens.studies.command import command_of


def execute(request: Request) -> None:
    """Carries out a checked request; the files are whole before anything is said about them."""
    if isinstance(request, StudyRequest):
        _study(request)
    elif isinstance(request, AnglesRequest):
        _angles(request)
    elif isinstance(request, MaskRequest):
        _mask(request)
    elif isinstance(request, CompareRequest):
        _compare(request)
    else:
        _show(request)


def _study(request: StudyRequest) -> None:
    with working(quiet=request.output.quiet) as progress:
        from laminar_lens.studies.drive import run

        model, does = _load(request.model, progress), command_of(type(request.study))
        found = run(does.study(request), model, request.texts, progress=progress, **request.options)
        frame = does.grid(model, request, progress)
        found = found if frame is None else found.attach(grid_table(frame))
        files = _save(found, request.output, progress)
    with written(files.values()):
        _tell(found, request.output, files)


def _angles(request: AnglesRequest) -> None:
    with working(quiet=request.quiet) as progress:
        from laminar_lens.studies.angles import angle_rows, angle_table

        model = _load(request.model, progress)
        dataset = angle_table(
            model, request.prompts.texts, what=request.what, progress=progress, **request.options
        )
        request.path.parent.mkdir(parents=True, exist_ok=True)
        if request.format == "nc":
            StudyResult(dataset).save(request.path)
        else:
            with atomic_path(request.path) as path:
                angle_rows(dataset).to_csv(path, index=False, quoting=csv.QUOTE_NONNUMERIC)
    with written([request.path]):
        say(whole=[str(request.path)])


def _mask(request: MaskRequest) -> None:
    with working(quiet=request.quiet) as progress:
        from laminar_lens.studies.mask_files import token_masks, write_masks

        found = token_masks(
            _load(request.model, progress),
            request.texts.texts,
            skip=request.skip,
            sinks=request.sinks,
            progress=progress,
            **request.options,
        )
        files = write_masks(found, request.folder)
    with written(files.values()):
        if request.json:
            say(whole=_json({**found.summary(), "files": {name: str(path) for name, path in files.items()}}))
        elif request.quiet:
            say(whole=map(str, files.values()))
        else:
            warned = [f"note: {note}" for note in found.notes]
            say(found.sentence, *warned, whole=(f"{name}: {path}" for name, path in files.items()))


def _show(request: ShowRequest) -> None:
    with working(quiet=request.quiet):
        study = load_result(request.path)
        again = bool(request.options)
        if again:
            study = study.answer(**options_again(_kinds(study), request.options))
        made = {} if request.page is None else {"page": study.report(request.page)}
        folder, kind = request.figures
        made |= {} if folder is None else study.write_figures(folder, kind)
    notes = [] if again else _about_page(study, request.path, made)
    with written(made.values()):
        _tell(study, Output(request.path.parent, request.json, request.quiet), made, notes)


def _kinds(study: StudyResult) -> list[str]:
    """A study, and those that it rests on, and that these do."""
    return [study.kind, *(kind for part in study.parts() for kind in _kinds(part))]


def _compare(request: CompareRequest) -> None:
    """Each model by itself, saved as soon as it is measured; one is in memory at a time."""
    output, files = request.output, {}
    with working(quiet=output.quiet) as progress:
        from laminar_lens.comparison.compare import compare
        from laminar_lens.interventions.conditions import named_progress
        from laminar_lens.studies.drive import run

        given: dict[str, Any] = {
            label: _result_of(request.study, part) if isinstance(part, Path) else part
            for label, part in request.parts.items()
        }
        for label, part in request.parts.items():
            if isinstance(part, Path):
                continue
            told = named_progress(progress, label)
            study, model = command_of(type(part.study)).study(part), _load(part.model, told)
            found = run(study, model, part.texts, progress=told, **part.options)
            output.folder.mkdir(parents=True, exist_ok=True)
            given[label] = files[label] = found.save(output.folder / f"{request.study}-{label}.nc")
            del model
        made = compare(_by_model(given, request.parts))
        files |= _save(made, output, progress, stem=request.stem)
    with written(files.values()):
        _tell(made, output, files)


def _by_model(given: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """Results by what they are called: those that were run as they were asked for, those of files by the
    model that they say; the file's name stands behind it where two are called alike."""
    called = {
        label: _model_of(given[label], label) if isinstance(part, Path) else label
        for label, part in parts.items()
    }
    names = list(called.values())
    for label, name in called.items():
        if isinstance(parts[label], Path) and names.count(name) > 1:
            called[label] = f"{name} ({label})"
    named = {called[label]: given[label] for label in parts}
    return named if len(named) == len(given) else dict(given)


def _model_of(result: StudyResult, label: str) -> str:
    """The model of a result with its state, as `compare` names one; the label where it has no such name."""
    model = result.provenance.get("model")
    told = model if isinstance(model, Mapping) else {}
    name, state = str(told.get("name") or label), told.get("checkpoint") or told.get("revision") or ""
    called = name if str(state) in name else f"{name} ({state})"
    return called if called.strip() and called.isprintable() else label


def _result_of(kind: str, path: Path) -> StudyResult:
    """The result in a file, read before anything is run.

    Raises:
        InputError: it is another study's.
    """
    found = load_result(path)
    if found.kind != kind:
        raise InputError(f"{str(path)!r} is a result of {found.kind}, not of {kind}: give files of one study")
    return found


def _load(choice: ModelChoice, progress: Progress | None) -> Any:
    if progress is not None:
        progress(f"loading {choice.name}", 0, 0)
    from laminar_lens.models import load_model

    how = {name: value for name, value in vars(choice).items() if name != "name"}
    return load_model(choice.name, progress=progress, **how)


def _save(study: StudyResult, output: Output, progress: Progress, stem: str = "") -> dict[str, Path]:
    """The result, the grid and the page in the output folder: the numbers first, for they cost the most.

    Raises:
        ResultError: one cannot be written; those before it stay, and the line names them.
    """
    from laminar_lens.report import render

    output.folder.mkdir(parents=True, exist_ok=True)
    stem = stem or study.kind
    files = {"result": study.save(output.folder / f"{stem}.nc"), "page": output.folder / f"{stem}.html"}
    try:
        if "grid" in study.tables():
            files["grid"] = study.table("grid").to_csv(output.folder / f"{stem}.grid.csv")
        progress("writing the page", 0, 1)
        write_text(files["page"], render(study))
        progress("writing the page", 1, 1)
    except LaminarLensError as error:
        again = f"laminar-lens show {files['result']} --report PAGE.html"
        raise ResultError(
            f"{error}; the result is saved in {files['result']}, and its page can be made with {again}"
        ) from error
    return files


def _tell(study: StudyResult, output: Output, files: Mapping[str, Path], notes: Sequence[str] = ()) -> None:
    """The answer, in the form that was asked for; `files` were written, `notes` go with the warnings."""
    if output.json:
        summary = {**study.summary(), "files": {name: str(path) for name, path in files.items()}}
        summary["warnings"] = [*summary["warnings"], *notes]
        say(whole=_json(summary))
    elif output.quiet:
        say(whole=map(str, files.values()))
    else:
        warned = [f"warning: {note}" for note in [*study.warnings, *notes]]
        places = [f"{name}: {path}" for name, path in files.items()]
        say(study.sentence, "", *study.tables().values(), *warned, whole=places)


def _json(value: object) -> list[str]:
    """The lines of `value` as JSON, in which nothing is left that a terminal would have to be spared."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, indent=2)
    return text.replace("\x7f", "\\u007f").split("\n")


def _about_page(study: StudyResult, read: Path, made: Mapping[str, Path]) -> list[str]:
    """What is to be said where the page beside the file that was read was made from other numbers."""
    from laminar_lens.report.pages import page_numbers

    if (page := read.with_suffix(".html")) == made.get("page"):
        return []
    made_from = page_numbers(page)
    if made_from in (None, study.numbers_sha256):
        return []
    return [
        f"The page {page} beside this result was made from other numbers ({str(made_from)[:12]}…, here "
        f"{study.numbers_sha256[:12]}…): write it again with --report."
    ]
