"""Where a model's name leads: a folder, a .gguf file, the Hub; known before anything heavy is imported."""

import ast
import difflib
import importlib.util
import json
import os
import re
import stat
from functools import cache
from pathlib import Path
from typing import Any

from laminar_lens.errors import ModelError, a_kind
from laminar_lens.models.folder import check_folder
from laminar_lens.models.folder.files import kind
from laminar_lens.models.gguf import check_gguf
from laminar_lens.models.smollm2 import SMOLLM2, smollm2_file

NOVELLA = Path(__file__).parent / "embedded" / "novella"
EMBEDDED = "novella"
WRITES_ITS_TEXTS = (EMBEDDED,)
"""Shipped models whose texts are sampled unless others are asked for: novella learnt from old novels."""

SUFFIX = ".gguf"
SPREADS = ("auto", "balanced", "sequential")
"""Ways to spread a model over devices that Hugging Face knows by name."""

LONGEST_SHOWN = 300  # letters of a name in a message that quotes it

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def check_name(name_or_path: object) -> None:
    """Refuses a name that cannot be a model; loads nothing and takes no network.

    A folder or a .gguf file is checked as far as its files tell without being loaded. A name of the form
    owner/name is only checked for its form: the Hub has more models than anybody lists.

    Raises:
        ModelError: empty or malformed name, a name TransformerLens does not know (with near matches), a path
            at which there is nothing, a folder or file that cannot be loaded (see `check_folder` and
            `check_gguf`), or a package that is not installed.
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise ModelError(
            f"model is {a_kind(name_or_path)}; give a name or a folder (a model that you built is "
            "passed to the studies as it is)"
        )
    path = local_path(name_or_path)
    if path is not None:
        if path.is_dir():
            check_folder(path, embedded=path == NOVELLA)
        else:
            check_gguf(path)
        return
    name = os.fsdecode(name_or_path)
    if not _HUB_NAME.fullmatch(name):
        raise ModelError(
            f"model {name!r}: no such folder, and not the name of a model{suggestion(name) or '; check it'}"
        )
    if "/" not in name and _names() and official_name(name) is None:
        raise ModelError(
            f"model {name!r} is not known to TransformerLens{suggestion(name)}; "
            "a model of the Hugging Face Hub is called owner/name"
        )


def local_path(name_or_path: Any) -> Path | None:
    """The folder or the .gguf file that a name means, or None where it is the name of a Hub model.

    Raises:
        ModelError: the name is empty, a path at which there is neither, or a package that is not installed.
    """
    name = os.fsdecode(name_or_path)
    if not name.strip():
        raise ModelError(
            f"model {name!r}: the name is empty; give 'novella', a TransformerLens name or a folder"
        )
    if name == EMBEDDED:
        return NOVELLA
    if name == SMOLLM2:
        return smollm2_file()
    path, mode = _looked_up(name)
    if mode is not None and (stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and path.suffix == SUFFIX)):
        return path
    if mode is not None:
        what = "a file" if stat.S_ISREG(mode) else kind(mode)
        raise ModelError(
            f"model {name!r} is {what}; give the Hugging Face folder that holds config.json and weights, or "
            f"a {SUFFIX} file"
        )
    written = isinstance(name_or_path, Path) or name.startswith((".", "/", "~")) or name.endswith(SUFFIX)
    if written or name.count("/") > 1:
        what = "file" if name.endswith(SUFFIX) else "folder"
        raise ModelError(f"model {_shown(name)}: no such {what}; check the path")
    return None


def _looked_up(name: str) -> tuple[Path, int | None]:
    """The path that a name means, and the mode of what is there; None where nothing is.

    Raises:
        ModelError: no path can be so (too long, a link loop, a null byte, an unknown user's home), or it may
            not be looked at.
    """
    try:
        path = Path(name).expanduser()
        return path, path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return path, None
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except (ValueError, RuntimeError) as error:  # a null byte or a lone surrogate; no such user
        reason = str(error)
    raise ModelError(f"model {_shown(name)}: no such folder ({reason}); check the path")


def _shown(name: str) -> str:
    """A name for a message, cut where nobody would read on."""
    return repr(name if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]}…")


def without_path(name: str) -> str:
    """The name of a model in results: of a path only the last part, for results are passed on, and where a
    model lies is of this machine.

    >>> without_path("/home/me/models/my-gpt2"), without_path("EleutherAI/pythia-70m")
    ('my-gpt2', 'EleutherAI/pythia-70m')
    """
    own = name in (EMBEDDED, SMOLLM2)
    if own or not (name.startswith(("/", "~", ".")) or os.path.isdir(name)):
        return name
    last = os.path.basename(os.path.realpath(os.path.expanduser(name)))
    return f"{last} (a folder)" if last in (EMBEDDED, SMOLLM2) else last


def near_matches(name: str) -> list[str]:
    """The known names nearest to a misspelt one, best first; empty if none is near."""
    spellings = {own: own for own in (EMBEDDED, SMOLLM2)} | {known.lower(): known for known in _names()}
    return [spellings[near] for near in difflib.get_close_matches(name.lower(), spellings, cutoff=0.6)]


def official_name(name: str) -> str | None:
    """The Hub name that TransformerLens means by a name or alias, whatever its case; None if it lists no such
    name."""
    return {known.lower(): official for known, official in _names().items()}.get(name.lower())


@cache
def _names() -> dict[str, str]:
    """Every name and alias that TransformerLens lists, with its Hub name; read from its files without
    importing it."""
    spec = importlib.util.find_spec("transformer_lens")
    if spec is None or spec.origin is None:
        return {}
    package = Path(spec.origin).parent
    official, aliases = [], {}
    listing = package / "supported_models.py"
    for node in ast.parse(listing.read_text(encoding="utf-8")).body if listing.is_file() else []:
        target = getattr(
            node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None), "id", ""
        )
        value = getattr(node, "value", None)
        if target == "OFFICIAL_MODEL_NAMES" and isinstance(value, ast.List):
            official = ast.literal_eval(value)
        if target == "MODEL_ALIASES" and isinstance(value, ast.Dict):
            aliases = ast.literal_eval(value)
    table = package / "tools" / "model_registry" / "data" / "model_aliases.json"
    if not aliases and table.is_file():
        aliases = _read_json(table).get("aliases", {})
    return {
        **{alias: name for name, spellings in aliases.items() for alias in spellings},
        **{name: name for name in (*aliases, *official)},
    }


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{str(file)!r} is not valid JSON ({error}): install it again") from None
    if not isinstance(content, dict):
        raise ModelError(f"{str(file)!r} is not valid, expected a JSON object: install it again")
    return content


def suggestion(name: str) -> str:
    """A question with the near matches, to go on with a message; empty if there are none."""
    near = near_matches(name)
    return f"; did you mean {' or '.join(near)}?" if near else ""
