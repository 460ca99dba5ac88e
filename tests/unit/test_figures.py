import json
import math

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr

from laminar_lens.figures import curves
from laminar_lens.figures.marks import FEWEST_TEXTS
from laminar_lens.figures.style import SHADES, angle_axis, fade, new_figure, quoted, scale_color, shown
from laminar_lens.results import StudyResult
from laminar_lens.studies.sequential.figures import baseline_split
from tests.synthetic import sequential_dataset, warmup_dataset, with_warmup

SEQUENTIAL = {
    "target_by_layer",
    "baseline_split",
    "tokens",
    "by_position",
    "by_position_skipped",
    "mixture",
    "difference",
    "rotation",
    "dispersion",
}
WARMUP = {"warmup_delta", "warmup_k", "warmup_random_init", "warmup_paired_shift", "warmup_cost"}


@pytest.fixture(scope="module")
def dataset():
    return sequential_dataset()


@pytest.fixture(scope="module")
def drawn(dataset):
    return with_warmup(dataset).figures()


def named(figure: go.Figure, start: str) -> go.Scatter:
    return next(trace for trace in figure.data if str(trace.name).startswith(start))


def legend(figure: go.Figure) -> list[str]:
    return [trace.name for trace in figure.data if trace.name and trace.showlegend is not False]


def of_data(figure: go.Figure) -> list[go.Scatter]:
    """Traces in the legend, but for those that only explain a mark."""
    named = [trace for trace in figure.data if trace.name and trace.showlegend is not False]
    return [trace for trace in named if trace.x is None or tuple(trace.x) != (None,)]


def test_every_figure_of_each_study(drawn):
    assert set(drawn) == SEQUENTIAL | WARMUP
    assert set(StudyResult(sequential_dataset()).figures()) == SEQUENTIAL
    assert set(StudyResult(warmup_dataset()).figures()) == WARMUP


@pytest.mark.parametrize("name", sorted(SEQUENTIAL | WARMUP))
def test_a_figure_has_a_title_a_caption_units_and_few_legend_entries(drawn, name):
    figure = drawn[name]
    assert figure.layout.title.text
    assert figure.layout.meta["caption"].endswith((".", "?"))
    assert len(of_data(figure)) <= 6
    assert len(legend(figure)) <= 9
    if name not in ("tokens", "warmup_k", "warmup_cost"):
        assert "(rad)" in figure.layout.yaxis.title.text
        assert figure.layout.yaxis2.side == "right"
        assert all(text.endswith("°") for text in figure.layout.yaxis2.ticktext)
    json.loads(figure.to_json())


def test_degrees_stand_at_their_radians():
    figure = new_figure("t", "c.")
    angle_axis(figure, [[0.3, 2.9]])
    for tick, text in zip(figure.layout.yaxis2.tickvals, figure.layout.yaxis2.ticktext, strict=True):
        assert math.degrees(tick) == pytest.approx(float(text[:-1]))
    assert figure.layout.yaxis2.matches == "y"
    assert [shape.y0 for shape in figure.layout.shapes] == [math.pi / 2]


@pytest.mark.parametrize("values", [[], [math.nan], [1.2], [math.inf, 0.5]])
def test_an_axis_is_wide_enough_for_anything(values):
    figure = new_figure("t", "c.")
    angle_axis(figure, [values])
    low, high = figure.layout.yaxis.range
    assert low < high
    assert all(low < v < high for v in values if math.isfinite(v))


def test_thin_lines_are_the_measured_angles(dataset, drawn):
    trace = named(drawn["target_by_layer"], "target, each")
    layers = dataset.sizes["layer"]
    lines = np.asarray(trace.y, dtype=float).reshape(dataset.sizes["prompt"], layers + 1)
    np.testing.assert_array_equal(lines[:, :layers], dataset["target_angle"].values.T)
    assert np.isnan(lines[:, layers]).all()


