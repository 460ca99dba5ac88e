import base64
import json
import os
import re

import numpy as np
import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs

from laminar_lens.cli import show
from laminar_lens.errors import InputError, ResultError
from laminar_lens.report import figure_page, render
from laminar_lens.report.drawing import library, packed, script_json, spec_of
from laminar_lens.report.pictures import FORMATS
from laminar_lens.results import StudyResult
from laminar_lens.studies.sequential.tokens import token_data
from tests.synthetic import sequential_dataset, warmup_dataset, with_warmup

EVIL = "<script>alert(1)</script>&\"'\u2028"


@pytest.fixture(scope="module")
def result() -> StudyResult:
    dataset = sequential_dataset(texts=[EVIL])
    return with_warmup(dataset.assign_attrs(sentence=f"The answer {EVIL}."))


@pytest.fixture(scope="module")
def page(result) -> str:
    return render(result)


def outside_plotly(page: str) -> str:
    """The page without the drawing library."""
    scripts = re.findall(r"<script>.*?</script>", page, re.DOTALL)
    return page.replace(max(scripts, key=len), "")


def test_reading_order(page):
    order = ["<h1", 'id="warnings"', 'id="claims"', "figure-target_by_layer", "figure-baseline_split"]
    order += ['id="tokens"', "figure-by_position", "figure-mixture", 'id="table-by_layer"', 'id="provenance"']
    places = [page.index(part) for part in order]
    assert places == sorted(places)


def test_claims_show_answer_estimate_and_evidence(page):
    body = outside_plotly(page)
    assert '<span class="verdict holds">holds</span>' in body
    assert '<span class="verdict fails">fails</span>' in body
    assert "4.20 [3.60, 4.90] ratio" in body
    assert "Synthetic evidence for claim 3." in body


def test_everything_is_in_the_page(page, result):
    assert page.count("plotly.js (cartesian") == 1
    assert len(page) < 2_500_000
    body = outside_plotly(page)
    assert not re.search(r"(src|href)\s*=", body)
    assert not re.search(r"https?://", body)
    assert "@import" not in body
    assert "default-src 'none'" in body
    assert result.numbers_sha256 in body
    for name in set(result.figures()) - {"tokens"}:
        assert f'id="spec-{name}"' in body


def test_text_of_the_study_is_escaped(page):
    body = outside_plotly(page)
    assert "<script>alert" not in body
    assert "The answer &lt;script&gt;alert(1)&lt;/script&gt;&amp;" in body
    specs = re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', body, re.DOTALL)
    assert len(specs) == 14
    held = {name: json.loads(spec) for name, spec in specs}
    assert held["token-data"]["prompts"][0]["words"][0] == EVIL.replace("\u2028", "·")


def test_script_json_survives_any_text():
    text = script_json({"a": "</script><!--\u2028&"})
    assert "<" not in text
    assert json.loads(text) == {"a": "</script><!--\u2028&"}


def test_token_data_has_one_angle_between_two_tokens(result):
    data = token_data(result.dataset)
    for row, prompt in enumerate(data["prompts"]):
        count = int(result.dataset["n_tokens"].values[row])
        assert len(prompt["words"]) == count
        assert all(len(layer) == count - 1 for layer in prompt["angles"])
        assert prompt["words"][prompt["target"]] == " her"
    assert 0 < data["low"] < data["high"] < np.pi
    assert data["layers"] == list(range(9))


def test_a_prompt_is_the_texts_own_and_control_characters_are_seen():
    dataset = sequential_dataset(n_prompts=4)
    dataset["text"].values[1] = "Gärten\nund 東京"
    dataset["token"].values[1, :3] = ["G", "\ufffd\ufffd", "\n\x00"]
    prompt = token_data(dataset)["prompts"][1]
    assert prompt["text"] == "Gärten⏎und 東京"
    assert prompt["words"][:3] == ["G", "\ufffd\ufffd", "⏎·"]


@pytest.mark.parametrize("layers", [[3], [0], [2, 3]])
def test_a_subset_of_layers_has_a_page(result, layers):
    assert token_data(result.dataset.sel(layer=layers))["layers"] == layers
    assert "figure-by_position" in render(StudyResult(result.dataset.sel(layer=layers)))


def test_what_the_main_sentence_rests_on_is_shown(page):
    body = outside_plotly(page)
    assert "<span>54 prompts</span>" in body
    assert "warm-up from 40 texts of 64 tokens, τ = 0.05 rad, reference pairs 42–62" in body
    assert "<th>warmup · n_texts</th><td>40</td>" in body
    assert "<th>warmup · reference</th>" in body
    assert "<span>40 texts</span>" in outside_plotly(render(StudyResult(warmup_dataset())))


