"""GPT-2 as one dict of tensors under Hugging Face's names: what is trained is what is exported."""

import math
from typing import TYPE_CHECKING

from .config import Config, TrainError

if TYPE_CHECKING:
    import torch

Params = dict[str, "torch.Tensor"]


def init_params(cfg: Config, vocab: int) -> Params:
    """GPT-2's initial weights under Hugging Face's names, Conv1D matrices [in, out]."""
    import torch

    generator = torch.Generator().manual_seed(cfg.seed)
    d, residual_std = cfg.width, 0.02 / math.sqrt(2 * cfg.layers)

    def normal(*shape: int, std: float = 0.02) -> "torch.Tensor":
        return torch.randn(*shape, generator=generator) * std

    params = {"transformer.wte.weight": normal(vocab, d), "transformer.wpe.weight": normal(cfg.context, d)}
    for n in range(cfg.layers):
        h = f"transformer.h.{n}."
        for name, rows, columns, std in (
            ("attn.c_attn", d, 3 * d, 0.02),
            ("attn.c_proj", d, d, residual_std),
            ("mlp.c_fc", d, 4 * d, 0.02),
            ("mlp.c_proj", 4 * d, d, residual_std),
        ):
            params[f"{h}{name}.weight"] = normal(rows, columns, std=std)
            params[f"{h}{name}.bias"] = torch.zeros(columns)
        for name in ("ln_1", "ln_2"):
            params[f"{h}{name}.weight"], params[f"{h}{name}.bias"] = torch.ones(d), torch.zeros(d)
    params["transformer.ln_f.weight"], params["transformer.ln_f.bias"] = torch.ones(d), torch.zeros(d)
    return params


def logits_of(params: Params, tokens: "torch.Tensor", layers: int, heads: int) -> "torch.Tensor":
    """Logits [batch, pos, vocab] of tokens [batch, pos]: GPT-2 (Radford et al. 2019), no dropout."""
    from torch.nn import functional

    def norm(x: "torch.Tensor", name: str) -> "torch.Tensor":
        return functional.layer_norm(x, x.shape[-1:], params[name + ".weight"], params[name + ".bias"], 1e-5)

    def linear(x: "torch.Tensor", name: str) -> "torch.Tensor":
        return functional.linear(x, params[name + ".weight"].t(), params[name + ".bias"])

    length = tokens.shape[1]
    x = (
        functional.embedding(tokens, params["transformer.wte.weight"])
        + params["transformer.wpe.weight"][:length]
    )
    for n in range(layers):
        h = f"transformer.h.{n}."
        qkv = linear(norm(x, h + "ln_1"), h + "attn.c_attn").view(*x.shape[:2], 3, heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + linear(mixed, h + "attn.c_proj")
        hidden = functional.gelu(linear(norm(x, h + "ln_2"), h + "mlp.c_fc"), approximate="tanh")
        x = x + linear(hidden, h + "mlp.c_proj")
    return functional.linear(norm(x, "transformer.ln_f"), params["transformer.wte.weight"])


def loss_of(params: Params, windows: "torch.Tensor", layers: int, heads: int) -> "torch.Tensor":
    """Mean nats a token over windows [batch, context + 1]."""
    from torch.nn import functional

    logits = logits_of(params, windows[:, :-1], layers, heads)
    return functional.cross_entropy(logits.flatten(0, 1).float(), windows[:, 1:].flatten())


def validation_loss(params: Params, cfg: Config, val: "torch.Tensor", most: int | None = None) -> float:
    """Nats a token over non-overlapping windows of the held-out text, all of them or `most` spread evenly."""
    import torch

    count = (len(val) - 1) // cfg.context
    if count < 1:
        raise TrainError(f"held-out text of {len(val)} tokens: too short for --context {cfg.context}")
    chosen = torch.arange(count) if most is None or most >= count else torch.arange(most) * count // most
    starts = (chosen * cfg.context).to(val.device)
    total = 0.0
    with torch.no_grad():
        for some in torch.split(starts, 64):
            windows = val[some[:, None] + torch.arange(cfg.context + 1, device=val.device)].long()
            total += float(loss_of(params, windows, cfg.layers, cfg.heads)) * len(some)
    return total / len(starts)


def sample(params: Params, cfg: Config, prompt: list[int], count: int, seed: int) -> list[int]:
    """The prompt and `count` more tokens at temperature 0.8 from the 50 likeliest."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(count):
            logits = logits_of(params, torch.tensor([ids[-cfg.context :]]), cfg.layers, cfg.heads)[0, -1]
            top = logits.topk(min(50, len(logits)))
            chosen = torch.multinomial((top.values / 0.8).softmax(0), 1, generator=generator)
            ids.append(int(top.indices[chosen]))
    return ids
