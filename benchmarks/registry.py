"""What is measured: one entry is operation × backend × shape × dtype.

Entries that are compared with each other (all backends of one operation on one input) form a group, which is
measured together. Groups are listed in the order in which a limited time is best spent.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

MODELS: dict[str, tuple[int, int]] = {
    "gpt2-xl": (49, 1600),
    "llama-8b": (33, 4096),
    "llama-70b": (81, 8192),
    "gpt2-small": (13, 768),
}
"""Hidden states and d_model."""

GPU_MODELS = ("gpt2-xl", "llama-8b", "llama-70b")
LENGTHS = tuple(2**power for power in range(7, 18))
DTYPE_BYTES = {"float32": 4, "bfloat16": 2}

OPERATIONS = (
    *("sequential", "rotation", "profile", "pairs", "pairwise", "histogram"),
    *("capture", "accuracy", "floor"),
)
OURS = ("fused", "cpu", "eager")
COMPETITORS = ("naive", "cosine", "normalize", "compile", "loop")
CAPTURE = ("plain", "meter", "resid_cache", "full_cache", "hf_plain", "hf")
"""Ways to run a forward pass: plain, with the meter, with states kept; see capture.py."""

GPU_DATA_BYTES = 2**30
"""Of one input set on a GPU, at least: twenty times an H200's L2."""
QUICK_DATA_BYTES = 2**25
"""The same in a quick run on a CPU, twice a server's L3."""
BINS = 64
_MATRIX_ENTRIES = 2**28
"""Of a pos × pos result over all prompts, where the length leaves a choice."""


@dataclass(frozen=True)
class Shape:
    """Residual states [layer batch pos d_model], and whose they would be.

    Attributes:
        model: a name in MODELS, or what the data are.
        note: how the shape differs from the model's, empty if it does not.
        angle: for `accuracy`, the planted angle in radians.
    """

    model: str
    layers: int
    batch: int
    pos: int
    d_model: int
    note: str = ""
    angle: float | None = None

    @property
    def label(self) -> str:
        """What the CSV says: `gpt2-xl 4x2x1024x1600 (4 of 49 layers)`."""
        text = f"{self.model} {self.layers}x{self.batch}x{self.pos}x{self.d_model}"
        return f"{text} ({self.note})" if self.note else text

    @property
    def elements(self) -> int:
        """Numbers in one input set."""
        return self.layers * self.batch * self.pos * self.d_model