def test_nothing_is_said_twice_in_the_provenance(result):
    provenance = json.loads(result.dataset.attrs["provenance"])
    provenance["model"] |= {"prepend_bos": False, "backend": "reference", "final_norm": True}
    page = outside_plotly(render(StudyResult(result.dataset.assign_attrs(provenance=json.dumps(provenance)))))
    assert "model · prepend_bos" not in page
    assert "model · backend" not in page
    assert "warmup · prepend_bos" not in page
    assert "<th>model · final_norm</th><td>yes</td>" in page


def test_what_was_not_is_no_row_of_the_provenance(result):
    told = json.loads(result.dataset.attrs["provenance"])
    told |= {"git_commit": None, "left_out": [], "kept": False, "model": {**told["model"], "revision": None}}
    page = outside_plotly(render(StudyResult(result.dataset.assign_attrs(provenance=json.dumps(told)))))
    rows = dict(re.findall(r"<tr><th>([^<]*)</th><td>([^<]*)</td></tr>", page[page.index(">Provenance<") :]))
    assert rows["kept"] == "no"
    assert "none" not in rows.values()


def test_a_claim_without_an_interval_says_why(result):
    few = result.dataset.copy(deep=True)
    for end in ("low", "high"):
        few[f"claim_{end}"].values[0] = np.nan
    evidence = few["claim_evidence"].values.astype(object)
    evidence[0] = "Wide. Interval withheld: 4 texts."
    few["claim_evidence"] = ("claim", evidence)
    study = StudyResult(few)
    text = str(study.summary())
    assert "–]" not in text
    assert "C1: Wide. Interval withheld: 4 texts." in text
    assert "C2: " not in text
    assert "4.20 ratio" in outside_plotly(render(study))


def test_a_long_answer_is_split_after_its_first_sentence():
    first = "Leave out 1 token: pairs with position 0 are 1.31 rad wider in layers 2–7."
    rest = "The published baseline splits in those layers, and the pairs with position 0 are its upper group."
    page = outside_plotly(render(StudyResult(warmup_dataset().assign_attrs(sentence=f"{first} {rest}"))))
    assert f">{first}</h1>" in page
    assert f'<p class="lead">{rest}</p>' in page


def test_a_warm_up_has_its_own_page():
    page = outside_plotly(render(StudyResult(warmup_dataset())))
    assert "Warm-up study" in page
    assert 'id="claims"' not in page
    assert 'id="tokens"' not in page
    assert page.index('class="layers"') < page.index("figure-warmup_delta")
    assert "<td>97%</td>" in page


def test_a_page_without_warnings_has_no_box():
    page = outside_plotly(render(StudyResult(warmup_dataset().assign_attrs(warnings="[]"))))
    assert 'id="warnings"' not in page