def test_lines_of_the_split_are_coloured_by_their_earlier_position(dataset, drawn):
    earliest, figure = dataset["baseline_pair"].values.min(axis=1), drawn["baseline_split"]
    assert f"({(earliest == 0).sum()} prompts)" in named(figure, "with position 0").name
    assert f"({(earliest >= 4).sum()} prompts)" in named(figure, "from position 4 on").name
    groups = [trace for trace in figure.data if "position" in str(trace.name)]
    assert len({trace.line.color for trace in groups}) == len(groups) == 5
    assert "<b>“The” →" in named(figure, "with position 0").customdata[0]


def test_pairs_of_two_sinks_are_named_where_the_study_knows_them(dataset):
    assert "two sinks" not in str(baseline_split(dataset))
    both = np.zeros(dataset["baseline_angle"].shape, dtype=np.int8)
    both[2:5, 7] = 1
    told = dataset.copy(deep=True).assign(two_sinks=(("layer", "prompt"), both))
    told["baseline_angle"].values[2:5, 7] = 0.1, 0.12, 0.2
    figure = baseline_split(told)
    assert (
        "1 line (prompt 7) is a pair of two sinks in layers 2–4, 0.10–0.20 rad"
        in figure.layout.meta["caption"]
    )
    texts = {text for trace in figure.data for text in trace.customdata or () if "two sinks" in text}
    assert len(texts) == 1
    assert texts.pop().startswith("prompt 7: ")
    assert not figure.layout.annotations
    marked = named(figure, "both tokens are sinks")
    assert (list(marked.x), list(marked.y)) == ([2, 3, 4], [0.1, 0.12, 0.2])


def test_by_position_is_the_mean_over_prompts_that_reach_it(dataset, drawn):
    curve = named(drawn["by_position"], "layer 5")
    angles = dataset["position_angle"].sel(layer=5).values
    for p, y in zip(curve.x, curve.y, strict=True):
        assert y == pytest.approx(np.nanmean(angles[:, p]))
        assert np.isfinite(angles[:, p]).sum() >= FEWEST_TEXTS
    skipped = named(drawn["by_position_skipped"], "layer 5")
    assert skipped.x[0] > 0
    assert max(skipped.y) < max(curve.y)


def test_modes_are_drawn_only_where_there_are_two(dataset, drawn):
    bars = [trace for trace in drawn["mixture"].data if trace.name == "mode: mean ± sd"]
    two = dataset["two_modes"].values.astype(bool)
    for trace in bars:
        assert list(trace.x) == dataset["layer"].values[two].tolist()


def test_a_split_baseline_is_compared_without_position_0(dataset):
    changed = dataset.copy(deep=True)
    for part in ("", "_low", "_high"):
        values = changed[f"difference{part}"].values
        changed[f"stratified_difference{part}"] = (("baseline", "layer"), values.copy())
        values[0] = np.nan
    trace = named(StudyResult(changed).figures()["difference"], "published, split")
    assert trace.line.dash == "5px,4px"


def test_the_warm_up_slider_exchanges_the_layer(drawn):
    figure = drawn["warmup_delta"]
    steps = figure.layout.sliders[0].steps
    assert [step.label for step in steps] == [str(layer) for layer in range(9)]
    update, which = steps[0].args
    assert [figure.data[row].name for row in which][-2:] == [
        "the layer's shift δ",
        "random weights, same layer",
    ]
    assert len(update["y"]) == len(which)


def test_warm_up_tolerance_and_reference_are_marked():
    figure = StudyResult(warmup_dataset().assign_attrs(reference_start=42, reference_stop=63)).figures()
    assert not figure["warmup_delta"].layout.annotations  # which would lie over lines
    assert {"within ±τ = 0.05 rad", "reference pairs"} <= set(legend(figure["warmup_delta"]))