@dataclass(frozen=True)
class Entry:
    """One row of the table."""

    operation: str
    backend: str
    shape: Shape
    dtype: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What identifies the row in the CSV."""
        return self.operation, self.backend, self.shape.label, self.dtype

    @property
    def name(self) -> str:
        """For `--only` and for messages."""
        return "/".join(self.key)

    @property
    def input_bytes(self) -> int:
        """Of one input set."""
        return self.shape.elements * DTYPE_BYTES[self.dtype]

    @property
    def output_bytes(self) -> int:
        """Of the results in float32 (int64 for counts)."""
        shape = self.shape
        vectors = shape.layers * shape.batch * shape.pos
        neighbours = shape.layers * shape.batch * (shape.pos - 1)
        between_layers = (shape.layers - 1) * shape.batch * shape.pos
        return {
            "sequential": 4 * neighbours,
            "rotation": 4 * between_layers,
            "profile": 4 * (neighbours + vectors + 2 * between_layers),
            "capture": 4 * (neighbours + vectors + 2 * between_layers),
            "pairs": 4 * shape.layers * shape.batch * (shape.pos // 2),
            "pairwise": 4 * vectors * shape.pos,
            "histogram": 8 * shape.layers * shape.batch * BINS,
            "accuracy": 4 * neighbours,
        }.get(self.operation, 0)

    @property
    def bytes(self) -> int:
        """The least traffic the operation can make: every input read once, every result written once.

        It is the same for every backend, so that GB/s compares useful work. Pairs are a random matching of
        the positions, so each vector is wanted once, and their indices (int64) are read once.
        """
        if self.operation == "floor":
            return self.input_bytes * (2 if self.backend == "copy" else 1)
        pairs = 16 * self.shape.batch * (self.shape.pos // 2) if self.operation == "pairs" else 0
        return self.input_bytes + self.output_bytes + pairs


@dataclass(frozen=True)
class Group:
    """Entries measured side by side on the same inputs; the floor is measured with each."""

    operation: str
    shape: Shape
    dtype: str
    backends: tuple[str, ...]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """One for each backend."""
        return tuple(Entry(self.operation, backend, self.shape, self.dtype) for backend in self.backends)

    @property
    def floor(self) -> tuple[Entry, Entry]:
        """Copy and read of the same data."""
        return (
            Entry("floor", "copy", self.shape, self.dtype),
            Entry("floor", "read", self.shape, self.dtype),
        )


def model_shape(model: str, pos: int, dtype: str, data_bytes: int = GPU_DATA_BYTES) -> Shape:
    """All layers of a model, with as many prompts as make at least `data_bytes`."""
    layers, d_model = MODELS[model]
    prompt = layers * pos * d_model * DTYPE_BYTES[dtype]
    return Shape(model, layers, max(1, math.ceil(data_bytes / prompt)), pos, d_model)


def one_layer_shape(model: str, pos: int, dtype: str, data_bytes: int = GPU_DATA_BYTES) -> Shape:
    """One layer, for results pos × pos: prompts for `data_bytes`, or for _MATRIX_ENTRIES results if fewer."""
    d_model = MODELS[model][1]
    wanted = math.ceil(data_bytes / (pos * d_model * DTYPE_BYTES[dtype]))
    batch = max(1, min(wanted, _MATRIX_ENTRIES // pos**2))
    return Shape(model, 1, batch, pos, d_model, "1 layer")


def few_layers(model: str, layers: int, pos: int, data_bytes: int = QUICK_DATA_BYTES) -> Shape:
    """A model's width with only some of its layers, for a machine that is no accelerator (float32)."""
    whole, d_model = MODELS[model]
    batch = max(1, math.ceil(data_bytes / (layers * pos * d_model * 4)))
    note = "" if layers == whole else f"{layers} of {whole} layers"
    return Shape(model, layers, batch, pos, d_model, note)


ANGLES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0, math.pi / 2)


def accuracy_shapes() -> Iterator[Shape]:
    """512 pairs of vectors at one planted angle each: near 0, in the middle, near π."""
    for angle in (*ANGLES, *(math.pi - a for a in reversed(ANGLES[:-1]))):
        near = min(angle, math.pi - angle)
        text = f"{near:.0e}" if near < 0.1 else f"{near:.4g}"
        name = f"angle={text}" if angle <= math.pi / 2 else f"angle=pi-{text}"
        yield Shape(name, 1, 512, 2, 1600, angle=angle)


def _accuracy(backends: tuple[str, ...]) -> list[Group]:
    return [Group("accuracy", shape, "float32", backends) for shape in accuracy_shapes()]


def gpu_groups() -> list[Group]:
    """For one GPU, most wanted first: all models at one length, accuracy, all lengths, the rest."""
    fast, plain = ("fused", "eager"), ("naive", "cosine", "normalize")
    groups = [
        Group(operation, model_shape(model, 1024, dtype), dtype, (*fast, *plain, "loop", "compile"))
        for operation in ("profile", "sequential")
        for model in GPU_MODELS
        for dtype in DTYPE_BYTES
    ]
    groups += _accuracy((*fast, *plain))
    groups += [
        Group(operation, model_shape(model, pos, dtype), dtype, (*fast, *_others(pos, dtype)))
        for pos in LENGTHS
        if pos != 1024
        for operation in ("profile", "sequential")
        for model in GPU_MODELS
        for dtype in DTYPE_BYTES
    ]
    groups += _one_prompt(fast)
    groups += _layers(fast, "gpt2-xl", 1024, (7, 13, 25))
    groups += [
        Group(operation, model_shape(model, pos, dtype), dtype, (*fast, *_others(pos, dtype)[:2]))
        for pos in LENGTHS
        for operation in ("rotation", "pairs")
        for model in GPU_MODELS
        for dtype in DTYPE_BYTES
    ]
    groups += [
        Group(operation, one_layer_shape("gpt2-xl", pos, dtype), dtype, (*fast, "naive", "cosine", "loop"))
        for pos in LENGTHS
        for operation in ("histogram", "pairwise")
        for dtype in DTYPE_BYTES
    ]
    return groups + capture_groups()


