"""The program that trained novella: resume, export, arguments. The model's oracle is transformers."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from laminar_lens.models.embedded import train
from laminar_lens.models.embedded.train import command, run
from laminar_lens.models.embedded.train.checkpoint import load_checkpoint, save_checkpoint
from laminar_lens.models.embedded.train.command import main
from laminar_lens.models.embedded.train.config import Config, TrainError
from laminar_lens.models.embedded.train.corpus import HELD_OUT, read_novel, text_of
from laminar_lens.models.embedded.train.export import export
from laminar_lens.models.embedded.train.gpt2 import init_params, logits_of, loss_of, validation_loss
from laminar_lens.models.embedded.train.run import Run
from laminar_lens.models.embedded.train.tokens import batch_at, load_data, prepare, tokens_sha256
from laminar_lens.models.names import NOVELLA

FOLDER = Path(train.__file__).parent
SMALL = ["--layers", "2", "--width", "16", "--heads", "2", "--context", "16", "--batch", "4", "--lr", "0.01"]
SMALL += ["--device", "cpu", "--warmup", "3", "--log-every", "5"]


@pytest.fixture(autouse=True, scope="module")
def precision() -> Iterator[None]:
    """The program sets torch's for its whole process, which here is that of other tests, too."""
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


def sentences(seed: int, count: int) -> list[str]:
    words = [
        "the",
        "house",
        "gave",
        "her",
        "him",
        "a",
        "letter",
        "and",
        "then",
        "saw",
        "river",
        "naïve",
        "told",
    ]
    rng = np.random.default_rng(seed)
    return ["She told her " + " ".join(rng.choice(words, 12)) + "." for _ in range(count)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for seed, name in enumerate(("Alpha_1", "Beta_2", *HELD_OUT)):
        with gzip.open(folder / f"{name}.txt.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(sentences(seed, 40)) + "\n")
    return folder


@pytest.fixture(scope="module")
def data(corpus: Path) -> Path:
    file = corpus / "small.tokens"
    assert main(["--corpus", str(corpus), "--prepare", str(file), "--vocab", "300"]) == 0
    return file


def go(data: Path, out: Path, *more: str) -> int:
    return main(["--data", str(data), "--out", str(out), *SMALL, *more])


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished")
    assert go(data, out, "--tokens", "1280") == 0
    return out


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, how: Callable[[], None]) -> None:
    advance = Run.advance

    def counted(self: Run) -> torch.Tensor:
        if self.step == step:
            how()
        return advance(self)

    monkeypatch.setattr(Run, "advance", counted)


def test_killed_and_resumed_is_the_run_it_would_have_been(
    data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, 13, die)
        patch.setattr(Run, "train", always_saving_at(7))
        with pytest.raises(KeyboardInterrupt):
            go(data, tmp_path, "--tokens", "1280")
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 7
    assert go(data, tmp_path, "--resume") == 0

    one, other = (load_checkpoint(folder / "checkpoint.pt") for folder in (finished, tmp_path))
    assert one["step"] == other["step"] == 20
    assert one["tokens"] == other["tokens"] == 1280
    assert all(torch.equal(p, other["params"][name]) for name, p in one["params"].items())
    moments = zip(one["optimizer"]["state"].values(), other["optimizer"]["state"].values(), strict=True)
    assert all(torch.equal(a["exp_avg_sq"], b["exp_avg_sq"]) for a, b in moments)
    assert (finished / "novella/model.safetensors").read_bytes() == (
        tmp_path / "novella/model.safetensors"
    ).read_bytes()
    assert losses(finished) == losses(tmp_path)


def always_saving_at(step: int) -> Callable[..., bool]:
    original = Run.train

    def run(self: Run, *args: float) -> bool:
        record = self.advance

        def saving() -> torch.Tensor:
            loss = record()
            if self.step == step:
                self.save()
            return loss

        self.advance = saving  # type: ignore[method-assign]
        return original(self, *args)

    return run


def losses(out: Path) -> list[tuple[int, float]]:
    lines = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


def die() -> None:
    raise KeyboardInterrupt  # stands for a kill: nothing of the run's own code comes after it


def test_saves_every_few_minutes_and_goes_on_from_there_after_a_kill(
    data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    advance = Run.advance

    def a_minute_long(self: Run) -> torch.Tensor:
        begun.append(self.step)
        clock.append(clock[-1] + 60)
        return advance(self)

    clock = [0]
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: clock[-1]))
    monkeypatch.setattr(Run, "advance", a_minute_long)
    with monkeypatch.context() as patch:
        stop_at(patch, 11, die)
        with pytest.raises(KeyboardInterrupt):
            go(data, tmp_path, "--tokens", "1280", "--checkpoint-minutes", "3.5")
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert state["step"] == 8, "after 4 minutes, after 8, and not in between"
    assert state["seconds"] == 480

    begun.clear()
    assert go(data, tmp_path, "--resume") == 0
    assert begun == [*range(8, 20)]
    model = "novella/model.safetensors"
    assert (tmp_path / model).read_bytes() == (finished / model).read_bytes()


