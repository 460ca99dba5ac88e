"""The sensitivity grid as a table that stays with a result: in its file, on its page, in JSON and CSV."""

import io
import json

import pandas as pd
import pytest

from laminar_lens.errors import ResultError
from laminar_lens.report import render
from laminar_lens.results import StudyResult, load_result, make_tree
from laminar_lens.studies.choices import grid_table
from laminar_lens.tables import Table
from tests.synthetic import sequential_dataset, warmup_dataset

FRAME = pd.DataFrame(
    {
        "prepend_bos": [False, True, False],
        "final_norm": [False, False, True],
        "tau": [0.05, 0.05, 0.05],
        "reference": ["last third", "4-8", "last half"],
        "verdict": ["exact", None, "undetermined"],
        "k_lo": pd.array([2, None, 1], dtype="Int64"),
        "k_hi": pd.array([2, None, None], dtype="Int64"),
        "n_needed": pd.array([None, None, 900], dtype="Int64"),
        "first_pair": [0.125, None, -0.5],
        "note": ["sampled", "there is no <BOS>", "sampled"],
    }
)


@pytest.fixture(scope="module")
def result() -> StudyResult:
    return StudyResult(warmup_dataset()).attach(grid_table(FRAME))


def test_a_file_keeps_the_grid_and_its_page_shows_it(result, tmp_path):
    again = load_result(result.save(tmp_path / "warmup.nc"))
    assert again.table("grid") == result.table("grid")
    assert again.numbers_sha256 == StudyResult(warmup_dataset()).numbers_sha256
    page = render(again)
    assert page.index("Under other choices") < page.index('id="table-grid"') < page.index('id="provenance"')
    assert "<td>last half</td>" not in page
    assert '<td class="words">last half</td>' in page
    assert "there is no &lt;BOS&gt;" in page
    assert page.count("sampled</p>") == 1, "what every answer has to say is said once"


def test_csv_and_json_have_every_number(result):
    frame = pd.read_csv(io.StringIO(result.table("grid").csv()))
    assert set(frame) == set(FRAME)
    for name in ("k_lo", "k_hi", "n_needed", "first_pair", "tau"):
        assert frame[name].astype(float).equals(FRAME[name].astype(float)), name
    assert frame["note"].tolist() == FRAME["note"].tolist()
    rows = json.loads(json.dumps(result.summary()))["grid"]
    assert rows[2]["k_hi"] is None
    assert rows[0]["prepend_bos"] is False


def test_the_answer_is_what_is_enough_or_else_what_is_necessary():
    def answers(frame: pd.DataFrame) -> list[str]:
        return [column.name for column in grid_table(frame).columns if column.answer]

    assert answers(FRAME) == ["enough"]
    assert answers(FRAME.assign(k_hi=None)) == ["necessary"]


def test_an_attached_table_that_is_none_is_an_error_in_one_line(result):
    for broken in ('{"grid": {"title": "x"}}', '{"grid": 3}', '{"grid": {"columns": [{}], "rows": []}}'):
        tree = result.tree.copy()
        tree.attrs["tables"] = broken
        with pytest.raises(ResultError, match="'tables' holds no tables"):
            StudyResult(tree).tables()


def test_any_table_can_be_attached_and_replaced(result):
    one = Table("own", "Mine", grid_table(FRAME).columns)
    both = result.attach(one).attach(Table("own", "Mine again", one.columns))
    assert both.table("own").title == "Mine again"
    assert list(both.tables())[-2:] == ["grid", "own"]
    assert "More" in render(both)


def test_a_page_says_what_each_condition_is_and_answers():
    plain, cut = sequential_dataset(n_prompts=6), sequential_dataset(n_prompts=6)
    cut = cut.assign_attrs(sentence="Nothing splits.")
    verdicts = cut["claim_verdict"].values.astype(object)
    verdicts[0] = "fails"
    cut["claim_verdict"] = ("claim", verdicts)
    tree = make_tree({"plain": plain, "cut 5": cut}, described={"cut 5": [{"label": "cut(5)"}]})
    result = StudyResult(tree)
    first, second = result.table("conditions").rows()
    assert (first["condition"], first["changed"]) == ("plain", "nothing")
    assert (second["changed"], second["answer"]) == ("cut(5)", "Nothing splits.")
    claim = result.table("condition_claims").rows()[0]
    assert (claim["plain verdict"], claim["cut 5 verdict"]) == ("holds", "fails")
    page = render(result)
    assert page.index("Interventions") < page.index("Nothing splits.") < page.index('id="provenance"')
