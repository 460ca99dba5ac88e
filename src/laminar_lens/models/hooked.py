"""What a model must offer to be measured: the surface that both generations of TransformerLens share.

It is a type for readers and the type checker only. What a user passes is checked by `check_model`, whose
message says what was given and what to give instead.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import Protocol

    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel

    HFConfig, HFModel = PretrainedConfig, PreTrainedModel
    Hooked = Callable[..., Any]
    """A class of HookedTransformer."""

    class HookedModel(Protocol):
        """A HookedTransformer, a TransformerBridge, or anything that has the same."""

        cfg: Any
        tokenizer: Any
        hook_dict: dict[str, Any]
        blocks: Any
        pos_embed: Any
        W_E: Tensor
        training: bool
        forward: Callable[..., Any]
        ln_final: Callable[[Tensor], Tensor]
        run_with_hooks: Callable[..., Any]
        run_with_cache: Callable[..., Any]
        hooks: Callable[..., AbstractContextManager[Any]]
        to_tokens: Callable[..., Tensor]
        parameters: Callable[[], Iterator[nn.Parameter]]
        named_parameters: Callable[[], Iterator[tuple[str, nn.Parameter]]]
        named_buffers: Callable[[], Iterator[tuple[str, Tensor]]]
        named_modules: Callable[[], Iterator[tuple[str, nn.Module]]]

        def __call__(self, tokens: Tensor, **options: Any) -> Any:
            """Runs the model."""

else:  # jaxtyping and beartype would refuse what `check_model` explains, and the fakes of tests
    HookedModel = HFConfig = HFModel = Hooked = Any
