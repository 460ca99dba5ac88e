"""Studies under interventions: the axis, each condition as a result of its own, contrasts, files, pages."""

import json
import re

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.errors import InputError
from laminar_lens.studies.angles import angle_rows

CUT, BOTH = "cut(3)", "both"
CHANGES = {CUT: ll.cut(3), BOTH: [ll.cut(3), ll.restart(3)]}
SMALL = {"n_perm": 99, "n_draws": 2, "random_init": False, "layers": [0, 2, 5]}
PROMPTS = ll.her_prompts()[:30]


@pytest.fixture(scope="module")
def plain_warmup(novella):
    return ll.warmup_study(novella, n_texts=24, length=32, random_init=False)


@pytest.fixture(scope="module")
def warmup(novella):
    return ll.warmup_study(novella, n_texts=24, length=32, random_init=False, interventions=CHANGES)


@pytest.fixture(scope="module")
def study(novella, warmup):
    return ll.sequential_study(novella, PROMPTS, warmup=warmup, interventions=CHANGES, **SMALL)


@pytest.fixture(scope="module")
def table(novella):
    return ll.StudyResult(ll.angle_table(novella, ll.her_prompts()[:24], interventions=CHANGES))


def test_the_plain_condition_is_the_study_without_interventions(novella, plain_warmup, warmup, study, table):
    alone = ll.sequential_study(novella, PROMPTS, warmup=plain_warmup, **SMALL)
    rows = ll.StudyResult(ll.angle_table(novella, ll.her_prompts()[:24]))
    for result, single in ((warmup, plain_warmup), (study, alone), (table, rows)):
        assert result.conditions == ("plain", CUT, BOTH)
        assert single.conditions == ("plain",)
        assert list(result.tree.children) == ["plain", CUT, BOTH]
        plain = result.condition("plain")
        assert type(plain) is type(single)
        assert plain.numbers_sha256 == single.numbers_sha256
        assert plain.settings == single.settings
        assert plain.sentence == single.sentence
        assert plain.warnings == single.warnings
        assert plain.dataset.sizes == single.dataset.sizes
        assert "interventions" not in single.provenance["model"]


def test_a_condition_is_the_run_under_its_interventions(novella, warmup, table):
    tokens = warmup.tokens
    states = ll.capture_residuals(novella, tokens, interventions=CHANGES[BOTH]).values
    found = warmup.condition(BOTH).dataset["angle"].transpose("layer", "text", "pair").values
    np.testing.assert_allclose(found, ll.sequential_angles(states).numpy(), atol=2e-6)
    plain = ll.sequential_angles(ll.capture_residuals(novella, tokens[:, 3:]).values).numpy()
    np.testing.assert_allclose(found[:, :, 3:], plain, atol=2e-5)  # cut + restart: the text from 3 on
    assert warmup.condition(BOTH).settings["interventions"] == ["cut(3)", "restart(3)"]
    described = warmup.condition(BOTH).provenance["model"]["interventions"]
    assert [one["intervention"] for one in described] == ["cut", "restart"]
    assert warmup.provenance["interventions"][BOTH] == described
    assert warmup.settings["interventions"] == {CUT: ["cut(3)"], BOTH: ["cut(3)", "restart(3)"]}
    rows = angle_rows(table.tree)
    assert set(rows["intervention"]) == {"plain", CUT, BOTH}
    one = rows[(rows.intervention == CUT) & (rows.layer == 2) & (rows.prompt == 1) & (rows.pair == 4)]
    wanted = table.condition(CUT).dataset["sequential"].sel(layer=2, prompt=1, pair=4)
    assert float(one["sequential"].iloc[0]) == float(wanted)


def test_texts_are_the_same_in_every_condition(warmup):
    ids = [warmup.condition(name).dataset["token_id"].values for name in warmup.conditions]
    assert all((one == ids[0]).all() for one in ids)


