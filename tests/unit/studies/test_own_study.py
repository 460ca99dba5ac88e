"""A study that is not the package's: measured, answered, saved, loaded, drawn and answered again."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import xarray as xr

import laminar_lens as ll
from laminar_lens.cli import main
from laminar_lens.errors import InputError, ResultError
from laminar_lens.stats.bootstrap import mean_interval
from laminar_lens.studies.drive import run
from laminar_lens.studies.registry import STUDIES
from laminar_lens.studies.study import Answer, Study

HOW: dict[str, Any] = {"n_texts": 24, "length": 16}


@dataclass(frozen=True)
class Turning(Study):
    """How far tokens turn from layer to layer."""

    kind: ClassVar[str] = "turning_own"
    title: ClassVar[str] = "Turning study"
    above: float = 0.1

    def measure(self, run: Any) -> xr.Dataset:
        return run.angles("rotation").rename(rotation="turn")

    def answer(self, measured: xr.Dataset) -> Answer:
        found = mean_interval(measured["turn"].mean("pos").values, seed=measured.attrs["seed"])
        ends = {"turn": found.estimate, "turn_low": found.low, "turn_high": found.high}
        data = xr.Dataset({name: ("layer", x) for name, x in ends.items()}, {"layer": measured["layer"]})
        return Answer(data.assign_attrs(length="long"), f"{int((found.low > self.above).sum())} layers turn.")


@pytest.fixture
def known() -> Iterator[None]:
    STUDIES.add("turning_own", Turning)
    yield
    STUDIES.remove("turning_own")


@pytest.mark.usefixtures("known")
def test_it_is_a_study_like_others(novella: Any, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(Turning(), novella, interventions=ll.remove_write("mlp", 2), **HOW)
    path = result.save(tmp_path / "own.nc")
    loaded = ll.load_result(path)  # its attribute `length` is a text: names are a study's own
    assert loaded.numbers_sha256 == result.numbers_sha256
    assert loaded.sentence == result.sentence
    assert loaded.settings["above"] == 0.1
    assert list(loaded.figures()) == ["contrasts", "turn"]
    assert loaded.table("by_layer").rows()[0]["layer"] == 1
    few = loaded.answer(above=3.0)
    assert few.sentence.startswith("0 layers turn.")
    assert few.settings["above"] == 3.0
    paired = loaded.contrast(loaded.conditions[1])  # of what was measured: the answer has no value by text
    turned = [loaded.condition(name).measured["turn"].mean("text") for name in loaded.conditions]
    assert np.allclose(paired["difference"], turned[1] - turned[0], atol=1e-6)
    assert main(["show", str(path), "--above", "3", "--report", str(tmp_path / "own.html")]) == 0
    assert "0 layers turn." in capsys.readouterr().out
    assert "Turning study" in (tmp_path / "own.html").read_text()


def test_a_study_that_is_not_known_is_one_line(novella: Any, tmp_path: Any) -> None:
    path = run(Turning(), novella, **HOW).save(tmp_path / "own.nc")
    with pytest.raises(ResultError, match="'turning_own' that is not known here: import or install"):
        ll.load_result(path)


@pytest.mark.usefixtures("known")
def test_what_it_does_not_take_is_refused_before_a_pass(novella: Any) -> None:
    with pytest.raises(InputError, match="n_texts is '60'"):
        run(Turning(), novella, n_texts="60")
    with pytest.raises(InputError, match="tau= is no option of a turning_own study: it takes n_texts"):
        run(Turning(), novella, tau=0.1)
    with pytest.raises(InputError, match="expected a subclass of Study of that kind"):
        STUDIES.add("spin", Turning)
    with pytest.raises(InputError, match="geometry 'center' is unknown"):
        run(Turning(), novella, geometry="center")


@dataclass(frozen=True)
class Odd(Turning):
    """What a first draft returns: no layers, or a sentence that is none."""

    said: str = "Fine."
    drop: str = ""

    def measure(self, run: Any) -> xr.Dataset:
        return super().measure(run).drop_vars(self.drop or [])

    def answer(self, measured: xr.Dataset) -> Answer:
        return Answer(measured.mean("text"), self.said)


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (Odd(drop="layer"), "returned no coordinate 'layer'"),
        (Odd(said="Two\nlines."), "expected one line of text"),
        (Odd(said=""), "has sentence ''"),
    ],
)
@pytest.mark.usefixtures("known")
def test_what_a_study_lacks_is_one_line(novella: Any, odd: Odd, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        run(odd, novella, **HOW)
    assert "\n" not in str(error.value)
