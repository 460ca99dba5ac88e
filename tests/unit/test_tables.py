"""One table in a terminal, on a page, in JSON and in CSV."""

import csv
import html.parser
import io
import json
import math

import numpy as np
import pytest
import xarray as xr

from laminar_lens.errors import InputError
from laminar_lens.report import render
from laminar_lens.results import StudyResult, Summary
from laminar_lens.tables import Column, Table, by_layer
from tests.synthetic import sequential_dataset, warmup_dataset, with_warmup

MADE = by_layer(
    "made",
    "Angles by layer (rad)",
    np.array([0, 3]),
    [
        Column(
            "target",
            ("1.314 [1.296, 1.332]", "–"),
            "rad",
            small=("two <texts>", ""),
            values={"target": [1.314, math.nan], "target_low": [1.296, None]},
        ),
        Column("base IQR", ("0.333", "0.100"), spare=1, values={"iqr": [0.333, 0.1]}),
        Column("texts needed", ("280,000", "3"), spare=2, values={"n": [280_000, 3]}),
        Column("what was found", ("words that fold " * 4, 'a <b> & "c"'), wide=True),
        Column("hidden", values={"half_life": [2.5, math.inf]}),
    ],
    note="Read <this> first.",
)


@pytest.mark.parametrize("width", [48, 60, 80, 120])
def test_no_number_or_heading_is_broken_in_a_terminal(width):
    text = MADE.text(width)
    assert max(map(len, text.split("\n"))) <= width
    shown = ["1.314 [1.296, 1.332]", "layer", "target"]
    assert [cell for cell in shown if cell not in text] == []
    said, _, gone = " ".join(text.split()).partition(f"Not shown at width {width}: ")
    assert bool(gone) == (width < 80)
    assert ("280,000" in said) == (not gone.startswith("texts needed"))
    assert ("0.333" in said) == ("base IQR" not in gone)
    assert not gone or "; give more (a wider window, or COLUMNS)" in gone
    assert "half_life" not in text
    assert "280,000" not in MADE.text(48), "the largest spare goes first"


def test_a_title_is_as_wide_as_the_window_where_its_table_is_narrower():
    table = Table("narrow", "What leaving out the first tokens of a text costs", (Column("T", ("32",)),))
    assert table.text(80).splitlines()[0] == table.title
    assert max(map(len, table.text(30).splitlines())) <= 30


def test_each_line_of_a_note_is_a_line():
    table = Table("noted", "With a note", (Column("T", ("32",)),), "C2: not <shown>.\nC5: a \x1b[31m line.")
    assert table.text(80).splitlines()[-2:] == ["C2: not <shown>.", "C5: a \\x1b[31m line."]
    assert "C2: not &lt;shown&gt;.<br>C5: a \\x1b[31m line.</p>" in table.html()
    text = str(Summary({"tables": {"noted": table.json()}}))
    assert text.splitlines()[-2:] == ["C2: not <shown>.", "C5: a \\x1b[31m line."]


def test_rows_have_every_number_under_its_name():
    first, second = MADE.rows()
    assert first == {
        "layer": 0,
        "target": 1.314,
        "target_low": 1.296,
        "iqr": 0.333,
        "n": 280_000,
        "what was found": "words that fold " * 4,
        "half_life": 2.5,
    }
    assert second["layer"] == 3
    assert math.isnan(second["target"])


def test_json_is_finite_and_shows_the_same_table_again():
    made = json.loads(json.dumps(MADE.json(), allow_nan=False))
    assert [row["half_life"] for row in made["rows"]] == [2.5, None]
    assert Table.from_json("made", made).text(80) == MADE.text(80)


def test_csv_has_a_line_a_row_and_nothing_where_there_is_no_number(tmp_path):
    path = MADE.to_csv(tmp_path / "made.csv")
    names, first, second = csv.reader(io.StringIO(path.read_text(encoding="utf-8")))
    assert names == ["layer", "target", "target_low", "iqr", "n", "what was found", "half_life"]
    assert first[:5] == ["0", "1.314", "1.296", "0.333", "280000"]
    assert second[:3] == ["3", "", ""]


def test_csv_of_a_table_without_rows_is_its_heading():
    assert Table("none", "", (Column("a"), Column("b"))).csv() == '"a","b"\n'


def test_a_page_has_every_cell_and_no_text_becomes_markup():
    page = MADE.html()
    html.parser.HTMLParser().feed(page)
    assert "<b>" not in page
    assert "<this>" not in page
    assert "<small>two &lt;texts&gt;</small>" in page
    assert page.count("<tr>") == 3
    assert 'class="words long">what was found' in page
    assert page.startswith('<div class="scroll">'), "a phone scrolls the table and not the page"


@pytest.mark.parametrize("study", ["sequential", "warmup"])
def test_every_table_of_a_result_is_in_terminal_page_and_json(study):
    result = StudyResult(warmup_dataset()) if study == "warmup" else with_warmup(sequential_dataset())
    tables, summary = result.tables(), result.summary()
    assert list(summary["tables"]) == list(tables)
    more = set() if study == "warmup" else {"claims", "angles"}
    assert set(tables) == {"by_layer", "costs", *more}
    page, text = render(result), str(summary)
    for key, table in tables.items():
        assert (f'id="table-{key}"' in page) == (key != "claims")
        assert table.title in text
        assert summary[key] == Summary({"rows": table.rows()})["rows"]
        assert max(map(len, table.text(80).split("\n"))) <= 80
    assert str(Summary(json.loads(json.dumps(summary)))) == text


def test_one_table_by_its_name(tmp_path):
    result = StudyResult(warmup_dataset())
    assert result.table("by_layer").json() == result.summary()["tables"]["by_layer"]
    assert result.table("by_layer").to_csv(tmp_path / "k.csv").exists()
    with pytest.raises(InputError, match="no table 'pie' in this result; it has by_layer, costs"):
        result.table("pie")


@pytest.mark.parametrize("wrong", [None, True, 1.5, b"k.csv", ["k.csv"], object(), "", "k\0.csv"])
def test_what_is_no_path_or_no_width_is_one_line(wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^path is .*expected the path of a file"):
        MADE.to_csv(wrong)
    for show in (MADE.text, MADE.rich):
        with pytest.raises(InputError, match=r"^width is .*expected a whole number of at least 1"):
            show(wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_study_without_a_view_has_curves_and_a_table():
    numbers = {name: ("layer", [1.0, 2.0, 3.0]) for name in ("turn", "turn_low", "turn_high", "other")}
    dataset = xr.Dataset(numbers, {"layer": [0, 1, 2]}, {"study": "swirl", "sentence": "It turns."})
    dataset["turn"].attrs |= {"long_name": "turn of a token", "units": "rad"}
    result = StudyResult(dataset)
    assert set(result.figures()) == {"turn"}
    assert result.figures()["turn"].layout.yaxis.title.text == "turn of a token (rad)"
    assert result.summary()["by_layer"][2] == {"layer": 2, "turn": 3.0, "turn_low": 3.0, "turn_high": 3.0}
    page = render(result)
    assert "swirl study" in page
    assert page.index("By layer") < page.index('id="table-by_layer"') < page.index('id="spec-turn"')
    bare = StudyResult(dataset[["other"]])
    assert bare.figures() == bare.tables() == {}
    assert "swirl study" in render(bare)
