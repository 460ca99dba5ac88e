"""A study's texts are observations only where they differ: copies, texts cut to the same tokens, a model that
writes one text, texts of unknown tokens; in every study, in Python and on the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.cli import main
from laminar_lens.errors import InputError
from laminar_lens.geometry import fit_geometry
from laminar_lens.results import StudyResult
from laminar_lens.studies.observations import observations
from laminar_lens.studies.why.places import reach
from tests.conftest import save_random_model

N, LENGTH = 40, 8
STUDIES: dict[str, tuple[Callable[..., StudyResult], dict[str, Any]]] = {
    "warmup": (ll.warmup_study, {"random_init": False}),
    "why": (ll.why_study, {"random_init": False}),
    "sinks": (ll.sink_study, {"random_init": False}),
    "dimensions": (ll.dimension_study, {}),
}
each_study = pytest.mark.parametrize("study", STUDIES)

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "one", "two"]


@pytest.fixture(scope="module")
def model(tiny_gpt2: Path) -> Any:
    return ll.load_model(tiny_gpt2)


def measured(study: str, model: Any, texts: Any = None, **given: Any) -> StudyResult:
    function, quick = STUDIES[study]
    return function(model, texts, **quick | given)


def ids(n: int, seed: int = 0, length: int = LENGTH) -> torch.Tensor:
    return torch.randint(1, 300, (n, length), generator=torch.Generator().manual_seed(seed))


def word_level(folder: Path, unk: str = "[UNK]", **special: str) -> Path:
    """A model folder whose tokenizer knows WORDS and nothing else."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    save_random_model(folder, "gpt2")
    tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate([unk, *WORDS])}, unk_token=unk))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=unk, model_max_length=64, **special
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def words_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return word_level(tmp_path_factory.mktemp("words"))


