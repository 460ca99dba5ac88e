"""The contract that every study keeps: what conditions, files, pages and commands rely on.

from laminar_lens.testing import check_study
check_study(Turning())
"""

import html
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import fields
from functools import partial, wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import laminar_lens as ll
from laminar_lens.cli.commands import study_command
from laminar_lens.errors import a_kind
from laminar_lens.models.hooked import HookedModel
from laminar_lens.studies.drive import run
from laminar_lens.studies.fields import declared, left_out
from laminar_lens.studies.registry import STUDIES
from laminar_lens.studies.study import Study
from laminar_lens.testing.case import CHANGED, CHANGES, Case, make_case, refusal, same, same_measured


def check_study(study: Study, model: HookedModel | None = None, texts: object = None, **options: Any) -> None:
    """Checks all of `CONTRACT` on a small run.

    Args:
        study: with its options.
        model: the embedded one by default.
        texts: as the study takes them; by default the model writes 24 short ones.
        options: that studies share, beside `FEW`.

    Raises:
        AssertionError: a clause that does not hold, in words.
        LaminarLensError: what the study itself refuses.
    """
    case = make_case(study, model, texts, **options)
    for clause in CONTRACT.values():
        clause(case)


def is_known(case: Case) -> None:
    """It is found by its kind."""
    kind = type(case.study).kind
    assert kind in STUDIES, f"{kind!r} is not registered: use @ll.register, or an entry point"
    assert STUDIES.get(kind) is type(case.study), f"another class is registered as {kind!r}"


def has_a_command(case: Case) -> None:
    """Every field is an option of its command, or says why it is none."""
    study = type(case.study)
    written = {way for one in study_command(study).params for way in one.opts}
    for name, one in declared(study).items():
        assert one.flag in written or name in written, f"its command lacks {one.flag}"
    both = {*declared(study), *left_out(study)}
    for field_ in fields(study):
        assert field_.name in both or not field_.init, f"{field_.name} is no option, and no reason is given"


def repeats_itself(case: Case) -> None:
    """The same seed gives the same bytes."""
    same(run(case.study, case.model, case.texts, **case.options), case.run(), "two runs with one seed")


def saves(case: Case) -> None:
    """A file holds all of it: numbers, sentence, settings, warnings, tables; it answers as they did."""
    with tempfile.TemporaryDirectory() as folder:
        loaded = ll.load_result(case.result.save(Path(folder) / "result.nc"))
        assert type(loaded) is type(case.result), f"it loads as {a_kind(loaded)}"
        same(loaded, case.result, "a result and its file")
        assert loaded.settings == case.result.settings, "settings change in a file"
        assert loaded.warnings == case.result.warnings, "warnings change in a file"
        assert str(loaded.summary()) == str(case.result.summary()), "the summary changes in a file"
        same(loaded.answer(), case.result, "the answer to the measurement in a file and the result")
        again = loaded.save(Path(folder) / "again.nc")
        same(ll.load_result(again), case.result, "a result and its file's file")


def answers_again(case: Case) -> None:
    """The measurement gives the answer, without a model; every field is an option, or is measured."""
    for name in ("plain", CHANGED):
        whole = case.result.condition(name)
        same(whole.answer(), whole, f"the answer to the measurement of {name!r} and the result")
    for one in fields(case.study):
        value = getattr(case.study, one.name)
        if one.name not in case.study.remeasured:
            again = case.run().answer(**{one.name: value})
            same(again, case.run(), f"the answer with {one.name}={value!r}, as before, and the result")
            assert one.name in again.settings, f"the settings lack {one.name}"
    said = refusal(lambda: case.run().answer(no_such_option=1))
    assert "no_such_option" in said, f"an unknown option is taken, or refused without its name: {said!r}"


def draws_nothing_while_answering(case: Case) -> None:
    """An answer depends on nothing but the measurement: neither on numpy's nor on torch's generator."""
    import torch

    np.random.seed(1)  # noqa: NPY002 (the global generator is what is checked)
    torch.manual_seed(1)
    same(case.run().answer(), case.run(), "an answer under other global seeds and the result")


def refuses_few_texts(case: Case) -> None:
    """One text, and none, are refused in one line."""
    named = case.texts is None or isinstance(case.texts, str)
    one = ["One text alone is here and no other."] if named else case.texts[:1]
    for few in ([], one):
        said = refusal(partial(run, case.study, case.model, few, **case.options))
        assert said, f"{len(few)} texts are taken; at least 2 are needed"
        assert "\n" not in said, f"{len(few)} texts are refused in several lines: {said!r}"


def bears_nan(case: Case) -> None:
    """A text with NaN changes the answer or is refused in one line; no sentence says "nan"."""
    measured = case.run().measured
    assert measured is not None, "the result does not hold what was measured"
    by_text = {
        name: one.values
        for name, one in measured.data_vars.items()
        if one.dtype.kind == "f" and one.ndim and one.dims[0] in ("text", "prompt")
    }
    first_gone = {name: np.concatenate([one[:1] * np.nan, one[1:]]) for name, one in by_text.items()}
    holed = measured.assign({name: measured[name].copy(data=one) for name, one in first_gone.items()})
    if refused := refusal(lambda: case.study.answer(holed)):
        assert "\n" not in refused, f"a text with NaN is refused in several lines: {refused!r}"
        return
    answer = case.study.answer(holed)
    said = [answer.sentence, *answer.notes, *(one.evidence for one in answer.claims.values())]
    assert not any("nan" in text.lower().split() for text in said), f"it says nan: {said}"


