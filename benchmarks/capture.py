"""What measuring costs a forward pass: the meter beside plain runs and the usual ways to get the states.

    python -m benchmarks.capture                        # GPT-2 small, 1,024 tokens, random weights; CSV
    python -m benchmarks.capture --model gpt2-xl --seconds 300

The ways run in turn in one process, so that load on the machine meets all of them. Each one's peak memory is
measured in a process of its own. No way computes logits. Only the meter's time includes angles (all measures,
lags 1 to 4 by `--lags`): the others give states, and their angles would come on top. `hf` and `hf_plain` are
Hugging Face's model of the same weights; the rest is TransformerLens (HookedTransformer, or where there is
none the bridge). No row is printed if the meter is not within 1e-6 rad of the states that the others give.
"""

import argparse
import csv
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from typing import Any

import torch

from benchmarks.timing import cpu_times, gpu_times, peak_extra_bytes

COLUMNS = (
    "op",
    "backend",
    "shape",
    "dtype",
    "ms_p20",
    "ms_p50",
    "ms_p80",
    "peak_extra_bytes",
    "ratio_to_plain",
)
MODELS = {
    "tiny": {"n_layer": 3, "n_embd": 64, "n_head": 4},
    "gpt2-small": {"n_layer": 12, "n_embd": 768, "n_head": 12},
    "gpt2-xl": {"n_layer": 48, "n_embd": 1600, "n_head": 25},
}
TOLERANCE_RAD = 1e-6
WARM_BYTES = 2**21
"""A state of the short pass: large enough that "auto" measures it with the backend of the long one."""
SIDE_BY_SIDE_RAD = 2e-5
"""Between two implementations of one forward pass in float32."""

Way = Callable[[], Any]


def build(name: str, pos: int, device: str) -> tuple[Any, Any]:
    """The same random weights in TransformerLens and in Hugging Face."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    from laminar_lens.models.convert import build_hooked
    from laminar_lens.models.names import NOVELLA

    torch.manual_seed(0)
    config = GPT2Config(**MODELS[name], n_positions=pos, architectures=["GPT2LMHeadModel"])
    hf = GPT2LMHeadModel._from_config(config, attn_implementation="eager").eval().to(device)
    tokenizer = AutoTokenizer.from_pretrained(NOVELLA)  # TransformerLens wants one; no text is tokenized
    with redirect_stdout(sys.stderr):
        try:
            from transformer_lens import HookedTransformer

            model = build_hooked(hf, tokenizer, HookedTransformer, f"random {name}", torch.float32)
        except ImportError:
            from transformer_lens.model_bridge import TransformerBridge

            model = TransformerBridge.boot_transformers(
                "gpt2", hf_model=hf, tokenizer=tokenizer, device=device
            )
    return model.eval(), hf


def ways(model: Any, hf: Any, pos: int, lags: int, backend: str) -> dict[str, Way]:
    """Each way to run, by name; the first is what the ratios are of."""
    from laminar_lens import AngleMeter

    tokens = torch.randint(0, 300, (1, pos), generator=torch.Generator().manual_seed(0))
    tokens = tokens.to(model.cfg.device)
    last = int(model.cfg.n_layers) - 1
    wanted = {f"blocks.{block}.hook_resid_post" for block in range(last + 1)} | {"blocks.0.hook_resid_pre"}
    meter = AngleMeter(model, lags=lags, backend=backend)

    def metered() -> dict[str, torch.Tensor]:
        model.run_with_hooks(tokens, return_type=None, fwd_hooks=meter.hooks())
        return meter.result()

    def cached(names: Any) -> Any:
        return model.run_with_cache(tokens, return_type=None, names_filter=names)[1]

    return {
        "plain": lambda: model(tokens, return_type=None),
        "meter": metered,
        "resid_cache": lambda: cached(lambda name: name in wanted),
        "full_cache": lambda: cached(None),
        "hf_plain": lambda: hf.transformer(tokens, use_cache=False),
        "hf": lambda: hf.transformer(tokens, use_cache=False, output_hidden_states=True),
    }


def verify(model: Any, run: dict[str, Way], lags: int) -> str | None:
    """What is wrong with the meter's angles, measured on the states of the other ways; None if nothing."""
    from laminar_lens import angle_profile, residuals_from_cache

    found = run["meter"]()
    for name, tolerance in (("resid_cache", TOLERANCE_RAD), ("full_cache", TOLERANCE_RAD), ("hf", None)):
        states = (
            torch.cat(run[name]().hidden_states[:-1])[:, None]  # the last one is after the final norm
            if name == "hf"
            else residuals_from_cache(run[name](), model.cfg)
        )
        expected = angle_profile(states.double(), lags=lags, backend="reference")
        for measure in ("sequential", "rotation"):
            apart = float((found[measure][: len(expected[measure])] - expected[measure]).abs().max())
            if not apart <= (tolerance or SIDE_BY_SIDE_RAD):
                return f"{measure} of the meter is {apart:.1e} rad from that of {name}"
    return None


def peak_bytes(arguments: argparse.Namespace, name: str) -> str:
    """The memory that one forward pass adds, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.capture", "--peak", name]
    for option in ("model", "pos", "lags", "backend", "device"):
        command += [f"--{option}", str(getattr(arguments, option))]
    # Freed memory must go back at once, or what the allocator keeps for later passes for memory in use.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


def measured_peak(run: dict[str, Way], small: dict[str, Way], name: str, device: str) -> int | None:
    """After a short pass, so that what is loaded once is not counted."""
    small[name]()
    return peak_extra_bytes(lambda turn: run[name](), device)


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, str]]:
    """One row a way, as soon as its memory is measured too."""
    model, hf = build(arguments.model, arguments.pos, arguments.device)
    run = ways(model, hf, arguments.pos, arguments.lags, arguments.backend)
    if wrong := verify(model, run, arguments.lags):
        raise SystemExit(wrong)
    calls = {name: lambda turn, way=way: way() for name, way in run.items()}
    if arguments.device == "cpu":
        times = cpu_times(calls, arguments.seconds)
    else:
        times = {name: gpu_times(call) for name, call in calls.items()}
    del model, hf, run, calls
    size = MODELS[arguments.model]
    shape = f"{size['n_layer'] + 1}x1x{arguments.pos}x{size['n_embd']}"
    for name, seconds in times.items():
        yield {
            "op": "capture",
            "backend": name,
            "shape": shape,
            "dtype": "float32",
            **{f"ms_p{q}": f"{1e3 * s:.2f}" for q, s in zip((20, 50, 80), seconds, strict=True)},
            "peak_extra_bytes": peak_bytes(arguments, name),
            "ratio_to_plain": f"{seconds[1] / times['plain'][1]:.4f}",
        }


def main(argv: list[str] | None = None) -> None:
    """Prints CSV rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--model", choices=MODELS, default="gpt2-small")
    parser.add_argument("--pos", type=int, default=1024)
    parser.add_argument("--lags", type=int, default=1)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=60.0, help="time for the repeats of all ways")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    with torch.inference_mode():
        if arguments.peak:
            model, hf = build(arguments.model, arguments.pos, arguments.device)
            short = min(arguments.pos, -(-WARM_BYTES // (4 * MODELS[arguments.model]["n_embd"])))
            lengths = (arguments.pos, short)
            sizes = [ways(model, hf, pos, arguments.lags, arguments.backend) for pos in lengths]
            print(measured_peak(sizes[0], sizes[1], arguments.peak, arguments.device))
            return
        table = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
        table.writeheader()
        for row in rows(arguments):
            table.writerow(row)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