def _others(pos: int, dtype: str) -> tuple[str, ...]:
    """Two competitors at every length, those that are slow to run or to compile at some."""
    more = ("cosine", "loop") if pos in (128, 16384, 131072) else ()
    compiled = ("compile",) if (pos, dtype) == (16384, "float32") else ()
    return ("naive", "normalize", *more, *compiled)


def _one_prompt(backends: tuple[str, ...]) -> list[Group]:
    """Lengths where the launches, not the memory, take the time: a single prompt."""
    layers, d_model = MODELS["gpt2-xl"]
    return [
        Group(
            "profile",
            Shape("gpt2-xl", layers, 1, pos, d_model, "1 prompt"),
            "float32",
            (*backends, "naive"),
        )
        for pos in LENGTHS[:6]
    ]


def _layers(backends: tuple[str, ...], model: str, pos: int, counts: tuple[int, ...]) -> list[Group]:
    """Extra memory against the number of layers, with one prompt."""
    return [
        Group(
            "profile",
            few_layers(model, layers, pos, data_bytes=1),
            "float32",
            (*backends, "naive"),
        )
        for layers in counts
    ]


def capture_groups() -> list[Group]:
    """Forward passes of whole models with random weights, one prompt; on a CPU or a GPU."""
    return [
        Group("capture", Shape(model, layers, 1, 1024, d_model), "float32", CAPTURE)
        for model in ("gpt2-small", "gpt2-xl")
        for layers, d_model in (MODELS[model],)
    ]


def quick_groups() -> list[Group]:
    """For two CPU cores in two minutes: full widths and lengths, fewer layers than the models have."""
    fast, plain, few = ("fused", "cpu", "eager"), ("naive", "cosine", "normalize", "loop"), ("naive",)
    trial = Shape("gpt2-small", 13, 8, 1024, 768)
    xl = few_layers("gpt2-xl", 4, 2048)
    groups = [Group("sequential", trial, "float32", (*fast, *plain, "compile"))]
    groups += _accuracy(("cpu", "eager", "naive", "cosine", "normalize"))
    groups += [
        Group("sequential", few_layers("gpt2-xl", layers, pos), "float32", (*fast, *others))
        for pos, layers, others in (
            *((128, 4, plain), (2048, 4, plain), (8192, 4, few)),
            *((32768, 2, few), (131072, 1, few)),
        )
    ]
    groups += [
        Group("profile", few_layers("gpt2-xl", 4, pos), "float32", (*fast, *others))
        for pos, others in ((128, few), (2048, plain))
    ]
    groups += _layers(("cpu", "eager"), "gpt2-xl", 1024, (7, 13, 49))
    groups += [
        Group(operation, few_layers(model, 2, pos), "float32", (*fast, *few))
        for model, pos in (("llama-8b", 2048), ("llama-70b", 1024))
        for operation in ("profile", "sequential")
    ]
    groups += [Group("sequential", xl, "bfloat16", (*fast, "naive", "normalize"))]
    groups += [Group(operation, xl, "float32", (*fast, *plain)) for operation in ("rotation", "pairs")]
    groups += [
        Group(
            operation,
            replace(one_layer_shape("gpt2-xl", 512, "float32"), batch=4),
            "float32",
            (*fast, "naive", "loop"),
        )
        for operation in ("pairwise", "histogram")
    ]
    return groups