def sentences(n: int, unknown: int, seed: int = 0) -> list[str]:
    """Texts of 8 words, the last `unknown` of which no tokenizer here knows."""
    rng = np.random.default_rng(seed)
    known = [" ".join(rng.choice(WORDS, LENGTH - unknown)) for _ in range(n)]
    return [f"{text} {' '.join(['xyzzy'] * unknown)}".strip() for text in known]


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that writes one token for ever, whatever stands before."""
    from transformers import AutoModelForCausalLM

    folder = save_random_model(tmp_path_factory.mktemp("collapsed"), "gpt2")
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.zero_()[0] = 50.0
        model.transformer.wte.weight[:, 0] = 0.0
        model.transformer.wte.weight[65, 0] = 1.0
    model.save_pretrained(folder)
    return folder


@each_study
def test_texts_that_differ_are_left_alone(study: str, model: Any) -> None:
    result = measured(study, model, ids(N))
    assert result.settings["n_texts"] == result.settings["observations"] == N
    assert "repeats" not in result.sentence + " ".join(result.warnings)


@each_study
def test_repeats_count_once_and_are_said(study: str, model: Any) -> None:
    """The numbers are those of the texts that differ."""
    texts = torch.cat([ids(N), ids(N)[5:20]])[torch.randperm(55, generator=torch.Generator().manual_seed(1))]
    first = sorted(np.unique(texts.numpy(), axis=0, return_index=True)[1].tolist())
    result, distinct = measured(study, model, texts), measured(study, model, texts[first])
    assert result.numbers_sha256 == distinct.numbers_sha256
    words = "55 texts, 15 of them repeats: 40 observations."
    assert result.sentence == f"{distinct.sentence} {words}"
    assert result.warnings[0].startswith(words), "over a fifth is a warning at the top"
    assert "give texts that differ" in result.warnings[0]
    assert (result.settings["n_texts"], result.settings["observations"]) == (55, 40)
    assert result.provenance["n_texts"] == 40


@each_study
def test_a_few_repeats_are_a_note(study: str, model: Any) -> None:
    texts = torch.cat([ids(N), ids(N)[:4]])
    result = measured(study, model, texts)
    words = "44 texts, 4 of them repeats: 40 observations."
    assert words in result.warnings
    assert result.sentence.endswith(words)


@each_study
def test_copies_are_refused_as_copies_where_they_are_too_short_as_well(study: str, model: Any) -> None:
    texts = ["The company promoted her to manager."] * 200
    with pytest.raises(InputError, match=r"200 texts, 199 of them repeats: 1 observation\. "):
        measured(study, model, texts, length=16)


@each_study
def test_copies_are_refused(study: str, model: Any) -> None:
    texts = ["The company promoted her to manager."] * 200
    with pytest.raises(
        InputError, match=r"200 texts, 199 of them repeats: 1 observation\. .*texts that differ"
    ):
        measured(study, model, texts, length=6)


@each_study
def test_texts_that_share_their_measured_tokens_are_refused(study: str, model: Any) -> None:
    texts = ids(N, length=20)
    texts[:, :12] = texts[0, :12]
    with pytest.raises(InputError, match=r"39 of them .* Only their first 12 tokens are measured.* length="):
        measured(study, model, texts, length=12)


@each_study
@pytest.mark.parametrize("bridge", [None, True])
def test_a_model_that_writes_one_text_is_named(study: str, bridge: bool | None, collapsed: Path) -> None:
    model = ll.load_model(collapsed, bridge=bridge)
    with pytest.raises(InputError, match=r"39 of them .* The model writes the same text again and again"):
        measured(study, model, "sampled", n_texts=N, length=LENGTH)


@each_study
def test_unknown_tokens(study: str, words_folder: Path) -> None:
    """Over half of all tokens is a refusal, over one in twenty a warning at the top; fewer say nothing."""
    model = ll.load_model(words_folder)
    with pytest.raises(InputError, match=r"62% of the tokens .* are unknown .*\('\[UNK\]'\): give texts in"):
        measured(study, model, sentences(N, 5), length=LENGTH)
    result = measured(study, model, sentences(N, 1), length=LENGTH)
    assert result.warnings[0].startswith("12% of the tokens are unknown to the model's tokenizer")
    few = [*sentences(N - 8, 0), *sentences(8, 1, seed=1)]
    assert "unknown" not in " ".join(measured(study, model, few, length=LENGTH).warnings)


def test_texts_of_mostly_unknown_tokens_are_one_observation(words_folder: Path) -> None:
    texts = [*sentences(30, 0), *sentences(10, 5, seed=1)]
    result = measured("sinks", ll.load_model(words_folder), texts, length=LENGTH)
    assert result.sentence.endswith("40 texts, 9 of them repeats or mostly unknown tokens: 31 observations.")
    assert result.warnings[0].startswith("40 texts, 9 of them")
    assert result.warnings[1].startswith("16% of the tokens are unknown")


@pytest.mark.parametrize("special", [{}, {"bos_token": "<s>", "eos_token": "<s>", "pad_token": "<s>"}])
def test_what_stands_for_unknown_text(special: dict[str, str], tmp_path: Path, tiny_gpt2: Path) -> None:
    """GPT-2's unknown token is its BOS, which no text becomes; a tokenizer of words may do the same and mean
    it, which can be told of texts, and not of token ids."""
    from transformers import AutoTokenizer

    from laminar_lens.models.unknown import unknown_token

    unk = "<s>" if special else "[UNK]"
    tokenizer = AutoTokenizer.from_pretrained(word_level(tmp_path, unk, **special))
    assert unknown_token(tokenizer, from_text=True) == 0
    assert unknown_token(tokenizer, from_text=False) == (None if special else 0)
    bytes_ = AutoTokenizer.from_pretrained(tiny_gpt2)
    assert bytes_.unk_token_id is not None
    assert unknown_token(bytes_, from_text=True) is None
    assert unknown_token(None, from_text=True) is None


def test_in_token_ids_an_unknown_token_may_be_what_else_it_is(tmp_path: Path) -> None:
    """A tokenizer of words whose unknown token is its BOS, too: in texts it means the one, in ids any."""
    special = dict.fromkeys(("bos_token", "eos_token", "pad_token"), "<s>")
    model = ll.load_model(word_level(tmp_path, "<s>", **special))
    given = ids(N) % 12 + 1
    given[:, 3:5] = 0
    found = measured("sinks", model, given, length=LENGTH)
    assert not any("unknown to the model" in note for note in found.warnings)
    with pytest.raises(InputError, match="62% of the tokens"):
        measured("sinks", model, sentences(N, 5), length=LENGTH)


def test_the_share_of_unknown_tokens_is_of_tokens() -> None:
    """One long text without any outweighs ten short ones with one each."""

    class Words:
        unk_token, unk_token_id = "?", 0

    rows = [list(range(1, 91)), *([k, k + 50, 0] for k in range(1, 11))]
    said = observations(rows, Words(), "ids").alarms
    assert any(alarm.startswith("8% of the tokens are unknown") for alarm in said)


def test_bos_ids_of_gpt2_are_no_unknown_tokens(model: Any) -> None:
    texts = ids(N)
    texts[:, 4:7] = 0
    assert "unknown" not in " ".join(measured("sinks", model, texts).warnings)


@pytest.mark.parametrize(
    ("distinct", "refused", "alarm"), [(19, True, False), (20, False, True), (31, False, True)]
)
def test_over_half_is_refused_and_over_a_fifth_an_alarm(distinct: int, refused: bool, alarm: bool) -> None:
    rows = np.resize(ids(distinct).numpy(), (N, LENGTH)).tolist()
    words = f"40 texts, {N - distinct} of them repeats: {distinct} observations."
    if refused:
        with pytest.raises(InputError, match=words):
            observations(rows, None, "ids")
        return
    found = observations(rows, None, "ids")
    assert (found.n, found.words, bool(found.alarms)) == (distinct, words, alarm)
    notes = ["said before"]
    found.tell(notes)
    assert notes == [*found.alarms, "said before"], "a warning stands at the top"
    kept = observations([*ids(32).tolist(), *ids(8).tolist()], None, "ids")
    assert (kept.n, kept.alarms, kept.notes) == (32, (), (kept.words,)), "a fifth is no alarm"


def test_thresholds_count_observations(model: Any) -> None:
    """160 texts are enough for an upper bound, 140 that differ and 20 copies are not."""
    given: dict[str, Any] = {"tau": 3.0, "layers": [1]}
    assert measured("warmup", model, ids(160), **given).k_hi == 0  # type: ignore[attr-defined]
    copies = measured("warmup", model, torch.cat([ids(140), ids(20)]), **given)
    assert copies.dataset.attrs["n_texts"] == 140
    assert copies.k_hi is None  # type: ignore[attr-defined]


def test_groups_may_repeat_themselves_but_not_each_other(model: Any) -> None:
    texts, groups = torch.cat([ids(N), ids(N)[:10]]), np.arange(N)
    inside = measured("warmup", model, texts, groups=[*groups, *groups[:10]])
    assert inside.dataset.sizes["text"] == 50
    assert inside.settings["observations"] == N
    assert inside.sentence.endswith(" 50 texts in 40 groups: 40 observations.")
    across = measured("warmup", model, texts, groups=[*groups, *(99 + groups[:10] // 5)])
    assert across.dataset.sizes["text"] == N
    assert across.sentence.endswith("50 texts, 10 of them repeats of another group's: 40 observations.")


def test_two_texts_of_which_one_repeats_the_other_are_refused() -> None:
    """Half of them is not over half, but one observation has no spread."""
    with pytest.raises(InputError, match="2 texts, 1 of them repeats: 1 observation"):
        observations([[1, 2, 3]] * 2, None, "ids")
    assert observations([[1, 2, 3]], None, "ids").n == 1


def test_copies_among_texts_that_were_cut_are_called_copies() -> None:
    """One pair that only the cut made equal is not the cause of sixty that were copies before."""
    whole = ids(100, length=20).tolist()
    whole[1] = [*whole[0][:12], *whole[1][12:]]
    rows = whole + whole[40:]
    said = observations([row[:12] for row in rows], None, "ids", whole=rows).alarms[0]
    assert "160 texts, 61 of them repeats: 99 observations. Their measured tokens are the same" in said
    rows = [*whole, *([*whole[k][:12], *whole[k - 1][12:]] for k in range(40, 100))]
    said = observations([row[:12] for row in rows], None, "ids", whole=rows).alarms[0]
    assert "Only their first 12 tokens are measured" in said


def test_a_file_that_is_given_twice_is_one(model: Any, tmp_path: Path) -> None:
    files = [tmp_path / f"{k}.txt" for k in range(5)]
    rng = np.random.default_rng(0)
    for file in files:
        file.write_text(" ".join(rng.choice(WORDS, 60)), encoding="utf-8")
    (tmp_path / "again.txt").write_text(files[0].read_text(encoding="utf-8"), encoding="utf-8")
    result = measured("warmup", model, [*files, tmp_path / "again.txt"], length=LENGTH)
    assert result.sentence.endswith("of them repeats of another group's: 5 observations.")
    assert result.numbers_sha256 == measured("warmup", model, files, length=LENGTH).numbers_sha256


def test_texts_that_begin_alike_are_said(model: Any) -> None:
    """They differ, but first tokens are what these studies are about."""
    texts = ids(N, length=32)
    texts[:30, :8] = texts[0, :8]
    result = measured("sinks", model, texts)
    assert result.warnings[0].startswith("29 of 40 texts begin with the same tokens as another")
    assert "observations" not in result.sentence
    texts[8:30] = ids(22, seed=5, length=32)
    assert "begin with" not in " ".join(measured("sinks", model, texts).warnings)
    long = ids(N, length=64)
    for shared, said in ((15, False), (16, True)):  # a quarter
        long[:30, :shared] = long[0, :shared]
        alarms = observations(long.tolist(), None, "ids").alarms
        assert any("begin with the same tokens" in alarm for alarm in alarms) == said


def test_why_compares_what_decides_its_effects(model: Any) -> None:
    """At t = 3 nothing depends on what follows, but shared beginnings of a few tokens are common."""
    assert [reach(3, 32), reach([3, 20], 32), reach(None, 32), reach(3, 8)] == [16, 22, 32, 8]
    texts = ids(N, length=32)
    texts[:, :8] = texts[0, :8]
    result = measured("why", model, texts, at=3)
    assert result.settings["observations"] == N
    texts[:, :16] = texts[0, :16]
    with pytest.raises(InputError, match="39 of them repeats: 1 observation"):
        measured("why", model, texts, at=3)
    assert measured("why", model, texts, at=20).settings["observations"] == N


def test_a_geometry_counts_a_text_once(model: Any) -> None:
    texts = ids(12, length=20)
    once, twice = (
        fit_geometry(model, "centred", texts=given) for given in (texts, torch.cat([texts, texts[:6]]))
    )
    assert twice.describe() == once.describe()
    with pytest.raises(InputError, match="11 of the 12 texts to fit a geometry on repeat another"):
        fit_geometry(model, "centred", texts=texts[:1].repeat(12, 1))


def test_the_grid_says_it_too(model: Any) -> None:
    texts = torch.cat([ids(N), ids(N)[:4]])
    frame = ll.sensitivity_grid(model, texts=texts, bos=[False], final_norm=[False], tau=[0.05])
    assert frame["note"].tolist() == ["44 texts, 4 of them repeats: 40 observations."] * 3


VERBS = ("praised", "promoted", "admired", "thanked", "gave", "drove", "asked")
PROMPTS = tuple(f"{who} {verb} her." for who in ("He", "They", "A boy", "The teacher") for verb in VERBS)


def sequential(model: Any, prompts: Any, **given: Any) -> StudyResult:
    quick: dict[str, Any] = {"warmup": False, "random_init": False, "n_draws": 6, "n_perm": 99}
    return ll.sequential_study(model, prompts, **quick | given)


def test_prompts_follow_the_same_rule(model: Any) -> None:
    again = [*PROMPTS[:20], *PROMPTS[:4], *PROMPTS[20:]]
    found, distinct = sequential(model, again), sequential(model, PROMPTS)
    words = "32 prompts, 4 of them repeats: 28 observations."
    assert found.numbers_sha256 == distinct.numbers_sha256
    assert found.sentence == f"{distinct.sentence} {words}"
    assert words in found.warnings
    assert (found.settings["n_prompts"], found.settings["observations"]) == (32, 28)
    with pytest.raises(InputError, match=r"40 prompts, 39 of them repeats: 1 observation\."):
        sequential(model, [PROMPTS[0]] * 40)
    frame = ll.sensitivity_grid(
        model, again, ids(N), bos=[False], final_norm=[False], tau=[0.05], reference=["last third"]
    )
    assert np.isfinite(frame["target_angle"]).all()


def test_prompts_that_differ_at_the_target_are_no_repeats(model: Any) -> None:
    """One word in twenty: a repeat where it is any other, and none where it is the target's pair."""
    before = "In the morning he drove to the old house by the river and there he"
    verbs = [f"{before} {verb} her." for verb in VERBS]
    ids_ = model.tokenizer(verbs)["input_ids"]
    pairs = [[row[-3], row[-2]] for row in ids_]
    result = observations(ids_, model.tokenizer, "text", what="prompts", apart=[tuple(p) for p in pairs])
    assert result.keep.all()
    same = [row for row in ids_ if len(row) == len(ids_[0])]
    if len(same) > 1:
        assert observations(same[:1] * 2 + ids_, model.tokenizer, "text").keep.sum() < len(ids_) + 2


