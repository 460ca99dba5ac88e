"""A local cache of the Hugging Face Hub, written by hand as huggingface_hub lays it out."""

import hashlib
import os
import shutil
from pathlib import Path


def put(cache: Path, name: str, folder: Path, *refs: str) -> str:
    """Puts a model's files into a cache under a name, as the state that `refs` mean; returns its commit."""
    commit = hashlib.sha1(f"{name} {folder}".encode()).hexdigest()
    repo = cache / f"models--{name.replace('/', '--')}"
    snapshot, blobs = repo / "snapshots" / commit, repo / "blobs"
    for place in (snapshot, blobs, repo / "refs"):
        place.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        blob = blobs / hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    for ref in refs:
        (repo / "refs" / ref).write_text(commit)
    return commit
