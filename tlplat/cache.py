"""A cache by content, shared by processes: what is found under a key is what the key's computation gives, or nothing.

Layout: ``root/kind/key[:2]/key.safetensors`` for tensors, ``root/kind/key[:2]/key/`` for folders, ``key.lock`` beside.
A cache that cannot be written to slows a run and never ends it.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlplat import disk
from tlplat.errors import ModelError, ResourceError
from tlplat.storage import (
    check_manifest,
    clean_temporaries,
    lock,
    read_manifest,
    read_tensors,
    write_manifest,
    write_tensors,
)

if TYPE_CHECKING:
    from torch import Tensor

_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_IO_CODES = ("TL-IO-ENOSPC", "TL-IO-WRITE")


def cache_root() -> Path:
    """``TLPLAT_CACHE_DIR``, else the platform's cache folder of the user, for assets, sources, features."""
    if chosen := os.environ.get("TLPLAT_CACHE_DIR"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("tlplat"))


class TensorCache:
    """Tensors and folders under content keys.

    Args:
        root: the cache's root; made when first written to. What killed writers left below it is removed now.
        warn: told when an entry is damaged, and once when the cache cannot be written to.
        notice: told when another process is computing what is asked for.
    """

    def __init__(self, root: Path, warn: Callable[[str], None], notice: Callable[[str], None] | None = None) -> None:
        self.root = Path(root)
        self._warn, self._notice = warn, notice
        self._disabled = False
        self._spare: Path | None = None
        with suppress(OSError):
            clean_temporaries(self.root)

    def get_or_compute(self, kind: str, key: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors under ``key``, computed and kept where they are not there or are damaged.

        Processes that ask for one key at once wait for the first. All get equal bytes, on the CPU, row-major, each in
        memory of its own, in alphabetical order, whether they were computed or read.
        """
        place = self._place(kind, key)
        path = place.with_name(key + ".safetensors")
        found = self._read(path, kind, key, quiet=True)
        if found is not None:
            return found
        with self._locked(place):
            found = self._read(path, kind, key)
            if found is not None:
                return found
            tensors = {name: _own(tensor) for name, tensor in sorted(compute().items())}
            if not self._disabled:
                try:
                    write_tensors(path, tensors, {"kind": kind, "key": key})
                except ResourceError as error:
                    self._disable(error)
            return tensors

    def get_folder_or_build(self, kind: str, key: str, build: Callable[[Path], None]) -> Path:
        """The folder under ``key``, its files checked against its manifest, built where it is missing or damaged.

        ``build`` fills an empty folder; a manifest that it writes there keeps its further entries. Where the cache
        cannot be written to, the folder is a temporary one that lives as long as this object.
        """
        place = self._place(kind, key)
        if self._whole(place, kind, key, quiet=True):
            return place
        with self._locked(place):
            if self._whole(place, kind, key):
                return place
            if not self._disabled:
                try:
                    self._build(place, kind, key, build)
                    return place
                except ResourceError as error:
                    if error.code not in _IO_CODES:
                        raise
                    self._disable(error)
            if self._spare is None:
                self._spare = Path(tempfile.mkdtemp(prefix="tlplat-"))
                weakref.finalize(self, shutil.rmtree, self._spare, ignore_errors=True)
            spare = self._spare / kind / key
            if not spare.exists():
                self._build(spare, kind, key, build)
            return spare

    def has_folder(self, kind: str, key: str) -> bool:
        """Whether a folder stands under ``key``, whole or not."""
        return self._place(kind, key).is_dir()

    def _place(self, kind: str, key: str) -> Path:
        if not (_WORD.fullmatch(kind) and _WORD.fullmatch(key)):
            raise ValueError(f"kind and key are words of letters, digits, '-' and '_', not {kind!r}, {key!r}")
        return self.root / kind / key[:2] / key

    def _build(self, place: Path, kind: str, key: str, build: Callable[[Path], None]) -> None:
        with disk.write_errors(place), disk.temporary_folder(place) as work:
            build(work)
            extra: dict[str, Any] = {}
            with suppress(ModelError):
                extra = read_manifest(work)
            write_manifest(work, {**extra, "cache": {"kind": kind, "key": key}})
            disk.replace_folder(work, place)

    def _read(self, path: Path, kind: str, key: str, quiet: bool = False) -> dict[str, Tensor] | None:
        if not path.exists():
            return None
        try:
            tensors, metadata = read_tensors(path, require_checksum=True)
        except (ModelError, ResourceError) as error:
            reason = error.message
        else:
            if metadata == {"kind": kind, "key": key}:
                return tensors
            reason = "it belongs to another key"
        if not quiet:
            self._warn(f"cache entry {kind}/{key[:12]} is damaged and is recomputed: {reason}")
        return None

    def _whole(self, place: Path, kind: str, key: str, quiet: bool = False) -> bool:
        if not place.exists():
            return False
        try:
            if check_manifest(place).get("cache") == {"kind": kind, "key": key}:
                return True
            reason = "it belongs to another key"
        except ModelError as error:
            reason = error.message
        if not quiet:
            self._warn(f"cache entry {kind}/{key[:12]} is damaged and is recomputed: {reason}")
        return False

    @contextmanager
    def _locked(self, place: Path) -> Iterator[None]:
        with ExitStack() as stack:
            if not self._disabled:
                try:
                    stack.enter_context(lock(place.with_name(place.name + ".lock"), self._notice))
                except (ResourceError, OSError, NotImplementedError) as error:
                    self._disable(error)
            yield

    def _disable(self, error: Exception) -> None:
        reason = error.message if isinstance(error, ResourceError) else str(error)
        self._disabled = True
        self._warn(f"cache disabled, results are not kept: {reason}")


def _own(tensor: Tensor) -> Tensor:
    import torch

    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