def test_her_prompts_are_54_observations(novella: Any) -> None:
    ids_ = novella.tokenizer(list(ll.her_prompts()), add_special_tokens=False)["input_ids"]
    assert observations(ids_, novella.tokenizer, "text").n == 54


@pytest.mark.parametrize("study", [*STUDIES, "sequential"])
def test_on_the_command_line(
    study: str, tiny_gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    option = "--prompts" if study == "sequential" else "--texts"
    quick = {"sequential": ["--no-warmup"], "dimensions": []}.get(study, [])
    quick += [] if study == "sequential" else ["--length", "8"]
    file, out = tmp_path / "texts.txt", tmp_path / "out"
    command = [study, "--model", str(tiny_gpt2), option, str(file), *quick, "--out", str(out), "--json"]
    rng = np.random.default_rng(0)
    texts = [" ".join([f"{k:02d}", *rng.choice(WORDS, 3), "her"]) for k in range(28)]
    file.write_text("\n".join(texts[:1] * 200), encoding="utf-8")
    assert main(command) == 2
    shown = capsys.readouterr().err
    assert "199 of them repeats: 1 observation. Their measured tokens are the same" in shown
    assert len(shown.splitlines()) == 1
    assert not out.exists()
    file.write_text("\n".join([*texts, *texts[:10]]), encoding="utf-8")
    assert main(command) == 0
    summary = json.loads(capsys.readouterr().out)
    assert "38 " in summary["warnings"][0]
    assert "10 of them repeats: 28 observations." in summary["warnings"][0]
    assert "10 of them repeats: 28 observations." in summary["sentence"]


def test_a_collapsed_model_on_the_command_line(
    collapsed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Passages do not need the model's own writing; nor does a sequential study, whose donors may be such."""
    out = ["--out", str(tmp_path / "out"), "--json"]
    few = ["--model", str(collapsed), "--n-texts", "40", *out]
    assert main(["sinks", *few, "--length", "8", "--texts", "sampled"]) == 2
    assert "The model writes the same text again and again" in capsys.readouterr().err
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS), encoding="utf-8")
    assert main(["sequential", *few, "--prompts", str(prompts), "--no-warmup"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert not any("repeat another" in warning for warning in shown["warnings"])
    found = sequential(ll.load_model(collapsed), PROMPTS, warmup=False, donors="sampled")
    assert any('donors of the baseline "matched" repeat another' in warning for warning in found.warnings)


@pytest.mark.parametrize("study", [*STUDIES, "sequential"])
@pytest.mark.parametrize("text", ["A her", "He met her and then they went home together again."])
def test_the_command_line_refuses_copies_before_the_model_is_loaded(
    study: str,
    text: str,
    tiny_gpt2: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("laminar_lens.cli.run.execute", lambda request: pytest.fail("too late"))
    option = "--prompts" if study == "sequential" else "--texts"
    file = tmp_path / "texts.txt"
    file.write_text("\n".join([text] * 200), encoding="utf-8")
    how = [] if study == "sequential" else ["--length", "8"]
    assert main([study, "--model", str(tiny_gpt2), option, str(file), *how, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "199 of them repeats: 1 observation. " in said
    assert len(said.splitlines()) == 1


def test_the_command_line_counts_no_text_that_is_left_out(
    tiny_gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short copies beside texts that are long enough are left out, and refuse nothing."""
    requests: list[Any] = []
    monkeypatch.setattr("laminar_lens.cli.run.execute", requests.append)
    file = tmp_path / "texts.txt"
    texts = [f"{who} {verb} her." * 4 for who in ("He", "They") for verb in VERBS]
    file.write_text("\n".join([*texts, *["A her"] * 100]), encoding="utf-8")
    command = ["warmup", "--model", str(tiny_gpt2), "--texts", str(file), "--length", "8"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    assert len(requests) == 1


@pytest.mark.parametrize("at", [(), ("--at", "1")])
def test_the_command_line_leaves_to_the_study_what_depends_on_its_places(
    at: tuple[str, ...], tiny_gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[Any] = []
    monkeypatch.setattr("laminar_lens.cli.run.execute", requests.append)
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(["He met her and they went home together again."] * 9), encoding="utf-8")
    command = ["why", "--model", str(tiny_gpt2), "--texts", str(file), "--length", "8", *at]
    main([*command, "--out", str(tmp_path)])
    assert bool(requests) == bool(at)