def test_a_contrast_is_paired_over_texts(warmup, study):
    found = warmup.contrast(BOTH)
    parts = {name: warmup.condition(name).dataset["angle"] for name in (BOTH, "plain")}
    for layer, pair in ((2, 3), (5, 20)):
        here = {name: angle.sel(layer=layer, pair=pair) for name, angle in parts.items()}
        d = [float(here[BOTH][text]) - float(here["plain"][text]) for text in range(24)]
        at = found.sel(layer=layer, pair=pair)
        assert float(at["difference"]) == pytest.approx(np.mean(d), abs=1e-7)
        assert float(at["low"]) < np.mean(d) < float(at["high"])
        half = 2.07 * np.std(d, ddof=1) / np.sqrt(24)  # the t interval, which bootstrap-t is near
        assert (float(at["high"]) - float(at["low"])) / 2 == pytest.approx(half, rel=0.35)
    assert found["difference"].attrs["units"] == "rad"
    back = warmup.contrast("plain", BOTH)
    np.testing.assert_allclose(back["difference"], -found["difference"], atol=1e-12)
    assert (found.sel(layer=3, pair=1)["n"] == 24).all()
    assert float(found["difference"].sel(pair=0).max()) == 0.0  # what stands before t does not change
    aimed = study.contrast(CUT, what="target_angle")
    wanted = (
        study.condition(CUT).dataset["target_angle"] - study.condition("plain").dataset["target_angle"]
    ).mean("prompt")
    np.testing.assert_allclose(aimed["difference"], wanted, atol=1e-9)
    assert set(aimed["difference"].dims) == {"layer"}


def test_grouped_texts_count_once(novella):
    tokens = torch.cat([ll.sample_tokens(novella, 24, 24)] * 2)
    groups = list(range(24)) * 2
    twice = ll.warmup_study(
        novella, tokens, groups=groups, layers=[2], random_init=False, interventions=ll.cut(3)
    )
    once = ll.warmup_study(novella, tokens[:24], layers=[2], random_init=False, interventions=ll.cut(3))
    a, b = twice.contrast("cut(3)"), once.contrast("cut(3)")
    np.testing.assert_allclose(a["difference"], b["difference"], atol=1e-6)
    np.testing.assert_allclose(a["low"], b["low"], atol=0.01)  # the same texts, drawn in another order
    assert int(a["n"].max()) == 24
    assert twice.condition("plain").dataset.coords.keys() == once.condition("plain").dataset.coords.keys()


def test_few_texts_have_no_interval(novella):
    table = ll.StudyResult(ll.angle_table(novella, ll.her_prompts()[:5], interventions=ll.cut(3)))
    found = table.contrast("cut(3)")
    assert np.isnan(found["low"]).all()
    assert "validated" in found.attrs["withheld"]
    assert np.isfinite(found["difference"].sel(pair=2)).all()
    single = ll.StudyResult(ll.angle_table(novella, ll.her_prompts()[:1], interventions=ll.cut(3)))
    assert single.summary()["contrasts"] == []
    assert single.figures() == {}