def test_every_mark_of_a_warm_up_is_in_its_legend():
    dataset = warmup_dataset()
    taus, layers = [0.05, 0.1], dataset.sizes["layer"]
    found = {f"tolerance_{name}": ("tolerance", [2, 1]) for name in ("k_hi", "k_lo")}
    each = {f"{name}_by_layer": (("tolerance", "layer"), np.ones((2, layers), int)) for name in found}
    figures = StudyResult(dataset.assign({**found, **each}).assign_coords(tolerance=taus)).figures()
    expected = ["enough in every layer", "necessary", "enough in one layer", "τ = 0.05 rad, this study's"]
    assert legend(figures["warmup_tolerance"]) == expected
    assert legend(figures["warmup_k"])[-1] == "from what is necessary up"


def test_no_upper_bound_is_an_arrow_and_drift_a_cross():
    dataset = warmup_dataset()
    dataset["k_hi"].values[:2] = -1
    dataset["verdict"] = ("layer", ["undetermined", "drift", *dataset["verdict"].values[2:].tolist()])
    figure = StudyResult(dataset).figures()["warmup_k"]
    assert list(named(figure, "no upper bound").x) == [0]
    assert list(named(figure, "drift").x) == [1]
    assert "no upper bound shown" in named(figure, "no upper bound").customdata[0]


def test_a_study_without_some_numbers_still_draws_the_rest(dataset):
    poor = dataset.drop_vars(["random_position_angle", "rotation_mean"]).copy(deep=True)
    poor["two_modes"].values[:] = 0
    made = with_warmup(poor, warmup_dataset().drop_vars("random_delta")).figures()
    assert "rotation" not in made
    assert "warmup_random_init" not in made
    assert "by_position" in made


def test_baselines_that_do_not_exist_are_left_out(dataset):
    poor = dataset.copy(deep=True)
    for name in ("difference", "difference_low", "difference_high"):
        poor[name].values[1] = np.nan
    poor["baseline_pair"].values[0] = -1
    poor["difference_note"] = ("baseline", ["", "no text has a word before it", "", ""])
    made = StudyResult(poor).figures()
    assert legend(made["difference"]) == ["published", "matched", "by position"]
    caption = made["difference"].layout.meta["caption"]
    assert "Not drawn: adjacent (no text has a word before it)." in caption
    assert "No band" not in caption
    assert "no pair" in "".join(named(made["target_by_layer"], "baseline, each").customdata)


def test_many_layers_need_no_more_legend():
    made = StudyResult(sequential_dataset(n_layers=48, n_prompts=8)).figures()
    assert all(len(of_data(figure)) <= 6 for figure in made.values())
    assert len(made["by_position"].layout.xaxis.tickvals) <= 16
    assert len(made["target_by_layer"].layout.xaxis.tickvals) <= 14
    bars = [trace for trace in made["mixture"].data if trace.name == "mode: mean ± sd"]
    assert all(trace.marker.size < 700 / 49 and trace.text is None for trace in bars)
    assert "% of the pairs" in bars[1].customdata[0]


@pytest.mark.parametrize("layers", [[3], [0], [2, 3], [0, 5]])
def test_a_subset_of_layers_draws_each_of_its_layers(dataset, layers):
    chosen = dataset.sel(layer=layers)
    made = with_warmup(chosen, warmup_dataset()).figures()
    assert set(made) >= {"by_position", "by_position_skipped", "tokens", "warmup_delta", "mixture"}
    names = {str(trace.name) for trace in made["by_position"].data}
    for layer in layers:
        assert ("layer 0 (embeddings)" if layer == 0 else f"layer {layer}") in names
    assert set(StudyResult(warmup_dataset().sel(layer=layers)).figures()) == WARMUP


def test_a_single_layer_is_drawn_as_points(dataset):
    made = StudyResult(dataset.sel(layer=[3])).figures()
    for name in ("target_by_layer", "baseline_split", "difference", "dispersion"):
        assert all(trace.mode == "markers" for trace in of_data(made[name]))
    assert named(made["target_by_layer"], "target, mean").error_y.array[0] > 0