def has_conditions(case: Case) -> None:
    """Interventions are measured beside the plain run, which they do not change, and are recorded."""
    assert case.result.conditions == ("plain", CHANGED)
    same(case.result.condition("plain"), case.run(), "the plain run with and without a condition beside it")
    assert CHANGED in case.result.settings["interventions"], "the settings lack the interventions"
    found = case.result.condition(CHANGED)
    assert found.measured_sha256 != case.run().measured_sha256, "an intervention changes nothing measured"


def checks_interventions_first(case: Case) -> None:
    """An intervention for a block that the model lacks is refused before anything runs."""
    model, n, ran = case.model, int(case.model.cfg.n_layers), []
    forward = model.forward

    @wraps(forward)
    def counted(*given: Any, **how: Any) -> Any:
        ran.append(given)
        return forward(*given, **how)

    model.forward = counted
    try:
        more = {**case.options, "interventions": ll.remove_write("mlp", n)}
        said = refusal(partial(run, case.study, model, case.texts, **more))
    finally:
        del model.forward
    assert str(n) in said, f"an intervention in block {n} of {n} is refused with: {said!r}"
    assert not ran, f"an intervention in block {n} of {n} is refused after {len(ran)} forward passes"


def has_geometries(case: Case) -> None:
    """Another geometry is measured, and said."""
    if "geometry" not in case.study.without:
        found = case.run("centred", geometry="centred", interventions=CHANGES)
        assert found.settings["geometry"] == "centred", "the settings lack the geometry"
        for name in found.conditions:
            both = {one.condition(name).measured_sha256 for one in (found, case.result)}
            assert len(both) == 2, f"a geometry changes nothing measured under {name!r}"


def merges(case: Case) -> None:
    """Parts make the whole, whose texts follow each other; or the study says why they cannot."""
    if case.study.together:
        said = refusal(partial(ll.merge, [case.run(), case.run()]))
        assert case.study.together in said, f"parts that cannot be merged are: {said!r}"
        return
    tokens = ll.sample_tokens(case.model, 88, 12, seed=7)
    given, more = (tokens, tokens[:64], tokens[64:]), {**case.options, "interventions": CHANGES}
    whole, *parts = (run(case.study, case.model, rows, **more) for rows in given)
    found = ll.merge(parts)
    assert found.conditions == whole.conditions, "conditions are lost"
    assert found.settings == whole.settings, "settings of the merged parts and of the whole differ"
    assert found.provenance["texts_sha256"] == whole.provenance["texts_sha256"], "they are of other texts"
    assert found.sentence == whole.sentence, "sentences of the merged parts and of the whole differ"
    for condition in whole.conditions:
        same_measured(found.condition(condition).measured, whole.condition(condition).measured)
    said = refusal(partial(ll.merge, [parts[0], parts[0]]))
    assert "text 0 of part 1 is text 0 of part 0" in said, f"a text is counted twice: {said!r}"


def compares(case: Case) -> None:
    """Beside itself nothing differs; or it has no number by text and layer, and one line says so."""
    given = {"a": case.run(), "b": case.run()}
    if refused := refusal(partial(ll.compare, given)):
        assert "no number by text" in refused, f"results are not compared: {refused!r}"
        return
    made = ll.compare(given)
    apart = [name for name in made.dataset.data_vars if str(name).endswith("_difference")]
    assert all((np.nan_to_num(made.dataset[name].values) == 0).all() for name in apart), (
        "it differs from itself"
    )
    assert made.figures(), "nothing is drawn of a comparison"
    wide = [line for line in str(made.summary()).splitlines() if len(line) > 80]
    assert not wide, f"a comparison is wider than 80 columns: {wide[0]!r}"


def is_shown(case: Case) -> None:
    """Sentence, tables and figures, in a terminal of 80 columns and on the page."""
    found, said = case.result, case.run().sentence
    assert said.strip().endswith("."), f"the sentence is no sentence: {said!r}"
    for row in found.summary()["claims"]:
        assert (row["verdict"] == "undetermined") == bool(row["reason"]), f"why is {row['claim']} open? {row}"
    wide = [line for line in str(found.summary()).splitlines() if len(line) > 80]
    assert not wide, f"the summary is wider than 80 columns: {wide[0]!r}"
    drawn = [figure.layout.title.text for figure in found.figures().values()] or [""]
    assert all(drawn), "nothing is drawn, or a figure has no title"
    with tempfile.TemporaryDirectory() as folder:
        page = html.unescape(found.report(Path(folder) / "page.html").read_text(encoding="utf-8"))
    assert all(table.title in page for table in found.tables().values()), "the page lacks a table"
    assert found.view.title in page, "the page does not name the study"


def is_recorded(case: Case) -> None:
    """Provenance and settings say what was done, and the measurement which seed its answer draws with."""
    settings, provenance = case.run().settings, case.run().provenance
    for name in ("model", "seed", "texts_sha256"):
        assert name in provenance, f"the provenance lacks {name}"
    seeded = case.run("seeded", seed=5)
    assert seeded.measured is not None
    assert seeded.provenance["seed"] == seeded.measured.attrs["seed"] == 5, "the seed is not recorded"
    for one in fields(case.study):  # an object, such as texts, is recorded by its hash
        if getattr(case.study, one.name) is not None:
            assert one.name in settings, f"the settings lack {one.name}"


def imports_nothing_heavy(case: Case) -> None:
    """Its module imports neither torch nor what draws before there is work."""
    if (module := type(case.study).__module__) == "__main__" or find_spec(module) is None:
        return
    code = f"import sys, {module}; print(*{{'torch', 'transformers', 'plotly', 'xarray'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stdout.strip(), f"importing {module} imports {done.stdout.strip()}"


CONTRACT: dict[str, Callable[[Case], None]] = {
    name: one
    for name, one in list(globals().items())
    if getattr(one, "__annotations__", None) == {"case": Case, "return": None}
}
"""Every clause by its name."""
