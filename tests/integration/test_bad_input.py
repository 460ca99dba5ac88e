"""What a user can get wrong: one line with the value and what to do, exit status 2, earlier output kept."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import laminar_lens as ll
from laminar_lens.cli import main
from laminar_lens.errors import CaptureError, InputError, ModelError

EARLIER = {"sequential.nc": b"an earlier result", "sequential.html": b"an earlier page"}
PROMPTS = "They praised her for it.\nWe admired her courage.\n"
LONG = "They admired her" + " and the old house by the river" * 30


@dataclass(frozen=True)
class Case:
    """Arguments of a command, what the line must say, and the file of its prompts or texts."""

    argv: str
    said: tuple[str, ...]
    prompts: str | bytes = PROMPTS
    command: str = "sequential"


CASES = {
    "empty file": Case("", ("prompts.txt' is empty", "one prompt a line"), ""),
    "blank prompt": Case(
        "", ("blank prompt in line 2", "remove the line"), "They saw her.\n  \nWe met her.\n"
    ),
    "not UTF-8": Case("", ("is not UTF-8 at byte 12", "save it as UTF-8"), b"They saw her\xff.\n"),
    "no such file": Case("--prompts {dir}/none.txt", ("none.txt' does not exist", "check the path")),
    "a device that never ends": Case("--prompts /dev/zero", ("'/dev/zero'", "is a device", "only regular")),
    "a device of chance": Case("--prompts /dev/random", ("'/dev/random'", "is a device", "only regular")),
    "a pipe": Case("--prompts {dir}/pipe", ("pipe' cannot be read: it is a pipe", "only regular files")),
    "a folder": Case("--prompts {dir}", ("is a folder", "only regular files")),
    "UTF-16": Case("", ("is UTF-16 (it begins with ff fe)", "save it as UTF-8"), PROMPTS.encode("utf-16")),
    "warmup, a pipe": Case("--texts {dir}/pipe", ("is a pipe",), command="warmup"),
    "warmup, one of two": Case("--texts {prompts} --texts /dev/zero", ("is a device",), command="warmup"),
    "sinks, a pipe of two": Case("--texts {prompts} --texts {dir}/pipe", ("is a pipe",), command="sinks"),
    "mask, a device": Case("--texts /dev/zero", ("is a device",), command="mask"),
    "angles, a device": Case("/dev/zero", ("is a device",), command="angles"),
    "two prompts files": Case(
        "--prompts {prompts} --prompts her", ("given 2 times", "'her'", "give one file")
    ),
    "one-token prompt": Case("", ("prompt 1 ('X')", "one token", "longer prompt"), "They saw her.\nX\n"),
    "too long": Case(
        "", ("prompt 1 ('They admired her and", "reads at most 64", "shorten"), f"{PROMPTS[:25]}{LONG}\n"
    ),
    "absent in some": Case(
        "",
        ("target ' her' is absent in 2 of 3 prompts", "index 1, 2", "'We met him.'"),
        "They saw her.\nWe met him.\nWe met them.\n",
    ),
    "absent in all": Case(
        "--target queen", ("target 'queen' occurs in none of the 2 prompts", "change the target")
    ),
    "at position 0": Case(
        "--target We",
        ("target of prompt 0 is its first token", "put a word in front", "--bos"),
        "We met.\n" * 2,
    ),
    "several": Case(
        "", ("occurs 2 times", "choose --occurrence first, last or all"), "They told her to see her.\n" * 2
    ),
    "blank target": Case("--target=", ("target '' is blank", "give the text")),
    "bad regex": Case("--regex --target (her", ("--target '(her' is not a regular", "mend it")),
    "unknown model": Case("--model gpt2-xll", ("'gpt2-xll'", "did you mean gpt2-xl")),
    "no such folder": Case("--model ./nowhere", ("'./nowhere'", "no such folder", "check the path")),
    "unknown baseline": Case("--baseline publishd", ("--baseline 'publishd'", "did you mean published?")),
    "negative skip": Case("--skip -1", ("--skip -1", "0 or more")),
    "skip leaves nothing": Case("--skip 60", ("--skip 60 leaves no target pair",)),
    "layer out of range": Case("--layers 0,4", ("--layers 0,4 is out of range", "hidden states 0", "to 3")),
    "output under a file": Case("--out {prompts}/sub", ("cannot write to", "is a file", "--out")),
    "output is a file": Case("--out {prompts}", ("cannot write to", "is a file", "--out")),
    "one prompt": Case("", ("has one prompt", "at least 2 prompts"), "They saw her.\n"),
    "grid of matched": Case("--grid --baseline matched", ("--grid has no donor", "leave out --grid")),
    "angles, one token": Case("", ("prompt 1 ('X')", "one token"), "They saw her.\nX\n", "angles"),
    "angles, two tokens": Case(
        "--what turning", ("('He')", "2 tokens", "needs three"), "They saw her.\nHe\n", "angles"
    ),
    "angles, too long": Case("", ("reads at most 64", "shorten"), f"{LONG}\n", "angles"),
    "angles, no file": Case("{dir}/none.txt", ("does not exist", "check the path"), command="angles"),
    "angles, layers": Case("--layers 4", ("--layers 4 is out of range",), command="angles"),
    "angles, nothing": Case("--what rotation --layers 0", ("measures nothing",), command="angles"),
    "warmup, layers": Case("--layers 4", ("--layers 4 is out of range",), command="warmup"),
    "warmup, too long": Case("--length 65", ("--length 65 is too long", "64 or less"), command="warmup"),
    "warmup, beyond": Case(
        "--reference 42-63", ("--reference 42-63 is out of range", "pairs 0 to 62"), command="warmup"
    ),
    "warmup, whole": Case("--reference 0-62", ("leaves no pair to test", "1 or later"), command="warmup"),
    "warmup, short texts": Case(
        "--texts {prompts}",
        ("0 of 2 texts in --texts have 64 tokens", "or --length 9"),
        "a a a a a\na a a a a a\n",
        "warmup",
    ),
    "warmup, one file of two": Case(
        "--texts {prompts} --texts {prompts} --length 60", ("0 of 2 files in --texts",), command="warmup"
    ),
    "CUDA is absent": Case("--device cuda", ("--device cuda was asked for", "use --device cpu")),
}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output folder that holds the files of an earlier run."""
    folder = tmp_path / "out"
    folder.mkdir()
    for name, content in EARLIER.items():
        (folder / name).write_bytes(content)
    return folder


