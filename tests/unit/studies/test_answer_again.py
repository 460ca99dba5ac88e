"""Measured apart from answered: a measurement answers again, in memory, from a file, on a command line."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import h5py
import pytest
import torch
import xarray as xr

import laminar_lens as ll
from laminar_lens.cli import main
from laminar_lens.errors import InputError, ModelError, ResultError
from laminar_lens.results import make_tree
from laminar_lens.results.seal import seal_of
from laminar_lens.results.tree import only
from laminar_lens.studies.registry import STUDIES

HOW: dict[str, Any] = {"n_texts": 24, "length": 24, "seed": 2}


@pytest.fixture(scope="module")
def result(novella: Any) -> ll.StudyResult:
    return ll.warmup_study(novella, **HOW, geometries=["centred"], interventions=[ll.cut(5)])


@pytest.fixture(scope="module")
def path(result: ll.StudyResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return result.save(tmp_path_factory.mktemp("again") / "warmup.nc")


@pytest.fixture(scope="module")
def wider(novella: Any) -> ll.StudyResult:
    """The study itself with another tolerance."""
    return ll.warmup_study(novella, tau=0.3, **HOW, geometries=["centred"], interventions=[ll.cut(5)])


def test_another_tolerance_is_the_study_with_it(
    result: ll.StudyResult, path: Path, wider: ll.StudyResult
) -> None:
    assert wider.numbers_sha256 != result.numbers_sha256
    for again in (result.answer(tau=0.3), ll.load_result(path).answer(tau=0.3)):
        assert type(again) is type(wider)
        assert (again.numbers_sha256, again.sentence) == (wider.numbers_sha256, wider.sentence)
        assert again.measured_sha256 == wider.measured_sha256 == result.measured_sha256
        assert (again.settings, again.warnings) == (wider.settings, wider.warnings)
        assert again.settings["tau"] == again.provenance["settings"]["tau"] == 0.3
    assert result.settings["tau"] == 0.05


def test_an_answer_keeps_its_options(result: ll.StudyResult, tmp_path: Path) -> None:
    """Asked again without options, from a file or merged, it is the answer under those it was given last."""
    wide = result.answer(tau=0.3)
    for again in (wide.answer(), ll.load_result(wide.save(tmp_path / "wide.nc")).answer()):
        assert (again.sentence, again.settings) == (wide.sentence, wide.settings)
        assert again.numbers_sha256 == wide.numbers_sha256
    assert result.answer().settings["tau"] == 0.05


def test_parts_are_merged_under_the_options_of_their_answers(novella: Any) -> None:
    rows = torch.randint(3, 300, (80, 8), generator=torch.Generator().manual_seed(3))
    parts = [ll.warmup_study(novella, part, random_init=False) for part in (rows[:64], rows[64:])]
    wide = [part.answer(tau=0.3) for part in parts]
    assert ll.merge(wide).settings["tau"] == 0.3
    with pytest.raises(InputError, match=re.escape("differ in tau: 0.3, 0.05")):
        ll.merge([wide[0], parts[1]])


def test_without_options_the_answer_is_the_same(path: Path, result: ll.StudyResult) -> None:
    assert ll.load_result(path).answer().numbers_sha256 == result.numbers_sha256


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tau": 9.0}, "tau"),
        ({"reference": "last half"}, "reference= decides what is measured"),
        ({"taux": 0.1}, "taux= is no option"),
    ],
)
def test_what_cannot_be_answered_again_is_one_line(
    result: ll.StudyResult, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=re.escape(said)) as error:
        result.answer(**options)
    assert "\n" not in str(error.value)


def test_a_result_without_its_measurement_says_so(result: ll.StudyResult) -> None:
    bare = ll.StudyResult(result.condition("plain").dataset)
    assert (bare.measured, bare.measured_sha256) == (None, None)
    with pytest.raises(InputError, match="does not hold what was measured"):
        bare.answer(tau=0.1)


def test_what_is_measured_and_answered_is_stored_once(path: Path, result: ll.StudyResult) -> None:
    loaded = ll.load_result(path)
    for name in result.conditions:
        before, after = result.condition(name), loaded.condition(name)
        assert before.measured is not None
        assert after.measured is not None
        xr.testing.assert_identical(after.measured, before.measured)
        assert list(after.measured.data_vars) == list(before.measured.data_vars)
    with h5py.File(path) as file:
        held = [f"{name}/{part}" for name in file for part in file[name] if "angle" in file[name][part]]
        assert sorted(held) == ["cut(5)/answer", "plain/answer"]
        assert file.attrs["numbers_sha256"] == result.numbers_sha256
        assert file.attrs["measured_sha256"] == result.measured_sha256
    assert loaded.save(path.with_name("again.nc")).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("place", ["/nowhere", "/plain/measured", 5, "", None])
def test_a_wrong_place_of_what_is_shared_is_one_line(path: Path, tmp_path: Path, place: Any) -> None:
    """None is a measurement whose attribute is no mapping."""
    other = tmp_path / "other.nc"
    other.write_bytes(path.read_bytes())
    with h5py.File(other, "r+") as file:
        attrs = file["plain/measured"].attrs
        where = json.loads(attrs["laminar_lens_where"])
        attrs["laminar_lens_where"] = json.dumps(None if place is None else {**where, "angle": place})
    other.write_bytes((raw := other.read_bytes()) + seal_of(raw))
    with pytest.raises(ResultError, match=r"damaged|altered") as error:
        ll.load_result(other)
    assert "\n" not in str(error.value)


def test_a_measured_number_that_was_changed_is_noticed(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.nc"
    other.write_bytes(path.read_bytes())
    with h5py.File(other, "r+") as file:
        file["plain/measured/paired"][0, 0, 1] += 1e-3
    other.write_bytes((raw := other.read_bytes()) + seal_of(raw))
    with pytest.raises(ResultError, match="altered"):
        ll.load_result(other)


@pytest.mark.parametrize("order", ["after", "before", "equals"])
def test_show_answers_again(
    order: str, path: Path, wider: ll.StudyResult, capsys: pytest.CaptureFixture[str]
) -> None:
    option = ["--tau=0.3"] if order == "equals" else ["--tau", "0.3"]
    line = [*option, str(path)] if order == "before" else [str(path), *option]
    kept = path.read_bytes()
    assert main(["show", *line, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["provenance"]["numbers_sha256"] == wider.numbers_sha256
    assert (said["sentence"], said["settings"]["tau"]) == (wider.sentence, 0.3)
    assert "result" not in said["files"]  # the file holds another answer
    assert path.read_bytes() == kept


def test_show_writes_the_page_of_the_new_answer(
    path: Path, wider: ll.StudyResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert main(["show", str(path), "--tau", "0.3", "--report", str(page), "--quiet"]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert wider.numbers_sha256 in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tau", "x"], "--tau: 'x' is no number"),
        (["--tau", "9"], "tau"),
        (["--tau"], "'--tau' is no option of show, or lacks its value"),
        (["--jsno"], "'--jsno' is no option of show"),
        (["-x"], "'-x' is no option of show"),
        (["--taux", "1"], "--taux is no option of this result: did you mean --tau?"),
        (["--zzz", "1"], "--zzz is no option of this result: it takes --tau"),
        (["--tau", "0.1", "--tau=0.2"], "--tau is given twice, '0.1' and '0.2': give one"),
        (["--reference", "3-5"], "--reference decides what is measured: without the model, the answer"),
        (["other.nc"], "show takes one FILE"),
    ],
)
def test_what_show_does_not_take_is_one_line(
    path: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(path), *options]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert "Traceback" not in err


def test_a_baseline_that_there_is_not_is_one_line(
    tiny_gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how: dict[str, Any] = {"warmup": False, "random_init": False, "n_draws": 3, "n_perm": 99}
    prompts = [f"word{n} saw her run" for n in range(6)]
    donors = torch.randint(20, 200, (8, 8), generator=torch.Generator().manual_seed(1))
    result = ll.sequential_study(ll.load_model(tiny_gpt2), prompts, donors=donors, **how)
    path = result.save(tmp_path / "sequential.nc")
    assert result.answer(baseline="adjacent").settings["baseline"] == "adjacent"
    for option, said in (("--baseline=other", "'other'"), ("--n-perm=0", "--n-perm 0")):
        assert main(["show", str(path), option]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert said in error


@pytest.mark.parametrize("lacks", ["angle", "about", "seed"])
def test_a_measurement_that_lacks_a_part_is_one_line(result: ll.StudyResult, lacks: str) -> None:
    tree = result.condition("plain").tree.copy(deep=True)
    part = tree["plain/measured"].to_dataset(inherit=False)
    part = (
        part.drop_vars(lacks)
        if lacks in part
        else part.drop_attrs(deep=False).assign_attrs(
            {key: value for key, value in part.attrs.items() if key != lacks}
        )
    )
    tree["plain/measured"] = xr.DataTree(part)
    with pytest.raises(ResultError, match=f"lacks '{lacks}'"):
        type(result)(tree).answer(tau=0.1)


def test_every_condition_has_the_notes_of_what_is_made_once(novella: Any) -> None:
    patched = pytest.MonkeyPatch()
    with patched.context() as patch:
        patch.setattr("laminar_lens.studies.run.random_twin", _no_twin)
        found = ll.sink_study(novella, n_texts=20, length=16, interventions=ll.cut(5))
    for name in found.conditions:
        assert [note for note in found.condition(name).warnings if note.startswith("No random weights")]


def _no_twin(model: Any, *, seed: int) -> Any:
    raise ModelError("its class takes no configuration")


def test_a_contrast_is_the_same_from_a_file(novella: Any, tmp_path: Path) -> None:
    """The last bit of a sum depends on how its numbers lie in memory."""
    made = ll.dimension_study(novella, n_texts=24, length=16, layers=[0, 3], interventions=ll.cut(5))
    loaded = ll.load_result(made.save(tmp_path / "dimensions.nc"))
    xr.testing.assert_identical(made.contrast("cut(5)"), loaded.contrast("cut(5)"))
    assert made.figures()["contrasts"].to_json() == loaded.figures()["contrasts"].to_json()


PROMPTS = tuple(ll.her_prompts()[:12])
RESTING: dict[str, Any] = {"random_init": False, "n_draws": 5, "n_perm": 99, "seed": 2}


@pytest.fixture(scope="module")
def resting(novella: Any, result: ll.StudyResult) -> ll.StudyResult:
    return ll.sequential_study(novella, PROMPTS, warmup=result, interventions=[ll.cut(5)], **RESTING)


@pytest.fixture(scope="module")
def resting_file(resting: ll.StudyResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return resting.save(tmp_path_factory.mktemp("resting") / "sequential.nc")


@dataclass(frozen=True)
class Resting(ll.Study):
    """A study of one's own that rests on a study that rests on another."""

    kind: ClassVar[str] = "resting_own"

    def measure(self, run: Any) -> xr.Dataset:
        raise NotImplementedError

    def joined(self, measured: xr.Dataset, parts: Mapping[str, xr.Dataset]) -> xr.Dataset:
        return measured.assign_attrs(said=parts["sequential"].attrs["sentence"])

    def answer(self, measured: xr.Dataset) -> ll.Answer:
        return ll.Answer(xr.Dataset({"one": 1.0}), f"It rests on: {measured.attrs['said']}")


