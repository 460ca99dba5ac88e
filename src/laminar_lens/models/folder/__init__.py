"""Model folders, which anybody may have written: checked before anything of them is built.

Everything here works with the standard library, so that a folder that cannot be loaded is refused at once:
its files are regular and of a sane length (`files`), the weights are what they announce (`weights`,
`headers`, `checkpoints`), the configuration fits them (`config`), the tokenizer's ids lie within the
vocabulary (`tokenizer`), and it works (`trial`). No code of the folder runs, no pickle is loaded, no tensor
read.
"""

import os
import stat
from pathlib import Path

from laminar_lens.errors import ModelError
from laminar_lens.models.folder.config import check_config, vocabulary_size
from laminar_lens.models.folder.files import FolderError, kind, present, quoted, read_json
from laminar_lens.models.folder.tokenizer import check_tokenizer
from laminar_lens.models.folder.trial import try_tokenizer
from laminar_lens.models.folder.weights import stored_weights

__all__ = ["check_folder", "refuse_adapter"]


def check_folder(folder: Path, *, embedded: bool = False) -> None:
    """Refuses a Hugging Face folder that cannot be loaded, as far as its files tell.

    Args:
        folder: holds config.json, weights and a tokenizer.
        embedded: it came with this package.

    Raises:
        ModelError: one line with the file, its value, what was expected and what to do.
    """
    try:
        _check(folder, trial=not embedded)
    except FolderError as error:
        remedy = (
            "install laminar-lens again"
            if embedded
            else error.remedy or "copy it again, or download it again"
        )
        raise ModelError(f"model folder {str(folder)!r}: {error}: {remedy}") from None


def _check(folder: Path, trial: bool) -> None:
    _refuse_special_files(folder)
    refuse_adapter(folder)
    if not present(folder / "config.json"):
        raise FolderError(
            "it has no config.json", "give the folder that holds the model's config.json and weights"
        )
    config = read_json(folder / "config.json")
    if present(folder / "generation_config.json"):
        read_json(folder / "generation_config.json")
    check_config(config, stored_weights(folder, config))
    check_tokenizer(folder, vocabulary_size(config))
    if trial and present(folder / "tokenizer.json"):
        try_tokenizer(folder / "tokenizer.json")


def refuse_adapter(folder: Path) -> None:
    """Weights beside which an adapter lies are not the model that its owner runs.

    Raises:
        FolderError: names its base.
    """
    if not present(folder / "adapter_config.json"):
        return
    base = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
    of = f" of {quoted(base)}" if base else ""
    raise FolderError(
        f"it holds an adapter{of} (adapter_config.json), which is no model by itself",
        "merge it into its base (peft's merge_and_unload), save that, and give its folder",
    )


def _refuse_special_files(folder: Path) -> None:
    """A FIFO or a device under any name: whoever opens it may wait for ever."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    mode = entry.stat().st_mode
                except OSError:
                    continue  # a link that leads nowhere: refused where its name is one that is read
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    raise FolderError(
                        f"{entry.name!r} in it is {kind(mode)}; expected regular files", "remove that file"
                    )
    except OSError as error:
        raise FolderError(f"it cannot be read ({error.strerror})", "check its permissions") from None