def test_bad_names_are_refused(warmup):
    for call, message in (
        (
            lambda: warmup.condition("restart"),
            "condition 'restart' is not in this result; it has 'plain', 'cut",
        ),
        (lambda: warmup.contrast("plain"), "a contrast needs two conditions; both are 'plain'"),
        (lambda: warmup.contrast(CUT, what="k_hi"), "'k_hi' has no value for each text in this result"),
        (lambda: warmup.contrast(CUT, what="nonsense"), "'nonsense' has no value for each text"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            call()


def test_a_stacked_result_answers_as_its_plain_run(warmup, plain_warmup):
    assert warmup.verdict == plain_warmup.verdict
    assert (warmup.skip, warmup.k_lo, warmup.k_hi) == (
        plain_warmup.skip,
        plain_warmup.k_lo,
        plain_warmup.k_hi,
    )
    assert str(warmup.by_layer) == str(plain_warmup.by_layer)  # some are NaN
    assert torch.equal(warmup.tokens, plain_warmup.tokens)


def test_saved_and_loaded_it_is_the_same(warmup, study, table, tmp_path):
    for result in (warmup, study, table):
        path = result.save(tmp_path / "result.nc")
        loaded = ll.load_result(path)
        assert type(loaded) is type(result)
        assert loaded.conditions == result.conditions
        assert loaded.numbers_sha256 == result.numbers_sha256
        for name in result.conditions:
            assert loaded.condition(name).dataset.identical(result.condition(name).dataset)


def test_the_summary_has_the_contrasts(study, warmup):
    summary = study.summary()
    rows = {(row["condition"], row["what"]): row for row in summary["contrasts"]}
    assert set(rows) == {(c, w) for c in (CUT, BOTH) for w in ("target", "first pair", "later pairs")}
    assert rows[CUT, "first pair"]["estimate"] == 0.0
    target = {name: study.condition(name).dataset["target_angle"].mean("layer") for name in (BOTH, "plain")}
    wanted = float((target[BOTH] - target["plain"]).mean())
    assert rows[BOTH, "target"]["estimate"] == pytest.approx(wanted, abs=1e-9)
    text = str(summary)
    assert "Against the plain run" in text
    assert "Beside the plain run: cut(3), both." in " ".join(text.split())
    assert json.dumps(dict(summary))
    assert [row["what"] for row in warmup.summary()["contrasts"]] == ["first pair", "later pairs"] * 2


def test_figures_and_page_are_of_the_plain_run_and_the_contrasts(study, warmup, tmp_path):
    for result in (study, warmup):
        single = result.condition("plain")
        figures = result.figures()
        assert list(figures) == ["contrasts", *single.figures()]
        drawn = {trace.name: trace for trace in figures["contrasts"].data if trace.name}
        assert set(drawn) == {CUT, BOTH}
        y = np.asarray(drawn[CUT].y, dtype=float)
        name = "angle" if result is warmup else "position_angle"
        axis = "text" if result is warmup else "prompt"
        d = result.condition(CUT).dataset[name] - result.condition("plain").dataset[name]
        wanted = d.mean("layer").mean(axis).values[: len(y)]
        np.testing.assert_allclose(y, wanted, atol=1e-6)
        for name, figure in single.figures().items():
            assert figure.to_json() == figures[name].to_json()
        page = result.report(tmp_path / "page.html").read_text()
        assert 'id="table-contrasts"' in page
        assert "figure-contrasts" in page


def test_a_warmup_of_other_conditions_is_refused(novella, plain_warmup, warmup):
    prompts = PROMPTS
    with pytest.raises(InputError, match=r"not measured under 'cut\(3\)' as this study is"):
        ll.sequential_study(novella, prompts, warmup=plain_warmup, interventions=ll.cut(3), **SMALL)
    with pytest.raises(InputError, match="not measured under 'both' as this study is"):
        ll.sequential_study(
            novella, prompts, warmup=warmup, interventions={"both": [ll.cut(2), ll.restart(2)]}, **SMALL
        )
    with pytest.raises(InputError, match="not measured under 'plain' as this study is"):
        ll.sequential_study(novella, prompts, warmup=warmup.condition(CUT), **SMALL)


def test_patched_states_stay_with_their_prompts(novella, plain_warmup):
    prompts = PROMPTS
    patch = ll.patch_residual(ll.capture_residuals(novella, prompts, layers=[3]), 3)
    study = ll.sequential_study(
        novella, prompts, warmup=plain_warmup, interventions={"patch": patch}, **SMALL
    )
    found, plain = study.condition("patch"), study.condition("plain")
    np.testing.assert_array_equal(found.dataset["position_angle"], plain.dataset["position_angle"])
    assert any("without the patched states" in warning for warning in found.warnings)
    with pytest.raises(InputError, match="no part 'warmup' in this result; it has none"):
        found.part("warmup")
    for part in (plain.part("warmup"), study.part("warmup")):
        assert part.conditions == ("plain",)
        np.testing.assert_array_equal(part.dataset["delta"], plain_warmup.dataset["delta"])
    verdicts = dict(zip(found.dataset["claim"].values, found.dataset["claim_verdict"].values, strict=True))
    assert verdicts["C7"] == "undetermined"


def test_a_warmup_that_cannot_start_anew_says_so(novella):
    found = ll.warmup_study(
        novella, n_texts=20, length=32, layers=[2], random_init=False, interventions=ll.cut(30)
    )
    assert np.isnan(found.condition("cut(30)").dataset["paired_shift"]).all()
    assert np.isfinite(found.condition("plain").dataset["paired_shift"]).all()
    assert any(w.startswith("cut(30): No paired shift: cut(30) needs position 30") for w in found.warnings)


def test_a_bos_is_labelled(novella):
    prompts = ll.her_prompts()[:3]
    result = ll.StudyResult(ll.angle_table(novella, prompts, interventions=ll.bos()))
    assert result.warnings == [
        "bos(): The model was rarely trained with a BOS before texts: its model card: 1% of the training "
        "windows began with it."
    ]
    assert result.dataset.sizes["pos"] == ll.angle_table(novella, prompts).sizes["pos"]


def test_progress_says_which_condition_runs(novella):
    seen = []
    ll.angle_table(
        novella,
        ll.her_prompts()[:3],
        interventions=CHANGES,
        progress=lambda label, done, total: seen.append(label),
    )
    assert list(dict.fromkeys(seen)) == [
        "residual stream",
        "cut(3): residual stream",
        "both: residual stream",
    ]
