"""What a result holds, by condition: the answer, what was measured, and where both come from."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import xarray as xr

from laminar_lens.arguments import checked
from laminar_lens.axes import PLAIN
from laminar_lens.errors import ResultError
from laminar_lens.escapes import printable
from laminar_lens.results.complete import complete, from_json
from laminar_lens.results.hashes import answers_sha256, measured_sha256
from laminar_lens.results.storage import write_tree
from laminar_lens.results.tree import answer_of, described, measured_of, names, of_dataset
from laminar_lens.results.values import canonical

if TYPE_CHECKING:
    from laminar_lens.figures.view import View


class Numbers:
    """What a result holds: the numbers of one study, and what is said of them.

    Attributes:
        dataset: the answer of the plain run, an xarray dataset; angles in radians. Its attributes hold the
            sentence, settings, provenance and warnings.
        measured: what the plain run measured, by text, from which the answer follows; None where the result
            does not hold it.
        tree: both for every condition, and the other studies that they rest on (`part`).
    """

    study: ClassVar[str | None] = None
    """The only kind of study that a subclass takes; None takes any."""

    def __init__(self, dataset: xr.Dataset | xr.DataTree) -> None:
        tree = of_dataset(dataset)
        kind = tree.attrs.get("study")
        if not isinstance(kind, str) or self.study not in (None, kind):
            wanted = repr(self.study) if self.study else "the name of a study"
            raise ResultError(
                f"the dataset's attribute study is {kind!r}; {type(self).__name__} takes {wanted}"
            )
        self.tree = tree
        self.dataset = canonical(answer_of(tree, PLAIN))
        self.measured = measured_of(tree, PLAIN)

    @property
    def kind(self) -> str:
        """Which study this is: "sequential", "warmup"."""
        return str(self.dataset.attrs["study"])

    @property
    def sentence(self) -> str:
        """The answer in one plain sentence; of several conditions that of the plain run, and which others
        there are."""
        said = str(self.dataset.attrs.get("sentence", ""))
        beside = ", ".join(self.conditions[1:])
        return f"{said} Beside the plain run: {beside}.".strip() if beside else said

    @property
    def provenance(self) -> dict[str, Any]:
        """Model, versions, texts' hash, backend, seed, date; see `make_provenance`."""
        found = dict(from_json("provenance", self.dataset.attrs, {}))
        return {**found, "interventions": described(self.tree)} if self.conditions[1:] else found

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of the study, as they were used."""
        found = dict(from_json("settings", self.dataset.attrs, {}))
        if not self.conditions[1:]:
            return found
        done = described(self.tree)
        labels = {name: [str(one["label"]) for one in done[name]] for name in self.conditions[1:]}
        return {**found, "interventions": labels}

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before trusting a number; what holds of one condition alone, with its
        name."""
        plain = _warnings(self.dataset)
        beside = ((name, _warnings(answer_of(self.tree, name))) for name in self.conditions[1:])
        return plain + [f"{name}: {said}" for name, own in beside for said in own if said not in plain]

    @property
    def numbers_sha256(self) -> str:
        """SHA-256 of the answers' numbers: equal for two runs that gave the same, whatever their date."""
        return answers_sha256(self.tree)

    @property
    def measured_sha256(self) -> str | None:
        """SHA-256 of what was measured, likewise; None where the result does not hold it."""
        return measured_sha256(self.tree)

    @property
    def conditions(self) -> tuple[str, ...]:
        """What was measured: "plain", then each condition with interventions."""
        return names(self.tree)

    @checked()
    @complete
    def contrast(self, a: str, b: str = PLAIN, what: str | None = None) -> xr.Dataset:
        """Condition `a` minus condition `b`, paired within each text.

        Args:
            a, b: names of `conditions`.
            what: a variable with one value for each text; by default the angle of each adjacent pair, or what
                the study is about.

        Returns:
            `difference` with the 95% interval `low` … `high` over texts (bootstrap-t, each entry by itself),
            the means `a` and `b`, and the number of texts `n`; dims those of `what` without texts, in its
            unit. NaN where nothing is defined; below 20 texts the ends are NaN and the attribute `withheld`
            says why.

        Raises:
            InputError: a name or variable that is not there, or twice the same condition.

        Source: Efron & Tibshirani (1993), 12.5.
        """
        from laminar_lens.results.contrasts import contrast

        return contrast(self.tree, self.view, a, b, what, self._seed())

    def _seed(self) -> int:
        return int(self.provenance.get("seed") or 0)

    @property
    def view(self) -> "View":
        """How results of this study are shown."""
        from laminar_lens.studies.registry import view_of

        return view_of(self.kind)

    @property
    def flags(self) -> dict[str, str]:
        """How the settings of its study are given on the command line, by their name in Python."""
        from laminar_lens.studies.options import flags_of

        return flags_of(self.kind)

    @checked()
    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a netCDF file, whole or not at all, that `load_result` reads back identically.

        Raises:
            ResultError: it cannot be written; an earlier file at `path` is kept.
        """
        return write_tree(self.tree, path)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{printable(name)} {size}" for name, size in self.dataset.sizes.items())
        return f"<{type(self).__name__} {printable(self.kind)}: {sizes}>\n{printable(self.sentence)}"


def _warnings(dataset: xr.Dataset) -> list[str]:
    return [str(warning) for warning in from_json("warnings", dataset.attrs, [])]
