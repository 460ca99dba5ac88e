"""Results whose hashes are right and which lack a part: one line that names it, or an answer without it."""

import json
from pathlib import Path

import plotly.graph_objects as go
import pytest
import xarray as xr

import laminar_lens as ll
from laminar_lens.cli import main
from laminar_lens.errors import ResultError
from laminar_lens.report import render
from laminar_lens.results import StudyResult, load_result, make_tree
from laminar_lens.results.complete import LABELLED, check_labels, complete
from tests.synthetic import sequential_dataset, warmup_dataset, with_warmup

STUDIES = (
    "sequential",
    "warmup",
    "why",
    "sinks",
    "dimensions",
    "rotation",
    "paths",
    "trajectories",
    "speech",
)
PROMPTS = [
    "The teacher praised her for the answer.",
    "The company promoted her to manager.",
    "A boy gave her the book; she thanked him.",
]


@pytest.fixture(scope="module")
def model(tiny_gpt2: Path):
    return ll.load_model(str(tiny_gpt2))


def measured(kind: str, model) -> StudyResult:
    few = {"n_texts": 20, "length": 16, "seed": 0}
    if kind == "sequential":
        return ll.sequential_study(model, PROMPTS, warmup=ll.warmup_study(model, **few), seed=0)
    if kind == "rotation":
        return ll.rotation_study(model, PROMPTS, n_perm=99)
    if kind == "speech":
        return ll.speech_study(model, n_texts=12, n_perm=99)
    if kind == "trajectories":
        return ll.trajectory_study(model, PROMPTS)
    study = {
        "warmup": ll.warmup_study,
        "why": ll.why_study,
        "sinks": ll.sink_study,
        "dimensions": ll.dimension_study,
        "paths": ll.path_study,
    }
    return study[kind](model, **few)