@contextmanager
def known(study: type[ll.Study]) -> Iterator[None]:
    STUDIES.add(study.kind, study)
    yield
    STUDIES.remove(study.kind)


class TestAStudyThatRestsOnAnother:
    """Options of the other answer it again, and what rests on it with it."""

    def test_it_is_kept_whole_in_every_condition(self, resting_file: Path, result: ll.StudyResult) -> None:
        part = ll.load_result(resting_file).part("warmup")
        assert part.conditions == ("plain", "cut(5)")
        assert part.numbers_sha256 == result.numbers_sha256
        assert part.measured_sha256 == result.measured_sha256
        alone = ll.load_result(resting_file).condition("cut(5)").part("warmup")
        assert alone.measured_sha256 == result.condition("cut(5)").measured_sha256

    def test_another_tolerance_is_the_study_on_the_warmup_with_it(
        self, novella: Any, resting_file: Path, resting: ll.StudyResult, wider: ll.StudyResult
    ) -> None:
        again = ll.load_result(resting_file).answer(tau=0.3)
        rests = ll.sequential_study(novella, PROMPTS, warmup=wider, interventions=[ll.cut(5)], **RESTING)
        assert rests.numbers_sha256 != resting.numbers_sha256
        for name in rests.conditions:
            one, other = again.condition(name), rests.condition(name)
            assert (one.numbers_sha256, one.sentence) == (other.numbers_sha256, other.sentence)
            assert one.part("warmup").settings["tau"] == 0.3
        assert again.answer(tau=0.05).numbers_sha256 == resting.numbers_sha256
        assert again.answer(n_perm=99).part("warmup").settings["tau"] == 0.3
        said = json.loads(json.dumps(again.summary()))["parts"]["warmup"]
        assert (said["settings"]["tau"], said["sentence"]) == (0.3, again.part("warmup").sentence)
        assert said["numbers_sha256"] == again.part("warmup").numbers_sha256

    def test_on_the_command_line(self, resting_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        before = resting_file.read_bytes()
        assert main(["show", str(resting_file), "--tau", "0.3", "--n-perm", "99"]) == 0
        assert "at ±0.3 rad" in " ".join(capsys.readouterr().out.split())
        assert resting_file.read_bytes() == before
        for option, said in (
            ("--reference=last-half", "--reference decides what is measured"),
            ("--tau=-1", "tau"),
            ("--of=1", "--of is no option of this result"),
        ):
            assert main(["show", str(resting_file), option]) == 2
            error = capsys.readouterr().err
            assert error.count("\n") == 1
            assert said in error

    def test_without_what_the_other_measured(self, resting: ll.StudyResult) -> None:
        bare = type(resting)(resting.tree.filter(lambda node: not node.path.endswith("warmup/measured")))
        assert bare.answer().numbers_sha256 == resting.numbers_sha256
        with pytest.raises(InputError, match="this warmup result does not hold what was measured"):
            bare.answer(tau=0.3)
        assert bare.measured_sha256 != resting.measured_sha256

    def test_what_the_study_itself_was_asked_for_is_said_as_before(self, resting: ll.StudyResult) -> None:
        assert resting.settings["warmup"] is True
        for again in (resting.answer(), resting.answer(tau=0.3)):
            assert (again.settings, again.warnings) == (resting.settings, resting.warnings)

    @pytest.mark.parametrize(
        ("option", "said"),
        [
            ("taw", "did you mean tau?"),
            ("zzz", "it takes baseline, n_perm, tau"),
            ("reference", "decides what is measured"),
        ],
    )
    def test_an_option_of_neither_names_those_of_both(
        self, resting: ll.StudyResult, option: str, said: str
    ) -> None:
        with pytest.raises(InputError, match=re.escape(said)):
            resting.answer(**{option: 0.3})

    def test_a_wrong_value_is_said_of_the_study_that_has_it(self, resting: ll.StudyResult) -> None:
        """Its own is checked before another study answers for nothing."""
        with pytest.raises(InputError, match="n_perm=-1 draws no sign flip"):
            resting.answer(tau=9.0, n_perm=-1)

    def test_what_the_other_lacks_is_said_of_it(self, resting: ll.StudyResult) -> None:
        tree = resting.tree.copy()
        tree["plain/warmup/answer"] = xr.DataTree(tree["plain/warmup/answer"].to_dataset().drop_vars("delta"))
        with pytest.raises(ResultError, match="this warmup result lacks 'delta'"):
            type(resting)(tree).answer()

    def test_texts_of_one_group_stay_one_observation(self, novella: Any) -> None:
        rows = torch.randint(3, 300, (66, 12), generator=torch.Generator().manual_seed(5))
        groups = [row // 3 for row in range(66)]
        warm = ll.warmup_study(
            novella, rows, groups=groups, random_init=False, interventions=[ll.cut(5)], seed=2
        )
        rests = ll.sequential_study(novella, PROMPTS, warmup=warm, interventions=[ll.cut(5)], **RESTING)
        part = rests.part("warmup")
        assert part.tree.attrs == warm.tree.attrs
        xr.testing.assert_identical(part.contrast("cut(5)"), warm.contrast("cut(5)"))
        assert part.answer(tau=0.3).tree.attrs == warm.tree.attrs
        assert rests.answer(tau=0.3).part("warmup").numbers_sha256 == warm.answer(tau=0.3).numbers_sha256

    def test_a_study_that_rests_on_it_keeps_both(
        self, resting: ll.StudyResult, wider: ll.StudyResult, tmp_path: Path
    ) -> None:
        """Under one condition only: a study of one's own may keep what it likes."""
        plain, cut = (resting.condition(name) for name in resting.conditions)
        tree = make_tree(
            {"plain": plain.dataset, "cut(5)": cut.dataset},
            {"plain": plain.measured, "cut(5)": cut.measured},
            parts={"plain": {"warmup": plain.part("warmup").tree}, "cut(5)": {"sequential": cut.tree}},
            described={"cut(5)": []},
        )
        both = type(resting)(tree)
        loaded = ll.load_result(both.save(tmp_path / "both.nc"))
        assert loaded.numbers_sha256 == both.numbers_sha256
        inner = loaded.condition("cut(5)").part("sequential")
        assert inner.numbers_sha256 == cut.numbers_sha256
        assert inner.part("warmup").measured_sha256 == cut.part("warmup").measured_sha256
        alone = type(resting)(only(tree, "cut(5)"))
        assert alone.numbers_sha256 != type(resting)(make_tree({"plain": cut.dataset})).numbers_sha256
        again = make_tree({"plain": cut.dataset}, parts={"plain": {"sequential": wider.tree}})
        assert type(resting)(again).numbers_sha256 != alone.numbers_sha256

    def test_options_reach_what_the_other_rests_on(self, resting: ll.StudyResult) -> None:
        cut = resting.condition("cut(5)")
        with known(Resting):
            outer = ll.StudyResult(
                make_tree(
                    {"plain": cut.dataset.assign_attrs(study=Resting.kind)},
                    {"plain": cut.measured},
                    parts={"plain": {"sequential": cut.tree}},
                )
            )
            again = outer.answer(tau=0.3)
            assert again.sentence.startswith("It rests on: ")
            inner = again.part("sequential")
            assert inner.part("warmup").settings["tau"] == 0.3
            assert inner.numbers_sha256 == cut.answer(tau=0.3).numbers_sha256
            assert inner.sentence in again.sentence
            with pytest.raises(InputError, match="results that rest on a sequential study cannot be merged"):
                ll.merge([outer, outer])


@pytest.mark.parametrize("name", ["answer", "measured", "warmup"])
def test_a_condition_may_be_called_as_a_part_is(name: str, result: ll.StudyResult, tmp_path: Path) -> None:
    plain, cut = (result.condition(one) for one in result.conditions)
    assert plain.measured is not None
    assert cut.measured is not None
    tree = make_tree(
        {"plain": plain.dataset, name: cut.dataset},
        {"plain": plain.measured, name: cut.measured},
        described={name: []},
    )
    loaded = ll.load_result(type(result)(tree).save(tmp_path / "named.nc"))
    assert loaded.conditions == ("plain", name)
    assert loaded.condition(name).numbers_sha256 == cut.numbers_sha256