def test_a_matched_pair_is_another_texts(dataset):
    row = dataset["baseline"].values.tolist().index("matched")
    matched = dataset.copy(deep=True)
    matched["baseline_angle"].values[:] = matched["angle_by_baseline"].values[row]
    matched["baseline_pair"].values[:] = matched["pair_by_baseline"].values[row]
    made = StudyResult(matched).figures()
    first, second = matched["baseline_pair"].values[0]
    for figure, start in (("target_by_layer", "baseline, each"), ("mixture", "with")):
        texts = named(made[figure], start).customdata
        assert all("another text, positions (" in text and "→" not in text for text in texts)
    assert (
        f"another text, positions ({first}, {second})" in named(made["target_by_layer"], "base").customdata[0]
    )
    assert "→" in named(made["target_by_layer"], "target, each").customdata[0]


def test_mixture_hover_names_the_layer(dataset, drawn):
    trace = named(drawn["mixture"], "without")
    assert "layer %{x:.0f}:" in trace.hovertemplate
    angles = dataset["baseline_angle"].values
    for x, y, text in zip(trace.x, trace.y, trace.customdata, strict=True):
        layer = round(x)  # as "%{x:.0f}" says it
        assert y == angles[layer, int(text.split(":")[0].removeprefix("prompt "))]


def test_a_warm_up_longer_than_the_prompts_is_said(dataset):
    figure = StudyResult(dataset.assign_attrs(leave_out=30)).figures()["by_position_skipped"]
    assert figure.layout.title.text == "Angle by position, without the first 8 tokens"
    assert figure.layout.meta["caption"].endswith(
        "The warm-up asks to leave out 30; these prompts are too short for that, so 8."
    )
    figure = StudyResult(dataset.assign_attrs(leave_out=9)).figures()["by_position_skipped"]
    assert figure.layout.title.text.endswith("the first 9 tokens")
    assert "too short" not in figure.layout.meta["caption"]


def test_a_withheld_interval_says_why_and_has_no_band(dataset):
    few = dataset.copy(deep=True)
    for name in ("target_low", "target_high"):
        few[name].values[:] = np.nan
        few[name].attrs["withheld"] = "interval withheld: 4 texts"
    for part in ("low", "high"):
        few[f"difference_{part}"].values[2:] = np.nan
    few["difference_note"] = ("baseline", ["", "", *["interval withheld: 3 texts"] * 2])
    made = StudyResult(few).figures()
    for name in ("target_by_layer", "rotation"):
        assert made[name].layout.meta["caption"].count("Interval withheld: 4 texts.") == 1
    assert "target, mean" in legend(made["target_by_layer"])
    assert "published baseline, mean of all draws, 95% band" in legend(made["target_by_layer"])
    assert (
        "No band: matched, by position (interval withheld: 3 texts)."
        in made["difference"].layout.meta["caption"]
    )
    few["difference"].values[:] = np.nan
    empty = StudyResult(few).figures()["difference"]
    assert [note.text for note in empty.layout.annotations] == ["no difference was computed"]
    assert "withheld" not in made["dispersion"].layout.meta["caption"]


def test_nulls_are_drawn_and_random_directions_have_a_width(dataset, drawn):
    null = named(drawn["by_position"], "positions permuted")
    np.testing.assert_array_equal(null.y, dataset["null_position_mean"].values[np.asarray(null.x)])
    wide = dataset.assign_attrs(random_direction_sd=0.0884)
    figure = StudyResult(wide).figures()["mixture"]
    assert not figure.layout.annotations
    assert "π/2 ± 0.09: random directions" in legend(figure)


def test_random_weights_are_seen_whole():
    low = warmup_dataset()
    low["random_delta"].values[0, 0] = -2.0
    assert StudyResult(low).figures()["warmup_delta"].layout.yaxis.range[0] < -2.0


