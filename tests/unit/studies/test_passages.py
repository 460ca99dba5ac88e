"""What studies measure where no texts are given: windows of the passages; nothing chosen silently."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.cli import main
from laminar_lens.errors import InputError
from laminar_lens.geometry import fit_geometry
from laminar_lens.models.passages import check_language, notes_of_a_part, own_texts_note, windows
from laminar_lens.studies.mask_files import token_masks
from laminar_lens.studies.options import Options
from laminar_lens.studies.texts import Texts, chosen_texts
from laminar_lens.texts.passages import SUBJECTS, passages
from laminar_lens.texts.tokenization import token_ids

FEW: dict[str, Any] = {"n_texts": 24, "length": 12, "random_init": False}
STUDIES = {
    "warmup": lambda model, texts=None, **how: ll.warmup_study(model, texts, **FEW | how),
    "why": lambda model, texts=None, **how: ll.why_study(model, texts, **FEW | how),
    "sinks": lambda model, texts=None, **how: ll.sink_study(model, texts, **FEW | how),
    "dimensions": lambda model, texts=None, **how: ll.dimension_study(
        model, texts, **{k: v for k, v in (FEW | how).items() if k != "random_init"}
    ),
}
PROMPTS = [f"{who} {verb} her." for who in ("He", "They", "A boy") for verb in ("praised", "gave", "drove")]
STOP = re.compile(r"[.!?][\"'”’)]*\s*$")
each_study = pytest.mark.parametrize("study", STUDIES)


@pytest.fixture(scope="module")
def model(tiny_gpt2: Path) -> Any:
    return ll.load_model(tiny_gpt2)


@pytest.fixture(scope="module")
def whole(model: Any) -> list[str]:
    """The tokens of each passage, as the letters of a text, in which windows are quickly found."""
    return ["".join(map(chr, row)) for row in token_ids(model.tokenizer, passages())]


def chosen(model: Any, texts: Any = None, **options: Any) -> tuple[Texts, list[str]]:
    notes: list[str] = []
    return chosen_texts(model, texts, Options(**options), notes, None), notes


def where(row: list[int], whole: list[str]) -> tuple[int, int]:
    """Of which passage a window is, and its first token."""
    starts = [tokens.find("".join(map(chr, row))) for tokens in whole]
    (number,) = (k for k, start in enumerate(starts) if start >= 0)
    return number, starts[number]


class TestWindows:
    def test_one_of_each_passage_from_a_random_token_on(self, model: Any, whole: Any) -> None:
        texts, notes = chosen(model, length=60)
        assert notes == []
        assert list(texts.tokens.shape) == [480, 60]
        places = [where(row, whole) for row in texts.rows]
        assert sorted(number for number, _ in places) == list(range(480))
        starts = np.array([start for _, start in places])
        shares = np.array([(start - 1) / (len(whole[number]) - 60) for number, start in places])
        assert starts.min() >= 1
        assert abs(shares.mean() - 0.5) < 4 / np.sqrt(
            12 * 480
        )  # of a uniform share, within 4 standard errors
        assert len(set(starts.tolist())) > 250

    def test_sentences_begin_a_window_no_more_often_than_chance(self, novella: Any) -> None:
        """Of 40 seeds: windows that begin behind a full stop, against all places where one may begin."""
        rows, length = check_language(novella), 40
        ends = {t for t in {t for row in rows for t in row} if STOP.search(novella.tokenizer.decode([t]))}
        follows = {tuple(row): np.array([False, *(t in ends for t in row[:-1])]) for row in rows}
        found, chance = [], []
        for seed in range(40):
            made = windows(rows, length, None, seed)
            for row, whole in zip(made.rows, made.whole, strict=True):
                begins = follows[tuple(whole)]
                found.append(begins[len(whole) - len(row)])
                chance.append(begins[1 : len(whole) - length + 1].mean())
        expected = np.mean(chance)
        assert 0.03 < expected < 0.15
        error = np.sqrt(np.mean(np.multiply(chance, np.subtract(1, chance))) / len(found))
        assert abs(np.mean(found) - expected) < 4 * error

    def test_kinds_are_mixed_where_only_the_first_are_taken(self, model: Any, whole: Any) -> None:
        first = [where(row, whole)[0] // SUBJECTS for row in chosen(model, length=60)[0].rows[:200]]
        assert len(set(first)) == 16

    def test_the_seed_chooses(self, model: Any) -> None:
        once, again, other = (chosen(model, length=16, n_texts=40, seed=s)[0].rows for s in (3, 3, 4))
        assert once == again != other
        assert once == chosen(model, length=16, seed=3)[0].rows[:40]
        assert chosen(model, "passages", length=16, n_texts=40, seed=3)[0].rows == once

    def test_without_replacement(self, model: Any, whole: Any) -> None:
        numbers = [where(row, whole)[0] for row in chosen(model, length=60, n_texts=100)[0].rows]
        assert len(set(numbers)) == 100

    def test_no_stream_is_the_samples(self, model: Any) -> None:
        state = np.random.get_state()[1].copy()  # noqa: NPY002 (that it is untouched is what is checked)
        torch_state = torch.random.get_rng_state()
        chosen(model, length=16)
        assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
        assert torch.equal(torch.random.get_rng_state(), torch_state)

    def test_short_ones_are_left_out_and_counted(self) -> None:
        rows = [list(range(5 + k % 3)) for k in range(480)]  # of 5, 6 and 7 tokens
        found = windows(rows, 5, None, 0)
        lengths = np.array([len(row) for row in found.rows])
        assert (
            lengths >= 5
        ).sum() == 320  # with 5 tokens, a window of 5 would begin at the passage's beginning
        assert all(row[0] >= 1 for row in found.rows)
        assert sorted(map(len, found.whole)) == sorted(map(len, rows))

    def test_short_ones_are_said(self, make_model_folder: Any, novella: Any) -> None:
        lengths = sorted(len(row) - 1 for row in token_ids(novella.tokenizer, passages()))
        longest = ll.load_model(make_model_folder("gpt2", n_positions=900))
        longest.tokenizer = novella.tokenizer
        longest.cfg.d_vocab = novella.cfg.d_vocab
        middle = lengths[100]
        kept = sum(length >= middle for length in lengths)
        texts, notes = chosen(longest, length=middle)
        assert len(texts.tokens) == kept
        assert notes == [f"{480 - kept} of 480 passages have fewer than {middle} tokens: left out."]
        with pytest.raises(
            InputError, match=rf"0 of 480 passages have 900 .* or length={lengths[240]}, which"
        ):
            chosen(longest, length=900)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"n_texts": 481}, "481, but there are 480 passages.* texts='sampled'"),
            ({"n_texts": 1}, "n_texts is 1; at least 2"),
            ({"groups": [1, 2], "n_texts": 2}, "groups= goes with texts="),
            ({"document_starts": 3}, "document_starts= goes with texts="),
            ({"length": 65}, "length is 65; expected 4 … 64"),
        ],
    )
    def test_refusals(self, model: Any, options: dict[str, Any], said: str) -> None:
        with pytest.raises(InputError, match=said):
            chosen(model, **options)


class TestStudies:
    @each_study
    def test_passages_by_default(self, study: str, model: Any) -> None:
        found, named = STUDIES[study](model), STUDIES[study](model, "passages")
        assert found.settings["texts"] == found.provenance["settings"]["texts"] == "passages"
        assert (found.settings["n_texts"], found.settings["length"]) == (24, 12)
        assert found.numbers_sha256 == named.numbers_sha256
        given = STUDIES[study](model, chosen(model, n_texts=24, length=12)[0].tokens)
        assert given.settings["texts"] == "given"
        if study == "dimensions":  # the centred geometry beside it is fitted on other texts
            raw = [one.measured["after_mean"].isel(geometry=0) for one in (given, found)]
            np.testing.assert_array_equal(*raw)
            return
        assert given.numbers_sha256 == found.numbers_sha256

    @each_study
    def test_sampled_where_asked_for(self, study: str, model: Any) -> None:
        found = STUDIES[study](model, "sampled")
        assert found.settings["texts"] == "sampled"
        given = STUDIES[study](model, ll.sample_tokens(model, 24, 12))
        assert given.measured_sha256 == found.measured_sha256

    @each_study
    def test_novella_writes_its_own_and_says_so(self, study: str, novella: Any) -> None:
        found = STUDIES[study](novella)
        assert found.settings["texts"] == "sampled"
        said = [note for note in found.warnings if note.startswith("The texts are sampled: novella")]
        assert len(said) == 1
        assert not any("are sampled" in note for note in STUDIES[study](novella, "sampled").warnings)

    def test_novella_reads_passages_where_asked_for(self, novella: Any) -> None:
        found, english = (ll.sink_study(novella, texts, **FEW) for texts in (None, "passages"))
        assert english.settings["texts"] == "passages"
        assert english.measured_sha256 != found.measured_sha256

    def test_all_passages_where_no_number_is_given(self, model: Any) -> None:
        found = ll.sink_study(model, length=8, random_init=False)
        assert (found.settings["n_texts"], found.settings["observations"]) == (480, 480)
        assert ll.sink_study(model, "sampled", length=8, random_init=False).settings["n_texts"] == 200

    def test_the_grid(self, model: Any, novella: Any) -> None:
        how: dict[str, Any] = {
            "n_texts": 24,
            "length": 12,
            "bos": [False],
            "final_norm": [False],
            "tau": [0.5],
        }
        found, named = ll.sensitivity_grid(model, **how), ll.sensitivity_grid(model, texts="passages", **how)
        assert found.equals(named)
        assert set(found["note"]) == {""}
        assert ll.sensitivity_grid(novella, **how)["note"].str.contains("texts are sampled").all()


class TestSequential:
    how: ClassVar[dict[str, Any]] = {"random_init": False, "n_draws": 4, "n_perm": 99}

    def test_donors_are_passages(self, model: Any) -> None:
        how = {**self.how, "warmup": False}
        found = ll.sequential_study(model, PROMPTS, **how)
        assert (found.settings["donors"], found.settings["n_donors"]) == ("passages", 128)
        assert found.settings["texts"] == "given"
        named = ll.sequential_study(model, PROMPTS, donors="passages", **how)
        assert named.numbers_sha256 == found.numbers_sha256
        given = ll.sequential_study(model, PROMPTS, donors=chosen(model, n_texts=128)[0].tokens, **how)
        assert given.numbers_sha256 == found.numbers_sha256
        assert given.settings["donors"] == "given"

    def test_donors_are_sampled_where_asked_for(self, model: Any, novella: Any) -> None:
        how = {**self.how, "warmup": False, "n_donors": 20}
        found = ll.sequential_study(model, PROMPTS, donors="sampled", **how)
        assert found.settings["donors"] == "sampled"
        given = ll.sequential_study(model, PROMPTS, donors=ll.sample_tokens(model, 20, 64), **how)
        assert given.numbers_sha256 == found.numbers_sha256
        assert ll.sequential_study(novella, PROMPTS, **how).settings["donors"] == "sampled"

    def test_more_prompts_than_passages_allow(self, model: Any) -> None:
        prompts = [f"{w} gave the {k} books to her." for k in range(130) for w in ("He", "They")]
        how = {**self.how, "warmup": False, "layers": [1]}
        with pytest.raises(
            InputError, match=r"480 passages have 64 tokens, 520 donors are needed: give donors="
        ):
            ll.sequential_study(model, prompts, donors="passages", **how)
        found = ll.sequential_study(model, prompts, **how)
        assert found.settings["donors"] == "sampled"
        assert any('donors of the baseline "matched" are sampled: 480' in note for note in found.warnings)

    def test_the_warmup_part_measures_passages(self, model: Any) -> None:
        found = ll.sequential_study(model, PROMPTS, layers=[1], **self.how)
        assert found.part("warmup").settings["texts"] == "passages"
        assert found.settings["donors"] == "of the warm-up"


class TestGeometries:
    def test_fitted_on_passages(self, model: Any) -> None:
        made = fit_geometry(model, "centred", texts="passages", n_texts=30, length=20)
        assert (made.settings["texts"], made.settings["n_texts"]) == ("passages", 30)
        assert fit_geometry(model, "centred", n_texts=4, length=20).settings["texts"] == "sampled"
        assert fit_geometry(model, "centred", texts="sampled", length=20).settings["texts"] == "sampled"
        ll.sink_study(model, "sampled", geometry=made, **FEW)
        with pytest.raises(InputError, match="was fitted on the passages, which are measured"):
            ll.sink_study(model, geometry=made, **FEW)
        how: dict[str, Any] = {"n_texts": 24, "length": 12, "bos": [False], "final_norm": [False]}
        assert (
            ll.sensitivity_grid(model, geometry=made, **how)["note"].str.contains("which are measured").all()
        )

    def test_fitted_on_a_file(self, model: Any, tmp_path: Path) -> None:
        lines = "\n".join(json.dumps({"body": text[:60]}) for text in passages()[:20])
        (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
        made = fit_geometry(model, "centred", texts=Path(f"{tmp_path / 'a.jsonl'}:body"))
        assert (made.settings["texts"], made.settings["n_texts"]) == ("given", 20)


class TestLanguage:
    """Models that the passages are no texts for: by what their tokenizer knows, gives back, and writes."""

    @pytest.fixture(params=["none", "unknown", "lossy", "larger"])
    def foreign(self, request: pytest.FixtureRequest, make_model_folder: Any) -> Iterator[tuple[Any, str]]:
        model = ll.load_model(make_model_folder("gpt2"))
        if request.param == "none":
            model.tokenizer = None
            yield model, "has no tokenizer to read the English passages with"
        elif request.param == "unknown":
            yield (
                with_tokenizer(make_model_folder, "[UNK]"),
                r"\d\d% of the tokens of the English passages are unknown to the tokenizer of",
            )
        elif request.param == "lossy":  # without an unknown token, what is not known is dropped
            yield (
                with_tokenizer(make_model_folder, None),
                r"loses \d\d% of the letters of the English passages",
            )
        else:
            model.cfg.d_vocab = 40
            yield model, "has no embedding of some tokens of the English passages"

    def test_every_study_says_so_and_what_to_do(self, foreign: tuple[Any, str]) -> None:
        model, said = foreign
        for study in STUDIES.values():
            for texts in (None, "passages"):
                with pytest.raises(InputError, match=f"{said}.*: give texts=FILE, or texts='sampled' to let"):
                    study(model, texts)
        with pytest.raises(InputError, match=said):
            ll.sensitivity_grid(model, n_texts=8, length=12)

    def test_masks_too(self, foreign: tuple[Any, str]) -> None:
        model, said = foreign
        with pytest.raises(InputError, match=f"{said}.*: give skip="):
            token_masks(model, torch.arange(1, 21).reshape(2, 10))

    def test_the_warmup_part_too_before_it_runs(self, make_model_folder: Any) -> None:
        model = with_tokenizer(make_model_folder, None)
        prompts = [f"{k}, 4{k} her." for k in range(10, 20)]
        how: dict[str, Any] = {
            "random_init": False,
            "n_draws": 4,
            "n_perm": 99,
            "regex": True,
        }
        with pytest.raises(InputError, match=r"loses .*: give warmup= a result of warmup_study on other"):
            ll.sequential_study(model, prompts, target="her", **how)
        found = ll.sequential_study(model, prompts, target="her", warmup=False, **how)
        assert found.settings["donors"] == "sampled"
        assert any('donors of the baseline "matched" are sampled' in note for note in found.warnings)
        warm = ll.warmup_study(model, "sampled", **FEW)
        ll.sequential_study(model, prompts, target="her", warmup=warm, **how)

    def test_sampled_ones_are_measured(self, foreign: tuple[Any, str]) -> None:
        model, _ = foreign
        if model.cfg.d_vocab == 40:
            model.cfg.d_vocab = 320
        assert STUDIES["sinks"](model, "sampled").settings["texts"] == "sampled"

    def test_few_unknown_letters_do_not_matter(self, model: Any) -> None:
        assert len(check_language(model)) == 480


def with_tokenizer(make_model_folder: Any, unknown: str | None) -> Any:
    """A model whose tokenizer knows single characters: digits, a few signs, and the letters of "her"."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ([unknown] if unknown else []) + list("0123456789 .,her")
    vocabulary = {letter: number for number, letter in enumerate(names)}
    made = Tokenizer(models.BPE(vocabulary, [], unk_token=unknown))
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    folder = make_model_folder("gpt2")
    for file in folder.glob("*token*"):
        file.unlink()
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token=unknown).save_pretrained(folder)
    return ll.load_model(folder)


