"""Runs to compare interventions with: short ones of tiny models, and Hugging Face's with hooks of its own."""

import torch

import laminar_lens as ll
from laminar_lens.models.forward import residual_states
from laminar_lens.models.load import _hooked_transformer

T = 5
KINDS = ("gpt2", "llama", "neox")
BRIDGES = (False, True) if _hooked_transformer(None) else (True,)


def load(folder, *, bridge):
    return ll.load_model(str(folder), bridge=bridge)


def some_tokens(n=2, length=12, seed=1):
    return torch.randint(3, 300, (n, length), generator=torch.Generator().manual_seed(seed))


def states(model, tokens, *interventions, **options):
    return residual_states(
        model, tokens, range(model.cfg.n_layers + 1), interventions=interventions, **options
    )


def relative(found, wanted):
    return float(((found - wanted).norm(dim=-1) / wanted.norm(dim=-1)).max())


def agrees(found, wanted):
    assert relative(found, wanted) < 2e-5


def hf_states(hf, tokens, *, hidden=None, positions=None, edits=None):
    """Hugging Face's own forward pass: an explicit mask, explicit positions, and edits of block outputs.

    Args:
        hf: the Hugging Face model.
        tokens: ids [batch pos].
        hidden: bool [row column] of what is hidden besides the future.
        positions: position ids [pos].
        edits: {layer: function of the hidden state}; layer 0 is the embedding, as the first block sees it.
    """
    n = tokens.shape[1]
    seen = torch.tril(torch.ones(n, n, dtype=torch.bool))
    if hidden is not None:
        seen &= ~hidden
    mask = torch.zeros(1, 1, n, n).masked_fill(~seen, torch.finfo(torch.float32).min)
    blocks = next(m for _, m in hf.named_modules() if isinstance(m, torch.nn.ModuleList))
    found, handles = {}, []

    def first(module, args, kwargs):
        state = args[0] if args else kwargs["hidden_states"]
        state = (edits or {}).get(0, lambda x: x)(state)
        found[0] = state
        if args:
            return (state, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": state}

    handles.append(blocks[0].register_forward_pre_hook(first, with_kwargs=True))
    for layer, block in enumerate(blocks, start=1):

        def after(module, args, output, layer=layer):
            state = output[0] if isinstance(output, tuple) else output
            state = (edits or {}).get(layer, lambda x: x)(state)
            found[layer] = state
            return (state, *output[1:]) if isinstance(output, tuple) else state

        handles.append(block.register_forward_hook(after))
    try:
        with torch.no_grad():
            hf(
                tokens,
                attention_mask=mask.expand(len(tokens), -1, -1, -1),
                position_ids=None if positions is None else positions[None].expand(len(tokens), -1),
                use_cache=False,
            )
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack([found[layer] for layer in range(len(blocks) + 1)])


def parts(model, tokens, block):
    """A block's input, its two writes and its output, plain."""
    names = [f"blocks.{block}.hook_{part}" for part in ("resid_pre", "attn_out", "mlp_out", "resid_post")]
    found = {}

    def keep(name):
        return lambda value, hook: found.update({name: value.detach().clone()})

    with torch.no_grad():
        model.run_with_hooks(
            tokens,
            return_type=None,
            fwd_hooks=[(n, keep(n)) for n in names],
            attention_mask=torch.ones_like(tokens),
        )
    return [found[name] for name in names]
