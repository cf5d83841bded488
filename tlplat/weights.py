"""Weights in a file of the user's, safetensors or torch, told by content; nothing in the file is ever executed."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from tlplat.archives import check_member
from tlplat.disk import read_errors
from tlplat.errors import ModelError
from tlplat.tensorfile import damaged, read_tensors

NESTS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model")
"""Where training scripts put a model's tensors beside epoch and optimiser; the first that is there counts."""
MOST_RATIO = 100
"""torch stores tensors uncompressed; a zip that swells more than this is a bomb."""
_GLOBAL = re.compile(r"(?:GLOBAL|Unsupported global:)\s+(?:GLOBAL\s+)?([\w.]+)")
_TO_CONVERT = (
    "in the program that made the file, convert it: safetensors.torch.save_file(model.state_dict(), 'm.safetensors')"
)


def read_weights(path: Path) -> dict[str, Any]:
    """Tensors by name, on the CPU: of a safetensors file, or of a state dict that ``torch.save`` wrote.

    A training checkpoint gives its model's part, and ``module.`` before every name is taken off.

    Raises:
        ModelError TL-MODEL-UNSAFE: the file holds objects that loading would have to run (a whole module, TorchScript,
            joblib, dill, npz). TL-MODEL-CORRUPT: empty, truncated, no weights. TL-MODEL-TOO-BIG: a decompression bomb.
            TL-MODEL-FORMAT: no tensors by name. What :func:`tlplat.storage.read_tensors` raises.
        ResourceError TL-IO-READ: missing or unreadable.
    """
    head = _head(path)
    if not head:
        raise damaged(path, "it has 0 bytes")
    if _is_safetensors(head):
        return read_tensors(path)[0]
    if head.startswith(b"PK"):
        _look_into_zip(path)
    elif head[:1] == b"\x80" and head[:2] != b"\x80\x02":
        raise _unsafe(path, "it is a pickle of joblib, dill or others, which is not supported")
    return _tensors(_loaded(path), path)


def need_one_file(folder: Path, name: str = "model.safetensors") -> Path:
    """The one weights file of a folder as transformers saves it.

    Raises:
        ModelError TL-MODEL-PATH: an index of several files names one outside of the folder. TL-MODEL-FORMAT: several
            files, or none in safetensors.
    """
    weights, index = folder / name, folder / f"{name}.index.json"
    if weights.is_file():
        return weights
    for part in sorted(_parts(index)) if index.is_file() else ():
        try:
            check_member(part)
        except ValueError as error:
            raise ModelError(
                "TL-MODEL-PATH",
                f"{index.name} is refused: it names a file outside of its folder",
                where=str(index),
                found=part[:200],
                fix="take the folder from where it was made, and save it in one file",
            ) from error
    others = sorted(p.name for p in folder.glob("*") if p.suffix in (".bin", ".pt", ".pth", ".h5", ".safetensors"))
    raise ModelError(
        "TL-MODEL-FORMAT",
        f"{folder} holds no {name}; other weights are not opened",
        where=str(weights),
        found=", ".join(others) or "no weights",
        fix="load the model once with transformers and save it in one file: "
        "model.save_pretrained(FOLDER, safe_serialization=True, max_shard_size='100GB')",
    )


def _parts(index: Path) -> set[str]:
    """The files that an index of shards names."""
    with read_errors(index):
        text = index.read_bytes()
    try:
        return {str(value) for value in json.loads(text)["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(index, "it is no index of weights") from error


def metadata_of(path: Path) -> dict[str, str]:
    """Metadata of a safetensors file that :func:`read_weights` reads; of a file of torch's none."""
    return read_tensors(path)[1] if _is_safetensors(_head(path)) else {}


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and not head.startswith(b"PK")


def _head(path: Path) -> bytes:
    with read_errors(path), open(path, "rb") as file:
        return file.read(16)


def _look_into_zip(path: Path) -> None:
    """What the archive's directory says, before anything is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise damaged(path, f"it is truncated or no whole archive ({error})") from error
    swollen = sum(m.file_size for m in members)
    if swollen > MOST_RATIO * path.stat().st_size:
        raise ModelError(
            "TL-MODEL-TOO-BIG",
            f"{path.name} swells beyond a ratio of {MOST_RATIO}:1 when it is decompressed",
            where=str(path),
            found=f"{path.stat().st_size} bytes that become {swollen}",
            fix="save the weights as torch does, uncompressed, or as safetensors",
        )
    if any(m.filename.endswith(".npy") for m in members):
        raise _unsafe(path, "it is a NumPy archive, whose objects need allow_pickle, which is never set")
    if any("/code/" in m.filename or m.filename.endswith("/constants.pkl") for m in members):
        raise _unsafe(path, "it is a TorchScript archive, which is executable code")


def _loaded(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever a broken stream makes it stumble over
        text = str(error)
        asked = _GLOBAL.search(text)
        if asked is not None:
            raise _unsafe(path, f"it asks for {asked[1]}, and a state_dict needs tensors alone") from error
        if "Weights only load failed" in text or "magic number" in text.lower():
            raise _unsafe(path, "it is a pickle that is not supported: no state_dict that torch.save wrote") from error
        raise damaged(path, f"it is truncated or no weights file ({type(error).__name__})") from error


def _tensors(found: Any, path: Path) -> dict[str, Any]:
    import torch

    if isinstance(found, Mapping):
        for name in NESTS:
            if isinstance(found.get(name), Mapping):
                found = found[name]
                break
        tensors = {str(k): v for k, v in found.items() if isinstance(v, torch.Tensor)}
        if tensors:
            parallel = all(name.startswith("module.") for name in tensors)
            return {name.removeprefix("module.") if parallel else name: t for name, t in tensors.items()}
    _no_state(found, path)


def _no_state(found: Any, path: Path) -> NoReturn:
    raise ModelError(
        "TL-MODEL-FORMAT",
        f"{path.name} holds no tensors by name",
        where=str(path),
        found=type(found).__name__,
        expected="a state_dict",
        fix="save model.state_dict()",
    )


def _unsafe(path: Path, why: str) -> ModelError:
    return ModelError("TL-MODEL-UNSAFE", f"{path.name} is refused: {why}", where=str(path), fix=_TO_CONVERT)