@pytest.mark.parametrize("bad", [float("nan"), 1e5])
def test_a_good_checkpoint_outlives_weights_that_diverge(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    bad: float,
) -> None:
    advance = Run.advance

    def diverging(self: Run) -> torch.Tensor:
        loss = advance(self)
        if self.step == 7:
            with torch.no_grad():
                self.params["transformer.h.1.mlp.c_fc.bias"][3] = bad  # 1e5 is infinite in float16
        return loss

    monkeypatch.setattr(Run, "advance", diverging)
    capsys.readouterr()
    assert go(data, tmp_path, "--tokens", "1280", "--checkpoint-minutes", "1e-9") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "not finite at step 7" in error
    assert "smaller --lr" in error
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert state["step"] == 6

    state["params"]["transformer.wte.weight"][0, 0] = bad
    save_checkpoint(tmp_path / "bad.pt", state)
    assert main(["--export", str(tmp_path / "bad.pt"), "--out", str(tmp_path / "novella")]) == 2
    assert "not finite at step 6" in capsys.readouterr().err
    assert not (tmp_path / "novella").exists()


@pytest.mark.parametrize("steps", [1, 4, 20])
def test_a_learning_rate_of_a_million_ends_in_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], steps: int
) -> None:
    assert go(data, tmp_path, "--tokens", str(64 * steps), "--lr", "1e6") == 2
    first, *_, last = capsys.readouterr().err.splitlines()
    assert "parameters" in first
    assert last.startswith("train: ")
    assert "not finite" in last
    assert not (tmp_path / "checkpoint.pt").exists()
    assert not (tmp_path / "novella").exists()


def test_resumes_an_old_checkpoint_beside_half_a_log_line(data: Path, finished: Path, tmp_path: Path) -> None:
    state = load_checkpoint(finished / "checkpoint.pt")
    assert "rng" not in state, "nothing draws from torch's own generator"
    save_checkpoint(tmp_path / "checkpoint.pt", state | {"rng": torch.get_rng_state()})
    whole = '{"step": 5, "tokens": 320, "loss": 4.5}\n'
    (tmp_path / "log.jsonl").write_bytes(whole.encode() + b'\xff\n7\n{"step": 10, "tok')
    assert go(data, tmp_path, "--resume", "--tokens", "1344") == 0
    lines = (tmp_path / "log.jsonl").read_text().splitlines(keepends=True)
    assert lines[0] == whole
    assert [json.loads(line)["step"] for line in lines] == [5, 21, 21]