@pytest.fixture
def plain_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures read what they read, and are not laid out: that is where plotly takes most of its time."""
    for name in ("layout", "xaxes", "yaxes"):
        monkeypatch.setattr(go.Figure, f"update_{name}", lambda figure, *given, **how: figure)


def shown(result: StudyResult) -> None:
    str(result.summary())
    result._repr_html_()
    result.tables()
    result.figures()


def refusal(result: StudyResult) -> str:
    """The one line of a result that cannot be shown; empty where it can."""
    try:
        shown(result)
    except ResultError as error:
        return str(error)
    return ""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("plain_figures")
@pytest.mark.parametrize("kind", STUDIES)
def test_any_part_may_be_missing(kind, model, tmp_path):
    result = measured(kind, model)
    dataset = result.dataset
    shown(load_result(result.save(tmp_path / "whole.nc")))
    doors = refused = 0
    path = tmp_path / "less.nc"
    for name in map(str, dataset.variables):
        less = type(result)(dataset.drop_vars(name))
        if name in LABELLED and name in less.dataset.dims:  # refused at the door: one of them through a file
            with pytest.raises(ResultError, match=f"lacks '{name}'") as error:
                check_labels("less.nc", less.dataset) if doors else load_result(less.save(path))
            assert "\n" not in str(error.value)
            doors += 1
            continue
        if not refused:  # and one that is not refused there
            less = load_result(less.save(path))
        if said := refusal(less):
            refused += 1
            assert "\n" not in said
            assert f"'{name}'" in said
    for name in [str(key) for key in dataset.attrs if key != "study"]:
        less = type(result)(dataset.copy())
        del less.dataset.attrs[name]
        if said := refusal(less):
            refused += 1
            assert f"'{name}'" in said
    assert doors + refused > 3
    with pytest.raises(ResultError, match="not a dict"):
        shown(type(result)(dataset.assign_attrs(settings="[1]")))


def test_the_command_line_and_the_page_say_it_in_one_line(tmp_path, capsys):
    result = StudyResult(sequential_dataset(n_layers=3, n_prompts=4).drop_vars("target_low"))
    path = result.save(tmp_path / "less.nc")
    assert main(["show", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "lacks 'target_low'" in error
    assert "Traceback" not in error
    with pytest.raises(ResultError, match="lacks 'target_low'"):
        render(load_result(path))
    with pytest.raises(ResultError, match="lacks 'target_low'"):
        load_result(path).report(tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_fault_of_the_program_stays_what_it_is():
    @complete
    def wrong(result):
        return {}["there"]

    dataset = xr.Dataset({"there": ("x", [1.0])}, attrs={"study": "angles"})
    with pytest.raises(KeyError, match="there"):
        wrong(StudyResult(dataset))


@pytest.mark.parametrize("bad", ["\x1b]0;owned\x07", "\x9b31m", "a\u202eb", "\x08\x08", "\u2066", "\r"])
def test_nothing_of_a_file_steers_the_terminal(bad, tmp_path, capsys):
    dataset = sequential_dataset(n_layers=3, n_prompts=4)
    dataset["claim_text"].values[0] = dataset["claim_evidence"].values[1] = f"text {bad} of a claim"
    dataset["claim_low"].values[1] = dataset["claim_high"].values[1] = float("nan")
    dataset.attrs |= {
        "sentence": f"A sentence {bad}.",
        "warnings": json.dumps([f"a warning {bad}"]),
        "settings": json.dumps({f"key {bad}": f"value {bad}", "baseline": "published"}),
        "provenance": json.dumps({"model": {"name": f"model {bad}"}}),
    }
    result = load_result(StudyResult(dataset).save(tmp_path / "study.nc"))
    for text in (str(result.summary()), repr(result), result._repr_html_()):
        assert all(letter.isprintable() or letter == "\n" for letter in text)
        assert ascii(bad[0])[1:-1] in text
    assert result.sentence == f"A sentence {bad}.", "what was stored is not changed"
    assert bad in json.loads(json.dumps(result.summary()))["sentence"]


WRONG = {
    "sentence": 3,
    "provenance": 3,
    "settings": "no JSON",
    "warnings": '{"a": 1}',
    "tau": "0.05",
    "reference_start": "\x1b]0;x\x07",
    "reference_stop": [1],
    "k_hi": 1.5,
    "leave_out": "x",
    "skip": True,
}
WRONG_INSIDE = {"provenance": ("seed", "first"), "settings": ("reference", [1, "b"])}


def refused_at_the_door(dataset: xr.Dataset | xr.DataTree, path: Path, capsys, named: str) -> None:
    """One line that names the file and the part, from `load_result` and from the command line."""
    StudyResult(dataset).save(path)
    with pytest.raises(ResultError) as error:
        load_result(path)
    assert main(["show", str(path), "--report", str(path.with_suffix(".html"))]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    for line in (str(error.value), err):
        assert f"{path}: " in line
        assert named in line
        assert "expected" in line
        assert "\n" not in line.rstrip("\n")


@pytest.mark.parametrize("name", WRONG)
def test_an_attribute_of_another_kind_is_refused_at_the_door(name, tmp_path, capsys):
    dataset = sequential_dataset(n_layers=3, n_prompts=4).assign_attrs({name: WRONG[name]})
    refused_at_the_door(dataset, tmp_path / "other.nc", capsys, f"the attribute '{name}' is ")


@pytest.mark.parametrize("name", WRONG_INSIDE)
def test_so_is_what_an_attribute_holds(name, tmp_path, capsys):
    dataset = sequential_dataset(n_layers=3, n_prompts=4)
    entry, value = WRONG_INSIDE[name]
    inside = json.loads(dataset.attrs.get(name, "{}")) | {entry: value}
    dataset.attrs[name] = json.dumps(inside)
    refused_at_the_door(dataset, tmp_path / "other.nc", capsys, f"'{entry}' in the attribute '{name}' is ")


def test_so_is_what_another_study_says_of_itself(tmp_path, capsys):
    wrong = with_warmup(sequential_dataset(n_layers=3, n_prompts=4), warmup_dataset(3).assign_attrs(k_hi=1.5))
    refused_at_the_door(wrong.tree, tmp_path / "other.nc", capsys, "the attribute 'k_hi' is 1.5")
    part = make_tree({"plain": warmup_dataset(3)})
    foreign = make_tree(
        {"plain": sequential_dataset(n_layers=3, n_prompts=4)}, parts={"plain": {"none": part}}
    )
    path = StudyResult(foreign).save(tmp_path / "foreign.nc")
    with pytest.raises(ResultError, match="holds a study 'none' that is not known here"):
        load_result(path)


def test_so_is_a_condition_with_an_attribute_of_another_kind(tmp_path, capsys):
    plain = sequential_dataset(n_layers=3, n_prompts=4)
    tree = make_tree({"plain": plain, "cut": plain.assign_attrs(sentence=3)}, described={"cut": []})
    refused_at_the_door(tree, tmp_path / "other.nc", capsys, "the attribute 'sentence' is 3")


@pytest.mark.parametrize("name", ["interventions", "groups"])
def test_what_a_tree_says_of_its_conditions_is_checked(name, tmp_path, capsys):
    plain = sequential_dataset(n_layers=3, n_prompts=4)
    tree = make_tree({"plain": plain, "cut": plain}, described={"cut": []}, groups=[1, 1, 2, 2])
    tree.attrs[name] = "7"
    path = StudyResult(tree).save(tmp_path / "other.nc")
    assert main(["show", str(path)]) == 2
    assert f"the result's attribute '{name}' is '7'" in capsys.readouterr().err


def test_so_is_a_variable_of_another_kind(tmp_path, capsys):
    dataset = sequential_dataset(n_layers=3, n_prompts=4)
    claims = ("claim", ["much"] * dataset.sizes["claim"])
    path = tmp_path / "other.nc"
    refused_at_the_door(dataset.assign(claim_low=claims), path, capsys, "'claim_low' holds text")
    numbers = dataset.assign(claim_verdict=dataset["claim_low"])
    refused_at_the_door(numbers, path, capsys, "'claim_verdict' holds numbers")
    dataset["target_low"].attrs["units"] = 3
    refused_at_the_door(dataset, path, capsys, "the attribute 'units' of 'target_low' is 3")


def test_show_keeps_no_fault_of_the_program_to_itself(tmp_path, monkeypatch):
    path = StudyResult(sequential_dataset(n_layers=3, n_prompts=4)).save(tmp_path / "whole.nc")

    def wrong(*_):
        raise TypeError("a bug")

    monkeypatch.setattr(StudyResult, "tables", wrong)
    with pytest.raises(TypeError, match="a bug"):
        main(["show", str(path)])


def test_a_page_goes_without_a_column_that_is_missing(model, tmp_path):
    result = measured("warmup", model)
    page = type(result)(result.dataset.drop_vars("skip")).report(tmp_path / "page.html").read_text()
    assert 'id="table-by_layer"' in page
    assert "<th>skip</th>" not in page
