"""Every supported architecture, as every class that this TransformerLens has."""

import pytest
import torch

from tests.intervened import BRIDGES, KINDS, load


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tiny_gpt2, tiny_llama, tiny_neox):
    return {"gpt2": tiny_gpt2, "llama": tiny_llama, "neox": tiny_neox}[kind]


@pytest.fixture(scope="module", params=BRIDGES, ids=lambda bridge: "bridge" if bridge else "hooked")
def model(request, folder):
    return load(folder, bridge=request.param)


@pytest.fixture(scope="module")
def gpt2(tiny_gpt2):
    return load(tiny_gpt2, bridge=BRIDGES[0])


@pytest.fixture(scope="module")
def hf(folder):
    from laminar_lens.models.originals import load_hf

    return load_hf(folder, dtype=torch.float32)