def arguments(case: Case, folder: Path, model: Path, out: Path) -> list[str]:
    """The command of a case; the model, prompts and output that it does not name itself are added."""
    prompts = folder / "prompts.txt"
    prompts.write_bytes(case.prompts if isinstance(case.prompts, bytes) else case.prompts.encode())
    os.mkfifo(folder / "pipe")
    argv = [part.format(dir=folder, prompts=prompts) for part in case.argv.split()]
    wanted = {"--model": model, "--out": out}
    if case.command == "sequential":
        argv.append("--no-warmup")
        wanted["--prompts"] = prompts
    if case.command == "angles" and not any(part.endswith((".txt", "/zero")) for part in argv):
        argv.append(str(prompts))
    for option, value in wanted.items():
        if option not in argv:
            argv += [option, str(value)]
    return [case.command, *argv]


def check_refusal(status: int, stdout: str, stderr: str, said: tuple[str, ...], out: Path) -> None:
    assert (status, stdout) == (2, ""), stderr
    assert stderr.startswith("laminar-lens: error: ")
    assert (stderr.count("\n"), stderr[-1]) == (1, "\n")
    assert [words for words in said if words not in stderr] == [], stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == EARLIER


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_answered_in_one_line(
    name: str, tiny_gpt2: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "CUDA is absent":
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("CUDA is present")
    status = main(arguments(CASES[name], tmp_path, tiny_gpt2, out))
    check_refusal(status, *capsys.readouterr(), CASES[name].said, out)


def test_mistakes_are_answered_before_anything_heavy_is_imported(
    tiny_gpt2: Path, out: Path, tmp_path: Path
) -> None:
    """All cases in one fresh interpreter: none imports torch, which alone takes about two seconds."""
    commands = []
    for number, case in enumerate(CASES.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        commands.append(arguments(case, folder, tiny_gpt2, out))
    code = (
        "import json, sys; from laminar_lens.cli import main\n"
        "statuses = [main(argv) for argv in json.load(sys.stdin)]\n"
        "heavy = sorted({'torch', 'transformer_lens', 'transformers', 'plotly'} & set(sys.modules))\n"
        "print(json.dumps([statuses, heavy]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(commands), capture_output=True, text=True, timeout=120
    )
    assert json.loads(done.stdout) == [[2] * len(CASES), []], done.stderr


# --------------------------------------------------------------------------------------------------- weights


@pytest.fixture
def broken(tiny_gpt2: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be damaged."""
    return Path(shutil.copytree(tiny_gpt2, tmp_path / "model"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.unlink(), ("holds no weights", "model.safetensors is missing")),
        (lambda file: file.write_bytes(file.read_bytes()[:-100]), ("half-written", "bytes")),
        (lambda file: file.write_bytes(file.read_bytes()[:50]), ("half-written", "bytes")),
        (lambda file: file.write_bytes(b""), ("half-written", "0 bytes")),
    ],
    ids=["missing", "cut at the end", "cut in the header", "empty"],
)
def test_missing_or_half_written_weights(
    damage: Callable[[Path], Any],
    said: tuple[str, ...],
    broken: Path,
    out: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(broken / "model.safetensors")
    status = main(arguments(Case("", said), tmp_path, broken, out))
    check_refusal(status, *capsys.readouterr(), said, out)


def test_a_folder_without_its_vocabulary(
    broken: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (broken / "tokenizer.json").unlink()
    assert (broken / "tokenizer_config.json").is_file()
    said = ("has no tokenizer (tokenizer.json is missing)", "copy it again")
    check_refusal(main(arguments(Case("", said), tmp_path, broken, out)), *capsys.readouterr(), said, out)


def test_a_page_that_fails_leaves_the_new_result_and_the_earlier_page(
    tiny_gpt2: Path,
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise InputError("it does not fit")

    monkeypatch.setattr("laminar_lens.report.render", fail)
    status = main(arguments(Case("--quiet", ()), tmp_path, tiny_gpt2, out))
    stdout, stderr = capsys.readouterr()
    assert (status, stdout, stderr.count("\n")) == (2, "", 1)
    assert f"it does not fit; the result is saved in {out / 'sequential.nc'}" in stderr
    assert ll.load_result(out / "sequential.nc").kind == "sequential"
    assert (out / "sequential.html").read_bytes() == EARLIER["sequential.html"]


def test_a_late_failure_keeps_the_earlier_output(
    tiny_gpt2: Path,
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise InputError("it does not fit")

    monkeypatch.setattr("laminar_lens.studies.warmup.grid.sensitivity_grid", fail)
    status = main(arguments(Case("--quiet --grid", ()), tmp_path, tiny_gpt2, out))
    check_refusal(status, *capsys.readouterr(), ("it does not fit",), out)


@pytest.mark.parametrize("warmup", [False, True])
def test_nan_in_activations_names_prompt_layer_and_position(
    warmup: bool, broken: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file
    from tokenizers import Tokenizer

    tokens = Tokenizer.from_file(str(broken / "tokenizer.json")).encode(PROMPTS.splitlines()[1]).ids
    others = Tokenizer.from_file(str(broken / "tokenizer.json")).encode(PROMPTS.splitlines()[0]).ids
    position = next(index for index, token in enumerate(tokens) if token not in others and index > 0)
    weights = load_file(broken / "model.safetensors")
    name = next(name for name in weights if name.endswith("wte.weight"))
    weights[name][tokens[position]] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})

    said = ("prompt 1", "hidden state 0", f"position {position}", "--dtype float32")
    argv = arguments(Case("--quiet", said), tmp_path, broken, out)
    argv = [part for part in argv if not (warmup and part == "--no-warmup")]
    status = main([*argv, "--no-geometries"])  # for which texts are written before
    check_refusal(status, *capsys.readouterr(), said, out)


def test_nan_in_weights_is_found_when_the_model_is_loaded(
    broken: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(broken / "model.safetensors")
    name = next(name for name in weights if name.endswith("wpe.weight"))
    weights[name][20] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    said = ("hidden state 0 is not finite (NaN or infinity) in Hugging Face too", "check the weights")
    status = main(arguments(Case("--quiet", said, command="warmup"), tmp_path, broken, out))
    check_refusal(status, *capsys.readouterr(), said, out)


def test_nan_in_a_text_of_the_model_names_layer_and_position(tiny_gpt2: Path) -> None:
    model = ll.load_model(tiny_gpt2)
    table = next(value for name, value in model.named_parameters() if "pos_embed" in name or "wpe" in name)
    table.data[20] = float("nan")
    with pytest.raises(ModelError, match=r"text 0 that the model was writing.* state 0 at position 20"):
        ll.warmup_study(model, "sampled", n_texts=2)


def test_more_texts_than_memory_holds_are_refused(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from laminar_lens.models import sample

    monkeypatch.setattr(sample, "available_bytes", lambda device: 10**6)
    with pytest.raises(InputError, match=r"1,000,000 texts of 32 tokens need .* choose a smaller n_texts="):
        sample.sample_tokens(model, 10**6, 32)


# -------------------------------------------------------------------------------------------- during the run


def test_an_interrupted_run_keeps_the_earlier_output(
    tiny_gpt2: Path,
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import laminar_lens.studies.drive as drive

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(drive, "run", interrupt)
    assert main(arguments(Case("", ()), tmp_path, tiny_gpt2, out)) == 130
    nothing = "laminar-lens: interrupted; nothing was written, earlier files are as they were"
    assert capsys.readouterr().err.splitlines()[-1] == nothing
    assert {path.name: path.read_bytes() for path in out.iterdir()} == EARLIER


# ----------------------------------------------------------------------------------------------- from Python


@pytest.fixture(scope="module")
def model(tiny_gpt2: Path) -> Any:
    return ll.load_model(str(tiny_gpt2))


@pytest.mark.parametrize(
    ("prompts", "chosen", "said"),
    [
        ([], {}, "empty"),
        ("", {}, "blank"),
        (["They saw her.", " "], {}, "prompt 1 is blank"),
        (["They saw her.", "her"], {"target": "her"}, "prompt 1"),
        (["They saw her.", LONG], {}, "prompt 1"),
        (["They saw her.", "We met him."], {}, "absent in 1 of 2 prompts"),
        (["They saw her."], {"target": " queen"}, "occurs in none of the 1 prompts"),
        (["We met her."], {"target": "We"}, "first token"),
        (["They saw her."], {"baseline": "publishd"}, "'publishd'"),
        (["They saw her."], {"skip": -1}, "skip -1"),
        (["They saw her."], {"skip": 60}, "skip=60"),
        (["They saw her."], {"layers": (0, 4)}, "4"),
        (["They saw her."], {}, "prompts holds one prompt"),
    ],
)
def test_python_refuses_the_same(model: Any, prompts: object, chosen: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=r"\w") as caught:
        ll.sequential_study(model, prompts, **{"random_init": False, "n_perm": 20, "n_draws": 2, **chosen})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cache_without_residuals(model: Any) -> None:
    tokens = model.to_tokens("They saw her.", prepend_bos=False)
    _, cache = model.run_with_cache(tokens, names_filter=lambda name: name.endswith("hook_z"))
    with pytest.raises((CaptureError, InputError), match="hook_resid") as caught:
        ll.residuals_from_cache(cache, model.cfg)
    assert "\n" not in str(caught.value)
