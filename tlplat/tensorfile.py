"""safetensors files that check themselves.

The same tensors give the same bytes. The metadata hold a SHA-256 over the whole file (with zeros in its own place),
so that one flipped bit anywhere is noticed on reading; other programs read the file as any safetensors file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlplat.disk import Buffer, read_errors, write_chunks
from tlplat.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

CHECKSUM = "tlplat.sha256"
_ZEROS = "0" * 64
_MAX_HEADER = 100_000_000
_BLOCK = 1 << 20
_CODES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}
"""torch dtype -> its name in the format (github.com/huggingface/safetensors, README)."""


def write_tensors(path: Path | str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors of any layout or device, row-major; shared storage is written once for each name.

    Raises:
        TypeError: a dtype that safetensors does not have (complex128, quantised) or a sparse tensor.
        ResourceError TL-IO-ENOSPC, TL-IO-WRITE: the previous file stays.
    """
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header = _header(ordered, metadata or {})
    digest = hashlib.sha256(header)
    for chunk in _data(ordered):
        digest.update(chunk)
    sealed = header.replace(_sealed(_ZEROS), _sealed(digest.hexdigest()), 1)

    def chunks() -> Iterator[Buffer]:
        yield sealed
        yield from _data(ordered)

    write_chunks(Path(path), chunks())


def read_tensors(
    path: Path | str, device: str = "cpu", *, require_checksum: bool = False
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name in alphabetical order, each in memory of its own, and the metadata without the checksum.

    The checksum is verified where there is one; ``require_checksum`` refuses a file without.

    Raises:
        ModelError TL-MODEL-CORRUPT, TL-MODEL-DTYPE: the file is no valid safetensors file, or its checksum differs.
        ResourceError TL-IO-READ: missing or unreadable.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        with read_errors(path):
            known = _verify(path)
            if require_checksum and not known:
                raise damaged(path, "it has no checksum")
            # by descriptor: safe_open refuses a path that is not UTF-8
            with open(path, "rb") as raw, safe_open(f"/dev/fd/{raw.fileno()}", framework="pt") as file:
                # clone: memory aligned as torch aligns it, so that a result does not depend on where a tensor came from
                tensors = {name: file.get_tensor(name).clone() for name in sorted(file.keys())}
                metadata = dict(file.metadata() or {})
    except SafetensorError as error:
        if "unknown variant" in str(error):
            raise ModelError(
                "TL-MODEL-DTYPE",
                f"{path} holds a dtype that is not known: {error}",
                where=str(path),
                fix="save the tensors as float32, bfloat16 or int64",
            ) from error
        raise damaged(path, str(error)) from error
    metadata.pop(CHECKSUM, None)
    return {name: t.to(device) for name, t in tensors.items()}, metadata


def _header(ordered: list[tuple[str, Tensor]], metadata: Mapping[str, str]) -> bytes:
    """Length and JSON, padded to 8 bytes, with zeros for the checksum."""
    document: dict[str, Any] = {"__metadata__": {CHECKSUM: _ZEROS, **dict(sorted(metadata.items()))}}
    start = 0
    for name, tensor in ordered:
        code = _CODES.get(str(tensor.dtype).removeprefix("torch."))
        if code is None or tensor.layout != _strided():
            raise TypeError(f"tensor {name!r} of {tensor.dtype}, {tensor.layout} has no safetensors form")
        if name == "__metadata__":
            raise ValueError("a tensor cannot be named '__metadata__'")
        end = start + tensor.numel() * tensor.element_size()
        document[name] = {"dtype": code, "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _strided() -> Any:
    import torch

    return torch.strided


def _data(ordered: list[tuple[str, Tensor]]) -> Iterator[Buffer]:
    import torch

    for _, tensor in ordered:
        if tensor.numel():
            plain = tensor.detach().cpu().resolve_neg().contiguous()
            yield plain.reshape(-1).view(torch.uint8).numpy().data


def _sealed(digest: str) -> bytes:
    return f'{{"__metadata__":{{"{CHECKSUM}":"{digest}"'.encode()


def _verify(path: Path) -> bool:
    """Check the file's own checksum; False where it has none."""
    with open(path, "rb") as file:
        length = file.read(8)
        size = int.from_bytes(length, "little")
        if len(length) < 8 or size > _MAX_HEADER:
            return False  # the library refuses it and says why
        header = file.read(size)
        match = re.match(re.escape(_sealed("*")).replace(rb"\*", rb"([0-9a-f]{64})"), header)
        if match is None:
            return False
        digest = hashlib.sha256(length + header.replace(match[1], _ZEROS.encode(), 1))
        while block := file.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest().encode() != match[1]:
        raise damaged(path, "its content does not match its checksum")
    return True


def damaged(path: Path, why: str, again: str = "make it again") -> ModelError:
    """TL-MODEL-CORRUPT for a file of a model's; ``again``: how whoever has the model writes it anew."""
    return ModelError(
        "TL-MODEL-CORRUPT",
        f"{path.name} is damaged: {why}",
        where=str(path),
        fix=f"restore the file from a copy, or {again}",
    )