def test_random_position_embeddings_are_said_only_where_they_are():
    dataset = warmup_dataset()
    caption = StudyResult(dataset).figures()["warmup_random_init"].layout.meta["caption"]
    assert caption.endswith("this one draw's random position embeddings.")
    rotary = dataset.attrs["provenance"].replace("absolute", "rotary")
    for other in (dataset.sel(layer=[2, 3]), dataset.assign_attrs(provenance=rotary)):
        assert "jags" not in StudyResult(other).figures()["warmup_random_init"].layout.meta["caption"]


def test_the_menu_of_costs_exchanges_curves_and_units():
    dataset = warmup_dataset()
    figure = StudyResult(dataset).figures()["warmup_cost"]
    buttons = figure.layout.updatemenus[0].buttons
    assert [button.label for button in buttons] == ["mean angle", "mean vector", "first principal axis"]
    assert figure.layout.yaxis.title.text == "bias of the mean angle in layer 3 (rad)"
    moved, axis, which = buttons[1].args
    assert list(which) == list(range(8))
    assert axis["yaxis.title.text"] == "bias of the mean vector in layer 3 (typical lengths)"
    bias, sd = (dataset[f"vector_{name}"].values[3] for name in ("bias", "sd"))
    np.testing.assert_allclose(np.array(moved["y"][::2], float), bias)
    np.testing.assert_allclose(np.array(moved["y"][1::2], float), sd / 10)  # of 100 texts
    shown = dataset["vector_from"].values[3] >= 0
    assert (np.array(moved["marker.symbol"][::2]) == np.where(shown, "circle", "circle-open")).all()
    of_marks = ["bias", "no bias was shown", "chance error of 100 texts"]
    assert legend(figure) == ["T = 32", "T = 64", "T = 128", "T = 512", *of_marks]
    dashed, key = (named(figure, name) for name in ("T = 32", of_marks[2]))
    assert {trace.line.dash for trace in figure.data if trace.legendgroup == dashed.legendgroup} == {
        "solid",
        key.line.dash,
    }
    assert list(figure.layout.xaxis.ticktext) == ["0", "1", "2", "4", "8", "16", "32"]


@pytest.mark.parametrize(
    ("units", "title"), [("1", "x"), ("", "x"), ("rad", "x (rad)"), ("bits", "x (bits)")]
)
def test_what_has_no_dimension_has_no_unit(units, title):
    curve = xr.DataArray(np.linspace(0.2, 0.4, 3), dims="layer", name="x", attrs={"units": units})
    made = {f"x{end}": curve for end in ("", "_low", "_high")}
    figure = curves.curve("x", xr.Dataset(made, {"layer": [0, 1, 2]}))
    assert figure.layout.yaxis.title.text == title
    hover = next(trace.hovertemplate for trace in figure.data if trace.hovertemplate)
    assert "1" not in hover.partition("%{y:.3f}")[2]


def test_hover_text_is_escaped():
    made = StudyResult(sequential_dataset(texts=["<a href='x'>&"])).figures()
    for figure in made.values():
        for trace in figure.data:
            for text in np.ravel(trace.customdata if trace.customdata is not None else []).tolist():
                assert "<a" not in str(text)
    assert shown("a<b>\n\x00") == "a&lt;b&gt;⏎·"
    assert shown("a\tb") == "a⇥b"
    assert quoted(" her") == "“ her”"
    assert len(shown("x" * 500)) == 70


def test_colours():
    assert fade("#ff0080", 0.5) == "rgba(255,0,128,0.5)"
    assert scale_color(SHADES, 0.0) == SHADES[0]
    assert scale_color(SHADES, 1.0) == SHADES[-1]
    assert scale_color(SHADES, 7.0) == SHADES[-1]
    assert scale_color(("#000000", "#ffffff"), 0.5) == "#808080"
