import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

import laminar_lens as ll
from laminar_lens.cli import main
from laminar_lens.errors import InputError
from laminar_lens.stats.sinks import sink_tokens
from laminar_lens.studies.mask_files import token_masks, write_masks
from laminar_lens.studies.masks import sink_mask
from laminar_lens.studies.warmup.result import WarmupResult
from tests import planted

KINDS = ["tiny_gpt2", "tiny_llama", "tiny_neox"]

pytestmark = pytest.mark.filterwarnings("ignore:Hooks that were left on the model")  # planted on purpose


def plant(model: Any, places: list[int], size: float = 900.0, tilt: float = 0.0) -> None:
    """A long vector at some positions, and a short one of the same direction at the next."""

    def add(value: torch.Tensor, hook: Any) -> torch.Tensor:
        value = value.clone()
        value[:, places, 5] += size
        if tilt:
            value[:, [p + 1 for p in places]] *= 0.01
            value[:, [p + 1 for p in places], 5] += tilt
        return value

    model.add_hook("blocks.1.hook_resid_post", add)


def tokens_of(n: int = 9, length: int = 12) -> torch.Tensor:
    return torch.randint(1, 300, (n, length), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bridge", [None, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["left", "right", "none"])
def test_streamed_sinks_are_those_of_captured_states(
    kind: str, bridge: bool | None, side: str, request: pytest.FixtureRequest
) -> None:
    """By length and by direction, with padding on either side, and from an odd number of batches."""
    model = ll.load_model(request.getfixturevalue(kind), bridge=bridge)
    plant(model, [0, 5], tilt=30.0)
    tokens = tokens_of()
    if side != "none":
        gone = torch.arange(12) < 4 if side == "left" else torch.arange(12) >= 8
        tokens[3, gone] = -1
        tokens[7, gone] = -1
    found = sink_mask(model, tokens)
    expected = torch.zeros_like(found)
    states = ll.capture_residuals(model, tokens)
    by_vector = torch.from_numpy(sink_tokens(states.values.numpy(), states.mask.numpy()))
    for row in range(len(tokens)):
        real = tokens[row] >= 0
        expected[row, real] = by_vector[row, : int(real.sum())]
    assert torch.equal(found, expected)
    assert found[0].nonzero().flatten().tolist() == [0, 1, 5, 6]
    assert not found[tokens < 0].any()


def short_texts(*lengths: int) -> torch.Tensor:
    """Rows of these lengths, −1 behind them."""
    tokens = tokens_of(len(lengths), max(lengths))
    for row, n in enumerate(lengths):
        tokens[row, n:] = -1
    return tokens


@pytest.mark.parametrize("bridge", [None, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "lengths",
    [(2,) * 8, (1,) * 8 + (2,), (1, 2) * 5, (2,) * 9 + (12,), (1,) * 20 + (12,), (1,), (1,) * 8, (2,)],
)
def test_sinks_of_short_texts(
    kind: str, bridge: bool | None, lengths: tuple[int, ...], request: pytest.FixtureRequest
) -> None:
    """First tokens are half of the batch or more, and sinks: what they are compared with is not their own."""
    model = ll.load_model(request.getfixturevalue(kind), bridge=bridge)
    tokens = short_texts(*lengths)
    assert not sink_mask(model, tokens).any()
    plant(model, [0])
    first = torch.zeros_like(tokens, dtype=torch.bool)
    first[:, 0] = True
    assert torch.equal(sink_mask(model, tokens), first)
    if max(lengths) > 1:
        states = ll.capture_residuals(model, tokens)
        found = sink_tokens(states.values.numpy(), states.mask.numpy())
        assert np.array_equal(found, first.numpy())


@pytest.mark.parametrize("left", [False, True])
def test_a_planted_length_is_compared_with_others(left: bool) -> None:
    """By hand: vectors of length 1, and first ones of 5.1 or of 4.9, on either padding side."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1, 6, 3, 40))
    values /= np.linalg.norm(values, axis=-1, keepdims=True)
    mask = np.ones((6, 3), dtype=bool)
    mask[:5, 0 if left else 2] = False
    first = np.zeros_like(mask)
    first[np.arange(6), mask.argmax(axis=1)] = True
    for size, found in ((5.1, first), (4.9, np.zeros_like(mask))):
        planted_ = values.copy()
        planted_[:, first] *= size
        planted_[:, ~mask] = 1e6  # padding is compared with nothing
        assert np.array_equal(sink_tokens(planted_, mask), found)


def test_a_capture_of_single_tokens_says_that_there_is_nothing_to_compare_with(tiny_gpt2: Any) -> None:
    model = ll.load_model(tiny_gpt2)
    warm, tokens = warm_of(model), short_texts(1, 1, 1)
    with pytest.warns(UserWarning, match="Every captured text has one token"):
        warm.mask(states=ll.capture_residuals(model, tokens))
    plant(model, [0])
    assert not warm.mask(tokens, model=model).any()


def test_without_long_vectors_one_pass_is_enough(tiny_gpt2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from laminar_lens.models import passes as module

    model, passes = ll.load_model(tiny_gpt2), []
    run = module.run_states
    monkeypatch.setattr(module, "run_states", lambda *a, **k: (passes.append(a[2]), run(*a, **k)))
    assert not sink_mask(model, tokens_of()).any()
    assert passes == [[0, 1, 2, 3]]
    plant(model, [0])
    assert sink_mask(model, tokens_of(), layers=[0, 2])[:, 0].all()
    assert passes[1:] == [[0, 2], [2], [2]]


def warm_of(model: Any, *, bos: bool = False) -> WarmupResult:
    warm = ll.warmup_study(model, n_texts=40, length=12, random_init=False, prepend_bos=bos)
    return WarmupResult(warm.dataset.assign_attrs(verdict="exact", skip=1, k_lo=1, k_hi=1))


@pytest.mark.parametrize("bos", [False, True])
def test_a_warm_up_s_mask_with_a_model_is_that_with_captured_states(tiny_gpt2: Any, bos: bool) -> None:
    model = ll.load_model(tiny_gpt2)
    warm = warm_of(model, bos=bos)
    plant(model, [0, 5])
    tokens = tokens_of()
    states = ll.capture_residuals(model, tokens, prepend_bos=bos)
    expected = warm.mask(states=states)[:, int(bos) :]
    assert torch.equal(warm.mask(tokens, model=model), expected)
    if bos:  # a row may bring its own BOS
        with_bos = torch.cat([torch.zeros(len(tokens), 1, dtype=torch.long), tokens], 1)
        assert torch.equal(warm.mask(with_bos, model=model)[:, 1:], expected)
    place = 4 if bos else 5
    assert not warm.mask(tokens, model=model)[:, place].any()
    assert warm.mask(tokens)[:, place].all(), "without a model or states, only the position counts"


def test_another_model_is_refused(tiny_gpt2: Any, tiny_llama: Any) -> None:
    warm = warm_of(ll.load_model(tiny_gpt2))
    with pytest.raises(
        InputError, match=r"the warm-up was measured on model .* this is .*: measure it again"
    ):
        warm.mask(tokens_of(), model=ll.load_model(tiny_llama))
    with pytest.raises(InputError, match="layer 9 is out of range"):
        warm.mask(tokens_of(), model=ll.load_model(tiny_gpt2), layers=[9])


def test_masks_for_other_tools(novella: Any, tmp_path: Path) -> None:
    texts = ("He gave her the book.", "They admired her.")
    found = token_masks(novella, texts, skip=2)
    files = write_masks(found, tmp_path / "new")
    with safe_open(files["masks"], "pt") as file:
        keep, tokens, sinks = (file.get_tensor(name) for name in ("keep", "tokens", "sinks"))
        assert json.loads(file.metadata()["summary"])["skip"] == 2
    states = ll.capture_residuals(novella, texts)
    assert torch.equal(tokens, states.tokens)
    assert keep.dtype == sinks.dtype == torch.bool
    assert torch.equal(keep, states.mask & (torch.arange(tokens.shape[1]) >= 2))
    body = json.loads(files["json"].read_text(encoding="utf-8"))
    assert [entry["text"] for entry in body["texts"]] == list(texts)
    assert [entry["tokens"] for entry in body["texts"]] == states.token_strings()
    assert body["texts"][1]["keep"] == [False, False] + [True] * (int(states.mask[1].sum()) - 2)
    assert body["n_kept"] == int(keep.sum())
    assert found.sentence.endswith("without the first 2 of each, and 0 more that are sinks by their vectors.")
    assert token_masks(novella, texts, skip=2, sinks=False).sentence.endswith("without the first 2 of each.")


def test_a_planted_token_is_masked_wherever_it_stands(tmp_path: Path) -> None:
    truth = planted.plant(planted.Plan(1.0, gate="token", seed=2), write=12.0)
    model = ll.load_model(str(planted.save(truth.edited, tmp_path / "model")))
    tokens = torch.from_numpy(planted.random_texts(60, seed=2, sink=True))
    assert torch.equal(sink_mask(model, tokens), tokens == planted.SINK_TOKEN)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("He gave her the book.\nThey admired her.\n", encoding="utf-8")
    out = tmp_path / "out"
    assert main(["mask", "--texts", str(file), "--skip", "1", "--out", str(out), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["skip"], shown["n_texts"]) == (1, 2)
    assert sorted(path.name for path in out.iterdir()) == ["masks.json", "masks.safetensors"]
    assert main(["mask", "--texts", str(file), "--skip", "1", "--out", str(out), "-q"]) == 0
    assert capsys.readouterr().out.split() == [str(out / "masks.safetensors"), str(out / "masks.json")]


def test_the_command_takes_the_warm_up_s_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("He gave her the book.\nThey admired her.\n", encoding="utf-8")
    status = main(["mask", "--texts", str(file), "--n-texts", "60", "--out", str(tmp_path / "out"), "--json"])
    shown = capsys.readouterr()
    if status == 0:
        assert json.loads(shown.out)["notes"]
    else:
        assert status == 2
        assert re.search(r"error: give --skip K, or --n-texts \d+ .*: the warm-up is undetermined", shown.err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option '--texts'"),
        (["--texts", "nowhere.txt"], "nowhere.txt"),
        (["--texts", "TEXTS", "--skip", "-1"], "--skip -1 is too small: give 0 or more"),
        (["--texts", "TEXTS", "--skip", "x"], "'x' is no whole number"),
        (["--texts", "TEXTS", "--layers", "99"], "--layers 99 is out of range"),
        (["--texts", "LONG", "--skip", "1"], "tokens, but novella reads at most 128"),
        (["--texts", "TEXTS", "--model", "novela"], "did you mean novella"),
    ],
)
def test_bad_input_is_one_line_and_early(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.txt").write_text("He gave her the book.\n", encoding="utf-8")
    (tmp_path / "l.txt").write_text("her book " * 200 + "\n", encoding="utf-8")
    names = {"TEXTS": str(tmp_path / "t.txt"), "LONG": str(tmp_path / "l.txt")}
    given = [names.get(argument, argument) for argument in arguments]
    assert main(["mask", *given, "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert len(shown.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_ids_that_are_no_ids(tiny_gpt2: Any) -> None:
    with pytest.raises(InputError, match="give integer ids"):
        sink_mask(ll.load_model(tiny_gpt2), np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip": -1}, "skip is -1; expected a whole number of at least 0"),
        ({"skip": "a"}, "skip is 'a'; expected a whole number of at least 0"),
        ({"skip": 1.5}, "skip is 1.5; expected a whole number of at least 0"),
        ({"layers": "a"}, "layers is 'a'; expected whole numbers"),
        ({"layers": []}, "layers is empty"),
        ({"layers": [9]}, "layer 9 is out of range: this model has hidden states 0 … 3"),
        ({"texts": torch.zeros(2, 3)}, "expected integer token ids"),
    ],
)
def test_what_no_mask_can_be_made_of(tiny_gpt2: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        token_masks(ll.load_model(tiny_gpt2), **{"texts": tokens_of(), "skip": 1, **options})
    assert "\n" not in str(error.value)


def test_one_layer_is_as_good_as_a_list(tiny_gpt2: Any) -> None:
    model = ll.load_model(tiny_gpt2)
    plant(model, [0, 5])
    found = [token_masks(model, tokens_of(), skip=np.int64(0), layers=given) for given in (2, [2], -2, [-2])]
    for one in found:
        assert torch.equal(one.sinks, found[0].sinks)
        assert one.settings["layers"] == [2]
    assert found[0].sinks[0].nonzero().flatten().tolist() == [0, 5]
    assert not token_masks(model, tokens_of(), skip=0, layers=1).sinks.any()


def test_without_a_number_the_remedy_comes_first(
    novella: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = (
        r"give {skip}(K|\d+ \(enough at ±[\d.]+ rad\))(, or {n}\d+ \(about so many would show a number\))?: "
        r"the warm-up is undetermined at ±0\.05 rad on 12 texts"
    )
    with pytest.raises(InputError) as error:
        token_masks(novella, ["He gave her the book."], n_texts=12)
    assert re.fullmatch(wanted.format(skip="skip=", n="n_texts="), str(error.value))
    file = tmp_path / "texts.txt"
    file.write_text("He gave her the book.\n", encoding="utf-8")
    assert main(["mask", "--texts", str(file), "--n-texts", "12", "--quiet", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(f"laminar-lens: error: {wanted.format(skip='--skip ', n='--n-texts ')}\n", said), said


def test_token_ids_are_written_as_texts_are(novella: Any, tmp_path: Path) -> None:
    texts = ("He gave her the book.", "They admired her.")
    by_text = token_masks(novella, texts, skip=1)
    by_ids = token_masks(novella, by_text.tokens, skip=1)
    assert by_ids.sentence == by_text.sentence
    assert by_ids.summary() == by_text.summary()
    both = [write_masks(masks, tmp_path / name) for name, masks in (("a", by_text), ("b", by_ids))]
    bodies = [json.loads(files["json"].read_text(encoding="utf-8"))["texts"] for files in both]
    assert [entry.pop("text") for entry in bodies[0]] == list(texts)
    assert [entry.pop("text") for entry in bodies[1]] == [None, None]
    assert bodies[0] == bodies[1]
    for name in ("keep", "tokens", "sinks"):
        with safe_open(both[0]["masks"], "pt") as a, safe_open(both[1]["masks"], "pt") as b:
            assert torch.equal(a.get_tensor(name), b.get_tensor(name))