def test_report_is_written_whole_or_not_at_all(result, tmp_path, monkeypatch):
    path = result.report(tmp_path / "page.html")
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    before = path.read_bytes()

    def broken(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(ResultError, match="No space left"):
        result.report(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["page.html"]


def test_a_page_of_one_figure_has_the_library_that_draws_it():
    page = figure_page(go.Figure(go.Scatter(x=[0, 1], y=[1, 2])))
    assert page.count("plotly.js (cartesian") == 1
    assert page.count('Plotly.newPlot("figure"') == 1


def test_the_whole_library_only_where_a_figure_needs_it():
    flat, deep = (spec_of(go.Figure(trace)) for trace in (go.Heatmap(z=[[1]]), go.Scatter3d(z=[1])))
    assert len(library([flat])) < 1_600_000 < 4_000_000 < len(library([flat, deep]))


def test_the_bundle_is_of_the_version_that_plotly_has():
    """What plotly's Python side writes is read by a library of the same age."""
    bundled, whole = (re.search(r"v(\d+)\.\d+", text[:200])[1] for text in (library([]), get_plotlyjs()))
    assert bundled == whole


def unpacked(value):
    """What the page's script makes of packed JSON."""
    if isinstance(value, dict):
        if "bdata" in value:
            return np.frombuffer(base64.b64decode(value["bdata"]), value["dtype"]).tolist()
        if "texts" in value:
            return [value["texts"][k] for k in unpacked(value["of"])]
        return {key: unpacked(one) for key, one in value.items()}
    return [unpacked(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", ["baseline_split", "mixture", "warmup_delta"])
def test_packing_keeps_every_number_and_text(result, name):
    spec = spec_of(result.figures()[name])
    small = packed(spec["data"])
    assert len(json.dumps(small)) < 0.7 * len(json.dumps(spec["data"]))
    for before, after in zip(spec["data"], map(unpacked, small), strict=True):
        assert before.keys() == after.keys()
        assert list(unpacked(before["customdata"])) == after["customdata"] if "customdata" in before else True
        for axis in ("x", "y"):
            was = np.array(unpacked(before[axis]), dtype=float)
            np.testing.assert_allclose(np.array(after[axis], dtype=float), was, atol=2e-7)


def test_numbers_keep_their_precision_where_they_are_said_in_full():
    given = [0.05 * k for k in range(20)]
    assert unpacked(packed({"x": given}))["x"] == given
    assert unpacked(packed({"y": given}))["y"] == pytest.approx(given, rel=1e-6)
    assert np.isnan(unpacked(packed({"y": [None, *given]}))["y"][0])
    assert unpacked(packed({"z": [[1, 300] * 8]}))["z"] == [[1, 300] * 8]


def test_figures_need_a_browser_and_say_so_in_one_line(result, tmp_path, monkeypatch):
    monkeypatch.setattr("laminar_lens.report.pictures.chromium_path", lambda: str(tmp_path / "none"))
    with pytest.raises(ResultError, match=r"a picture needs Chromium.*install one"):
        result.write_figures(tmp_path / "figures")
    with pytest.raises(InputError, match="'gif' is none of svg, png, pdf"):
        result.write_figures(tmp_path, "gif")
    assert not (tmp_path / "figures").exists()


LINK = '<a href="javascript:alert(1)">X</a><img src=x>%{y}'


def hostile(dataset):
    """The dataset with a link in every text, and behind every name of a foreign coordinate."""
    changed = dataset.copy(deep=True)
    for name, variable in dataset.variables.items():
        if variable.dtype.kind not in "UO":
            continue
        if name not in dataset.dims:
            changed[name] = (variable.dims, np.full(variable.shape, LINK))
        elif name == "baseline":
            changed = changed.assign_coords(baseline=[f"{value}{LINK}" for value in variable.values])
    return changed.assign_attrs(sentence=LINK, warnings=json.dumps([LINK]))


@pytest.mark.parametrize("make", [sequential_dataset, warmup_dataset])
def test_no_text_of_a_file_becomes_a_link(make):
    result = StudyResult(hostile(make()))
    body = outside_plotly(render(result))
    assert "<a " not in body
    assert "<img" not in body
    specs = re.findall(r'<script type="application/json" id="spec-[^"]+">(.*?)</script>', body, re.DOTALL)
    for held in specs:
        texts = re.findall(r'"(?:[^"\\]|\\.)*"', held)
        tags = {tag for text in texts for tag in re.findall(r"<[^>]*>", json.loads(text))}
        assert tags <= {"<br>", "<b>", "</b>", "<extra>", "</extra>"}
    assert "<a " not in result._repr_html_()
    drawn = "".join(figure.to_json() for figure in result.figures().values())
    data = json.loads(result.figures()["difference"].to_json())["data"] if make is sequential_dataset else []
    assert all("<" not in trace.get("name", "") for trace in data)
    assert not re.search(r"(?:<|\\u003c)a ", drawn.replace("<extra>", ""))


def test_a_baseline_of_a_foreign_name_is_still_named():
    dataset = sequential_dataset()
    names = ["a<b>&", *dataset["baseline"].values[1:].tolist()]
    page = outside_plotly(render(StudyResult(dataset.assign_coords(baseline=names))))
    spec = re.search(r'id="spec-difference">(.*?)</script>', page, re.DOTALL)[1]
    shown = [trace.get("name", "") for trace in json.loads(spec)["data"]]
    assert any(name.startswith("a&lt;b&gt;&amp;") for name in shown)


def test_a_page_names_the_numbers_it_was_made_from(result, page, tmp_path):
    from laminar_lens.report.pages import page_numbers

    path = result.report(tmp_path / "page.html")
    assert page_numbers(path) == result.numbers_sha256
    assert page_numbers(tmp_path / "none.html") is None
    (tmp_path / "other.html").write_text("<!DOCTYPE html>")
    assert page_numbers(tmp_path / "other.html") is None


def test_the_command_knows_the_formats_of_figures():
    assert tuple(FORMATS) == show.FORMATS