def test_a_new_run_never_takes_the_token_file_of_an_attempt_that_died(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other, out = tmp_path / "other", tmp_path / "out"
    other.mkdir()
    for seed, name in enumerate(("Gamma_3", *HELD_OUT)):
        with gzip.open(other / f"{name}.txt.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(sentences(seed, 40)) + "\n")
    more = ["--out", str(out), *SMALL, "--vocab", "300"]
    with monkeypatch.context() as patch:
        stop_at(patch, 0, die)
        with pytest.raises(KeyboardInterrupt):
            main(["--corpus", str(corpus), *more])
    assert (out / "novella.tokens").is_file()
    assert main(["--corpus", str(other), *more, "--tokens", "64"]) == 0
    state = load_checkpoint(out / "checkpoint.pt")
    assert json.loads(state["meta"]["novels"])["train"] == ["Gamma_3"]

    resumed = ["--resume", *more, "--tokens", "128"]
    for changed, said in (
        (["--corpus", str(corpus)], "made from other novels"),
        (["--corpus", str(other), "--vocab", "301"], "--vocab 301"),
    ):
        capsys.readouterr()
        assert main([*resumed, *changed]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert said in error

    monkeypatch.setattr(command, "prepare", lambda *_: pytest.fail("prepared again at --resume"))
    assert main(["--corpus", str(other), *more, "--tokens", "128", "--resume"]) == 0


def test_minutes_save_and_stop(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert go(data, tmp_path, "--tokens", "100_000_000", "--minutes", "0.005") == 0
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert 0 < state["step"] < 100_000_000 // 64
    assert "--resume goes on" in capsys.readouterr().err
    assert not (tmp_path / "novella").exists()
    assert go(data, tmp_path, "--resume", "--tokens", str(64 * state["step"])) == 0, (
        "a shorter schedule ends it"
    )
    assert (tmp_path / "novella/model.safetensors").is_file()


def test_export_is_what_transformers_computes(finished: Path) -> None:
    from transformers import AutoModelForCausalLM

    state = load_checkpoint(finished / "checkpoint.pt")
    cfg = Config(**state["config"])
    for p in state["params"].values():
        p += 0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))  # no bias left at zero
    folder = finished / "louder"
    params = export(state, folder)
    oracle = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    vocab = len(params["transformer.wte.weight"])
    tokens = torch.randint(0, vocab, (3, cfg.context), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = oracle(tokens).logits
        got = logits_of(params, tokens, cfg.layers, cfg.heads)
        assert expected.std() > 1
        torch.testing.assert_close(got, expected, atol=2e-4, rtol=1e-5)
    assert type(oracle).__name__ == "GPT2LMHeadModel"
    assert oracle.config.n_positions == cfg.context
    assert oracle.lm_head.weight.data_ptr() == oracle.transformer.wte.weight.data_ptr()


def test_tokenizer_of_the_export(finished: Path, data: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(finished / "novella", local_files_only=True)
    text = 'She told her a naïve "letter" -- 3 times.\n Then  more'
    ids = tokenizer(text)["input_ids"]
    assert len(tokenizer(" her")["input_ids"]) == 1
    assert tokenizer.decode(ids) == text
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == tokenizer.unk_token_id == load_data(data).bos
    assert tokenizer("<|endoftext|>")["input_ids"] == [tokenizer.bos_token_id]
    own = json.loads((finished / "novella/tokenizer.json").read_text())
    assert text_of([tokenizer.bos_token_id, *ids], own) == text


def test_token_file_is_the_text_and_holds_out_two_novels(data: Path, corpus: Path) -> None:
    read = load_data(data)
    tokenizer = json.loads(read.meta["tokenizer"])
    expected = "\n".join([*sentences(2, 40), *sentences(3, 40)]) + "\n"
    assert text_of(read.val.tolist(), tokenizer) == expected
    assert text_of(read.train.tolist(), tokenizer).startswith(sentences(0, 1)[0])
    assert json.loads(read.meta["bytes"])["val"] == len(expected.encode())
    assert read.train.dtype == np.uint16
    again = data.with_name("again.tokens")
    prepare(corpus, again, 300)
    same = load_data(again)
    assert np.array_equal(same.train, read.train)
    assert same.meta == read.meta
    assert again.read_bytes() == data.read_bytes()


def test_windows_start_anywhere_and_one_in_a_hundred_has_a_bos() -> None:
    cfg = Config(context=7, batch=4000, seed=5)
    tokens = torch.arange(1, 41, dtype=torch.int32)
    windows = batch_at(cfg, tokens, 0, step=3)
    assert windows.shape == (4000, 8)
    marked = windows[:, 0] == 0
    assert 15 <= int(marked.sum()) <= 70
    assert torch.equal(windows[:, 2:] - windows[:, 1:-1], torch.ones(4000, 6, dtype=torch.long))
    assert set(windows[~marked, 0].tolist()) == set(range(1, 34)), "first and last window included"
    assert torch.equal(windows, batch_at(cfg, tokens, 0, step=3))
    assert not torch.equal(windows, batch_at(cfg, tokens, 0, step=4))


def test_validation_loss_counts_every_token_once() -> None:
    cfg = Config(layers=1, width=8, heads=1, context=5)
    params = {name: torch.zeros_like(p) for name, p in init_params(cfg, 11).items()}
    val = torch.randint(0, 11, (78,), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    assert validation_loss(params, cfg, val) == pytest.approx(np.log(11), rel=1e-6)
    params = init_params(cfg, 11)
    windows = val[:76].long()
    one_by_one = [float(loss_of(params, windows[None, i : i + 6], 1, 1)) for i in range(0, 75, 5)]
    assert validation_loss(params, cfg, val) == pytest.approx(np.mean(one_by_one), rel=1e-6)


def test_learning_rate_warms_up_and_ends_at_a_tenth() -> None:
    cfg = Config(tokens=1000 * 32 * 128, lr=1.0, warmup=100)
    rates = [cfg.lr_at(step) for step in range(cfg.steps + 1)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == rates[100] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1)
    assert np.all(np.diff(rates[100:]) <= 0)


def test_training_lowers_the_loss_and_reports_it(finished: Path) -> None:
    seen = losses(finished)
    assert [step for step, _ in seen] == [5, 10, 15, 20]
    assert seen[-1][1] < seen[0][1] - 0.5
    last = json.loads((finished / "log.jsonl").read_text().splitlines()[-1])
    assert last["final_bits_per_byte"] < last["final_val_loss"] / np.log(2)
    assert "She opened the door, and" in (finished / "samples.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--corpus"),
        (["--data", "absent.tokens", "--out", "o"], "absent.tokens"),
        (["--corpus", "absent", "--out", "o"], "absent"),
        (["--data", __file__, "--corpus", ".", "--out", "o"], "one of"),
        (["--data", __file__], "--out"),
        (["--data", __file__, "--prepare", "x"], "--prepare needs"),
        (["--data", __file__, "--out", "o", "--tokens", "-3"], "-3"),
        (["--data", __file__, "--out", "o", "--minutes", "nan"], "nan"),
        (["--data", __file__, "--out", "o", "--seed", "one"], "one"),
        (["--data", __file__, "--out", "o", "--width", "30", "--heads", "4"], "30"),
        (["--data", __file__, "--out", "o", "--vocab", "99999"], "99999"),
        (["--data", __file__, "--out", "o", "--device", "tpu"], "tpu"),
        (["--data", __file__, "--out", "o", "--resume"], "no checkpoint"),
        (["--data", __file__, "--out", "o", "--frobnicate"], "frobnicate"),
    ],
)
def test_bad_arguments_are_one_line(
    arguments: list[str],
    named: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert named in error


def test_files_that_are_not_what_they_should_be(
    data: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: str) -> str:
        assert main(list(arguments)) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    half = tmp_path / "half"
    half.write_bytes(data.read_bytes()[:1000])
    assert "not a token file" in refused("--data", str(half), "--out", str(tmp_path / "a"))
    half.write_bytes((finished / "checkpoint.pt").read_bytes()[:5000])
    assert "not a checkpoint" in refused("--export", str(half), "--out", str(tmp_path / "b"))
    assert "holds a run already" in refused("--data", str(data), "--out", str(finished))
    assert "--width 32" in refused("--data", str(data), "--out", str(finished), "--resume", "--width", "32")
    assert "Persuasion_105" in refused("--corpus", str(empty_corpus(tmp_path)), "--out", str(tmp_path / "c"))
    if not torch.cuda.is_available():
        assert "no CUDA" in refused("--data", str(data), "--out", str(tmp_path / "d"), "--device", "cuda")


def test_a_novel_is_a_regular_file_and_a_byte_order_mark_no_text_of_it(tmp_path: Path) -> None:
    file = tmp_path / "a.txt.gz"
    file.write_bytes(gzip.compress("\ufeffOnce.\n\nUpon a time.\n".encode()))
    assert read_novel(file) == ["Once.", "Upon a time."]
    os.mkfifo(tmp_path / "b.txt.gz")
    with pytest.raises(TrainError, match="not a regular file"):
        read_novel(tmp_path / "b.txt.gz")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda whole: whole[: len(whole) // 2], "not a whole gzip file: fetch it again"),
        (lambda whole: whole[:40] + bytes(40) + whole[80:], "not a whole gzip file: fetch it again"),
        (lambda whole: b"Once upon a time.\n", "not a whole gzip file: fetch it again"),
        (lambda whole: gzip.compress("naïve\n".encode("latin-1")), "not UTF-8 text: convert it"),
        (lambda whole: b"", "no text in it: fetch it again"),
    ],
)
def test_a_novel_that_cannot_be_read_is_named(
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[bytes], bytes],
    said: str,
) -> None:
    bad = tmp_path / "Alpha_1.txt.gz"
    bad.write_bytes(change((corpus / bad.name).read_bytes()))
    assert main(["--corpus", str(tmp_path), "--prepare", str(tmp_path / "x.tokens")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"train: {bad}: {said}")
    assert error.count("\n") == 1


def test_a_system_error_without_a_file_name_is_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    stop_at(monkeypatch, 0, full)
    assert go(data, tmp_path) == 2
    assert "train: [Errno 28] No space left on device" in capsys.readouterr().err


def test_a_checkpoint_with_any_flipped_bit_is_refused_before_torch_reads_it(
    data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = (finished / "checkpoint.pt").read_bytes()
    bad = tmp_path / "checkpoint.pt"
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("damaged bytes were given to torch"))
    places = {*range(len(raw) - 200, len(raw)), *np.random.default_rng(0).integers(0, len(raw), 210).tolist()}
    for place in places:
        damaged = bytearray(raw)
        damaged[place] ^= 1 << place % 8
        bad.write_bytes(damaged)
        with pytest.raises(TrainError, match="hash does not match"):
            load_checkpoint(bad)
    assert go(data, tmp_path, "--resume") == 2
    assert bad.read_bytes() == bytes(damaged), "and is left as it was"


def test_a_checkpoint_is_read_by_torch_alone_too(finished: Path) -> None:
    plain = torch.load(finished / "checkpoint.pt", weights_only=True)
    own = load_checkpoint(finished / "checkpoint.pt")
    assert all(torch.equal(p, plain["params"][name]) for name, p in own["params"].items())


def test_altered_tokens_are_noticed_at_the_start_and_at_resume(
    data: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    def refused(*arguments: str) -> str:
        assert main(list(arguments)) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    read, altered = load_data(data), tmp_path / "altered.tokens"
    with safe_open(data, framework="numpy") as file:
        stored = file.metadata()
    for part, place in (("train", 3), ("val", 0)):
        tokens = {"train": read.train.copy(), "val": read.val.copy()}
        tokens[part][place] ^= 1
        save_file(tokens, altered, stored)
        assert "altered since it was made" in refused("--data", str(altered), "--out", str(tmp_path / "o"))
    said = json.loads(stored["meta"])
    said["prompts"] = "[[1]]"
    save_file({"train": read.train, "val": read.val}, altered, {"meta": json.dumps(said)})
    assert "altered since it was made" in refused("--data", str(altered), "--out", str(tmp_path / "o"))

    tokens = {"train": read.train[::-1].copy(), "val": read.val}  # a whole token file, of other tokens
    said = read.meta | {"sha256": tokens_sha256(tokens["train"], tokens["val"], read.meta)}
    save_file(tokens, altered, {"meta": json.dumps(said)})
    (tmp_path / "checkpoint.pt").write_bytes((finished / "checkpoint.pt").read_bytes())
    more = ["--data", str(altered), "--out", str(tmp_path)]
    assert "another token file" in refused(*more, "--resume", "--tokens", "1344")
    export = ["--export", str(finished / "checkpoint.pt"), "--out", str(tmp_path / "novella")]
    assert "another token file" in refused(*export, "--data", str(altered))
    assert not (tmp_path / "novella").exists()


def empty_corpus(folder: Path) -> Path:
    with gzip.open(folder / "Alpha_1.txt.gz", "wt") as file:
        file.write("Nothing much.\n")
    return folder


def standalone(arguments: list[str], before: str = "", after: str = "") -> subprocess.CompletedProcess[str]:
    code = (
        f"import runpy, sys\n{before}\nsys.path.insert(0, {str(FOLDER.parent)!r})\n"
        f"sys.argv = ['train', *{arguments!r}]\n"
        f"try: runpy.run_module('train', run_name='__main__')\n"
        f"except SystemExit as end: status = end.code\n{after}\nsys.exit(status)"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_refuses_before_heavy_imports() -> None:
    heavy = "{'torch', 'numpy', 'laminar_lens', 'transformers', 'tokenizers'} & sys.modules.keys()"
    done = standalone(["--tokens", "0"], after=f"print({heavy})")
    assert done.returncode == 2, done.stderr
    assert "'0' is not" in done.stderr
    assert done.stdout == "set()\n"


def test_training_from_a_token_file_needs_no_tokenizers(data: Path, tmp_path: Path) -> None:
    barred = "sys.modules.update(dict.fromkeys(['tokenizers', 'transformers', 'laminar_lens']))"
    arguments = ["--data", str(data), "--out", str(tmp_path), *SMALL, "--tokens", "128"]
    done = standalone(arguments, before=barred)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "novella/config.json").is_file()


def test_path_of_the_embedded_model() -> None:
    assert FOLDER.with_name("novella") == NOVELLA