class TestFiles:
    """Files of texts, measured: what they hold, what repeats, what is blank."""

    def rows(self) -> list[str]:
        return [passage[5 * k : 5 * k + 60] for k, passage in enumerate(passages()[:20])]

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        texts = [*self.rows(), *self.rows()[:3], " ", None]
        lines = [json.dumps({"id": k, "body": text}) for k, text in enumerate(texts)]
        (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
        return Path(f"{tmp_path / 'a.jsonl'}:body")

    @each_study
    def test_records(self, study: str, model: Any, path: Path) -> None:
        found = STUDIES[study](model, path)
        assert (found.settings["n_texts"], found.settings["observations"]) == (23, 20)
        assert found.settings["texts"] == "given"
        assert "2 of 25 texts are blank: left out." in found.warnings
        assert "23 texts, 3 of them repeats: 20 observations." in found.warnings
        assert found.numbers_sha256 == STUDIES[study](model, self.rows()).numbers_sha256

    def test_several_files_of_records_are_their_texts(self, model: Any, path: Path, tmp_path: Path) -> None:
        (tmp_path / "b.json").write_text(json.dumps([{"body": text} for text in self.rows()[:4]]))
        found = STUDIES["sinks"](model, [path, Path(f"{tmp_path / 'b.json'}:body")])
        assert (found.settings["n_texts"], found.settings["observations"]) == (27, 20)
        assert not found.settings["grouped"]

    def test_files_of_two_kinds_are_refused(self, model: Any, path: Path, tmp_path: Path) -> None:
        (tmp_path / "b.txt").write_text(passages()[0], encoding="utf-8")
        with pytest.raises(
            InputError, match=r"a\.jsonl:body' holds records, .*b\.txt' is one text: give files"
        ):
            STUDIES["sinks"](model, [tmp_path / "b.txt", path])

    @pytest.mark.parametrize("field", ["", ":body"])
    def test_the_name_of_a_file_is_no_text(self, field: str, model: Any, path: Path) -> None:
        name = str(path).removesuffix(":body") + field
        with pytest.raises(InputError, match=r"which is the name of a file .*: give Path\('.*'\) to read it"):
            STUDIES["sinks"](model, name)

    def test_masks_of_a_file(self, model: Any, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text(json.dumps(self.rows()))
        assert token_masks(model, tmp_path / "a.json", skip=2).texts == tuple(self.rows())


def test_a_part_tells_its_notes_once(novella: Any, model: Any) -> None:
    notes = [*own_texts_note(novella, None), "The weights were processed.", "3 texts are too short."]
    found = notes_of_a_part(novella, notes, ["The weights were processed."])
    assert found == [
        "The warm-up's texts are sampled: novella writes its own.",
        "Warm-up: 3 texts are too short.",
    ]
    assert notes_of_a_part(novella, notes, [*notes, *found]) == []
    assert notes_of_a_part(model, ["3 texts are too short."], []) == found[1:]


def test_donors_that_a_model_writes_are_said(novella: Any) -> None:
    how: dict[str, Any] = {"random_init": False, "n_draws": 4, "n_perm": 99, "n_donors": 20}
    said = 'The donors of the baseline "matched" are sampled: novella writes its own.'
    assert said in ll.sequential_study(novella, PROMPTS, warmup=False, **how).warnings
    chosen = ll.sequential_study(novella, PROMPTS, warmup=False, donors="sampled", **how)
    assert said not in chosen.warnings


class TestCommandLine:
    def run(self, capsys: Any, tmp_path: Path, *arguments: str, status: int = 0) -> Any:
        out = ["--out", str(tmp_path / "out"), "--json", "--quiet"]
        assert main(["sinks", "--length", "8", "--no-random", *arguments, *out]) == status
        shown = capsys.readouterr()
        return json.loads(shown.out) if status == 0 else shown.err

    def test_by_name(self, capsys: Any, tmp_path: Path, tiny_gpt2: Path) -> None:
        few = ["--model", str(tiny_gpt2), "--n-texts", "20"]
        for given, texts in ((), "passages"), (("passages",), "passages"), (("sampled",), "sampled"):
            found = self.run(capsys, tmp_path, *few, *(f"--texts={name}" for name in given))
            assert found["provenance"]["settings"]["texts"] == texts
        found = self.run(capsys, tmp_path, "--n-texts", "20")
        assert found["provenance"]["settings"]["texts"] == "sampled"

    def test_a_field_of_a_file(self, capsys: Any, tmp_path: Path, tiny_gpt2: Path) -> None:
        (tmp_path / "a.json").write_text(json.dumps([{"body": text[:60]} for text in passages()[:20]]))
        found = self.run(
            capsys, tmp_path, "--model", str(tiny_gpt2), "--texts", f"{tmp_path / 'a.json'}:body"
        )
        assert found["provenance"]["settings"]["n_texts"] == 20

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--texts", "passages", "--n-texts", "500"], "or --texts sampled to let the model"),
            (["--texts", "passages", "--texts", "x.txt"], "--texts passages stands alone"),
            (["--texts", "none.jsonl:body"], "does not exist"),
            (["--texts", "a.json"], "has no field 'text'; it has body"),
            (["--texts", "a.json:bdy"], "has no field 'bdy'; it has body"),
        ],
    )
    def test_refusals_before_anything_is_loaded(
        self, capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "a.json").write_text(json.dumps([{"body": "x"}] * 3))
        monkeypatch.setattr("laminar_lens.cli.run._load", None)
        shown = self.run(capsys, tmp_path, *arguments, status=2)
        assert said in shown
        assert len(shown.splitlines()) == 1
