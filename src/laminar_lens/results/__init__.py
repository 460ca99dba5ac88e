"""Results: xarray datasets with names, units and provenance that save, load and present themselves."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laminar_lens.arguments import checked
from laminar_lens.axes import PLAIN
from laminar_lens.errors import InputError
from laminar_lens.files import atomic_path, write_text
from laminar_lens.results.complete import complete
from laminar_lens.results.geometries import geometry_rows
from laminar_lens.results.numbers import Numbers
from laminar_lens.results.provenance import label_dataset, make_provenance, texts_fingerprint
from laminar_lens.results.summary import Summary, claim_rows, json_safe
from laminar_lens.results.tree import make_tree, only, part_answers, part_tree, parts_of
from laminar_lens.tables import Table

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "StudyResult",
    "Summary",
    "atomic_path",
    "claim_rows",
    "json_safe",
    "label_dataset",
    "load_result",
    "make_provenance",
    "make_tree",
    "texts_fingerprint",
    "write_text",
]


class StudyResult(Numbers):
    """The outcome of one study: every number with its axes, and what is needed to trust and repeat it.

    Attributes:
        dataset: the answer of the plain run, an xarray dataset; angles in radians. Its attributes hold the
            sentence, settings, provenance and warnings.
        measured: what the plain run measured, by text, from which the answer follows; None where the result
            does not hold it.
        tree: both for every condition, and the other studies that they rest on (`part`).
    """

    @checked()
    @complete
    def condition(self, name: str) -> "StudyResult":
        """The result of one condition, as its study alone would have given it.

        Raises:
            InputError: no such condition; the message names those there are.
        """
        return type(self)(only(self.tree, name))

    @checked()
    @complete
    def part(self, kind: str) -> "StudyResult":
        """Another study that this one rests on, such as "warmup" in a sequential result, as a result of that
        study with what it measured.

        Raises:
            InputError: it rests on no such study; the message names those that it rests on.
        """
        from laminar_lens.studies.registry import result_class

        tree = part_tree(self.tree, kind)
        return result_class(kind)(tree)

    @checked()
    @complete
    def answer(self, /, **options: Any) -> "StudyResult":
        """The same measurement answered again under other options of the study, or of one that it rests on,
        such as `tau=0.1`; needs no model.

        Raises:
            InputError: an option that the study has not, or that decides what is measured; a result without
                its measurement.
        """
        from laminar_lens.studies.answering import answer_again

        return answer_again(self, options)

    def parts(self) -> "list[StudyResult]":
        """All of them, as the plain run rests on them."""
        return [self.part(kind) for kind in parts_of(self.tree, PLAIN)]

    @complete
    def tables(self) -> dict[str, Table]:
        """Every table by its key, in reading order: the claims, numbers by layer, contrasts, geometries.

        With several conditions: those of the plain run, and the contrasts of the others with it.
        """
        from laminar_lens.results.tables import tables

        return tables(self.tree, self.view, self._seed())

    @checked()
    def table(self, name: str) -> Table:
        """One of `tables()`; its `to_csv(path)` writes it.

        Raises:
            InputError: no such table; the message names those there are.
        """
        found = self.tables()
        if name not in found:
            raise InputError(f"no table {name!r} in this result; it has {', '.join(found) or 'none'}")
        return found[name]

    @checked()
    @complete
    def attach(self, table: Table) -> "StudyResult":
        """The result with one more table, kept in its file and shown wherever its own are: the sensitivity
        grid, say. One of the same key is replaced."""
        from laminar_lens.results.tables import with_table

        return type(self)(with_table(self.tree, table))

    @checked()
    @complete
    def to_dataframe(self, name: str | None = None) -> "pd.DataFrame | dict[str, pd.DataFrame]":
        """The numbers as tidy tables of pandas: one a quantity, a row for each place on its axes.

        Columns are the axes (`condition` first where there are several), labels along them such as `text`,
        and the quantity with its interval's ends, under their names in the dataset; `attrs` has their units.
        Places where a number does not exist have no row.

        Args:
            name: a variable of `dataset` or `measured`, or "claims"; without it every quantity of `dataset`,
                by name.

        Raises:
            InputError: no such quantity; the message names those there are.
        """
        from laminar_lens.results.frames import frame, frames

        return frames(self.tree) if name is None else frame(self.tree, name)

    @complete
    def summary(self) -> Summary:
        """Sentence, claims, numbers by layer, settings, provenance, warnings; `str()` is a readable table.

        With several conditions: those of the plain run, and the contrasts of the others with it.
        """
        tables = self.tables()
        rows = {key: table.rows() for key, table in tables.items()}
        return Summary(
            {
                **{key: [] for key in ("by_layer", "claims", "contrasts", "geometries")},
                **rows,
                "geometries": geometry_rows(self.dataset, self.view.geometries),
                "study": self.kind,
                "sentence": self.sentence,
                "tables": {key: table.json() for key, table in tables.items()},
                "settings": self.settings,
                "parts": {part.kind: part.about() for part in self.parts()},
                "provenance": {**self.provenance, "numbers_sha256": self.numbers_sha256},
                "warnings": self.warnings,
            }
        )

    def about(self) -> dict[str, Any]:
        """Sentence, settings and hash: what a study that rests on this one says of it, JSON-safe."""
        said = {"sentence": self.sentence, "settings": self.settings, "numbers_sha256": self.numbers_sha256}
        return dict(json_safe(said))

    @complete
    def figures(self) -> dict[str, Any]:
        """Every plotly figure of the study by name; angles in radians left, in degrees on the right axis.

        With several conditions: those of the plain run, and one of the contrasts with it.
        """
        from laminar_lens.figures.contrasts import contrasts
        from laminar_lens.results.contrasts import contrast_curves

        found = self.view.figures(self.dataset, part_answers(self.tree, PLAIN))
        if len(self.conditions) == 1:
            return dict(found)
        drawn = contrasts(contrast_curves(self.tree, self.view, self._seed()))
        return dict(found) if drawn is None else {"contrasts": drawn, **found}

    @checked()
    @complete
    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write one self-contained HTML page: sentence, claims, figures, provenance; it needs no network.

        Raises:
            ResultError: it cannot be written; an earlier file at `path` is kept.
        """
        from laminar_lens.report import render

        return write_text(path, render(self))

    @checked()
    @complete
    def write_figures(self, folder: str | os.PathLike[str], format: str = "svg") -> dict[str, Path]:
        """Write every figure as a file of its own, drawn by a Chromium that is installed, with Playwright
        (`pip install 'laminar-lens[figures]'`); the files by the figures' names.

        Args:
            folder: made where it is not there.
            format: "svg", "png" (twice 900 pixels wide) or "pdf".

        Raises:
            InputError: another format.
            ResultError: there is no Chromium or no Playwright, or a file cannot be written.
        """
        from laminar_lens.report.pictures import write_figures

        return write_figures(self, Path(folder), format)

    @complete
    def _repr_html_(self) -> str:
        from laminar_lens.results.notebook import as_html

        return as_html(self.sentence, claim_rows(self.dataset))


@checked()
def load_result(path: str | os.PathLike[str]) -> StudyResult:
    """Read a file that `save` wrote, as the class of its study.

    Raises:
        ResultError: missing, truncated, foreign, altered, with a part of another kind, or written by a newer
            version. A file that lacks a variable loads, and says so where it is shown.
    """
    from laminar_lens.results.reading import read_known

    made, tree = read_known(path)
    return made(tree)
