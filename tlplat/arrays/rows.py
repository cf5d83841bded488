"""Rows of numbers in files: ``.npz`` (x, y, groups) and ``.safetensors`` (the same, class names in its metadata).

Where y has a column for each of several labels, an array ``classes`` of a ``.npz`` names them.

Further files hold rows of other sides of a split; an array of words may say it as well.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tlplat.arrays.sets import are_sets, sets_of
from tlplat.errors import DataError, TlplatError
from tlplat.tensorfile import read_tensors, write_tensors

CLASSES = "classes"


@dataclass(frozen=True)
class Rows:
    """Rows of one shape.

    Attributes:
        x: (n, ...) float or integer. y: (n,) integers or floats; (n, c) float32 zeros and ones where a row has any
            number of c labels; or None. groups: (n,) int64, or None.
        classes: names of the classes that integers of y number, or of its columns; empty where they go by number.
        ids: names of the rows: file, where there are several, and number. sizes: rows of each file.
        sides: (n,) what the array says that was asked for, or nothing.
    """

    x: Tensor
    y: Tensor | None = None
    groups: Tensor | None = None
    classes: tuple[str, ...] = ()
    ids: Sequence[str] = ()
    sizes: tuple[int, ...] = ()
    sides: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.x)


def rows_of(
    x: Any,
    y: Any = None,
    groups: Any = None,
    where: str = "the arrays",
    ids: Sequence[str] | None = None,
    classes: Sequence[str] = (),
) -> Rows:
    """Rows from whatever numpy or torch take as arrays; strings in ``y`` and ``groups`` are numbered.

    ``classes``: names of the columns of ``y``, where it has several; a data frame has its own.

    Raises:
        DataError: TL-DATA-TYPE (not numbers), TL-DATA-EMPTY, TL-DATA-COLUMN (lengths differ), TL-DATA-NONFINITE, and
        what :func:`tlplat.arrays.sets.sets_of` raises.
    """
    inputs = _numbers(x, f"{where}: x")
    if inputs.ndim < 2 or not len(inputs):
        raise DataError(
            "TL-DATA-EMPTY" if inputs.ndim > 1 else "TL-DATA-TYPE",
            f"{where}: x has shape {tuple(inputs.shape)}",
            expected="(rows, features) or (rows, ...), at least one row",
            fix="give one row for each example",
        )
    ids = [f"row {i}" for i in range(len(inputs))] if ids is None else ids
    wrong = torch.nonzero(~torch.isfinite(inputs.flatten(1)).all(dim=1)).flatten().tolist()
    if wrong:
        raise DataError(
            "TL-DATA-NONFINITE",
            f"{where}: {len(wrong)} of {len(inputs)} rows of x hold NaN or infinity",
            where=ids[wrong[0]],
            fix="fill in or leave out these rows before; nothing is dropped silently",
        )
    targets, names = (None, ()) if y is None else _targets(y, f"{where}: y", classes)
    numbered = None if groups is None else _codes(np.asarray(groups))[0]
    for name, values in (("y", targets), ("groups", numbered)):
        shape = (len(inputs), *([] if values is None or name == "groups" or not are_sets(values) else values.shape[1:]))
        if values is not None and values.shape != shape:
            raise DataError(
                "TL-DATA-COLUMN",
                f"{where}: {name} has shape {tuple(values.shape)} beside {len(inputs)} rows of x",
                fix=f"give one entry of {name} for each row",
            )
    return Rows(inputs, targets, numbered, names, ids, (len(inputs),))


def read(path: Path, more: Sequence[Path] = (), split: str | None = None) -> Rows:
    """The rows of a file, and of further ones.

    Args:
        split: the array of words that says which side of a split a row is on.

    Raises:
        DataError: TL-DATA-PATH, TL-DATA-READ (no arrays, or pickled ones), TL-DATA-COLUMN (an array is not there, or
            files do not fit together), and those of :func:`rows_of`.
    """
    files = [path, *more]
    read_in = [_arrays(file) for file in files]
    parts, classes = [found for found, _ in read_in], read_in[0][1]
    for file, found in zip(files, parts, strict=True):
        for name in ("x", *([] if split is None else [split])):
            if name not in found:
                fix = "name the rows x" if name == "x" else "name the array that says train, val or test with --split"
                said = ", ".join(found) or "none"
                raise DataError("TL-DATA-COLUMN", f"{file} holds no array {name}", found=said, fix=fix)
    sizes = tuple(len(found["x"]) if np.ndim(found["x"]) else 0 for found in parts)
    alone = len(files) == 1
    ids = [f"row {i}" if alone else f"{f.name}, row {i}" for f, n in zip(files, sizes, strict=True) for i in range(n)]
    found = parts[0] if alone else _joined([_named(*one) for one in read_in], files)
    sets = are_sets(found.get("y"))
    if sets and any(names != classes for _, names in read_in):
        fix = "name the columns of y alike, and in one order, in all files"
        raise DataError("TL-DATA-COLUMN", "the files name other labels, or in another order", where=str(path), fix=fix)
    where = ", ".join(map(str, files))
    rows = rows_of(found["x"], found.get("y"), found.get("groups"), where, ids, classes if sets else ())
    if alone and classes and rows.y is not None and not sets:  # in the order of the file
        rows = dataclasses.replace(rows, y=found["y"], classes=classes)
    sides = [] if split is None else np.asarray(found[split]).astype(str).ravel().tolist()
    if split is not None and len(sides) != len(rows):
        raise DataError(
            "TL-DATA-COLUMN",
            f"{path}: {split} has {len(sides)} entries beside {len(rows)} rows of x",
            fix=f"give one entry of {split} for each row",
        )
    return dataclasses.replace(rows, sizes=sizes, sides=sides)


def _joined(parts: Sequence[Mapping[str, Any]], files: Sequence[Path]) -> dict[str, Any]:
    """The arrays of all files, one file's rows after the other's."""
    first = parts[0]
    for file, found in zip(files[1:], parts[1:], strict=True):
        for name in ("x", "y", "groups"):
            ours, theirs = (np.asarray(one[name]) if name in one else None for one in (first, found))
            if ours is None and theirs is None:
                continue
            if ours is None or theirs is None or _kind(ours) != _kind(theirs):
                said, other = (_kind(one) if one is not None else "none" for one in (ours, theirs))
                raise DataError(
                    "TL-DATA-COLUMN",
                    f"{files[0].name} and {file.name} do not fit together: {name} is {said} and {other}",
                    fix=f"save {name} alike in both files",
                )
    return {name: np.concatenate([np.asarray(found[name]) for found in parts]) for name in first if name in parts[-1]}


def _kind(array: np.ndarray) -> str:
    """What rows of files must have in common: their shape, and words, whole numbers or floating-point ones."""
    kinds = {"f": "floating-point numbers", "b": "truth values", "u": "whole numbers", "i": "whole numbers"}
    said = kinds.get(array.dtype.kind, "words")
    return f"{said} of shape ({', '.join(['rows', *map(str, array.shape[1:])])})"


def _named(found: Mapping[str, Any], classes: tuple[str, ...]) -> Mapping[str, Any]:
    """The arrays with classes by their names, which files may number differently."""
    numbered = classes and "y" in found and not are_sets(found["y"])
    return {**found, "y": np.array(classes)[found["y"].numpy()]} if numbered else found


def _arrays(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The arrays of one file by name, and the classes that its metadata name."""
    if not path.is_file():
        raise DataError("TL-DATA-PATH", f"{path} is no file", fix="give a .npz or .safetensors file")
    try:
        return _safetensors(path) if path.suffix == ".safetensors" else _npz(path)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, TlplatError) as error:
        raise DataError(
            "TL-DATA-READ",
            f"{path} cannot be read as arrays: {str(error).splitlines()[0]}",
            fix="save numbers with numpy.savez(FILE, x=..., y=...), no objects (nothing pickled is ever read)",
        ) from error


def fitting(rows: Rows, preprocess: Mapping[str, Any], where: str) -> Rows:
    """The rows as a model takes them: of its shape (None: any size) and type; a Keras model's are cast to it.

    Raises:
        DataError TL-DATA-COLUMN: another shape or type. TL-DATA-RANGE: an index that an embedding has no entry for.
    """
    shape, dtype = tuple(rows.x.shape[1:]), str(rows.x.dtype).removeprefix("torch.")
    wanted = preprocess["shape"]
    cast = bool(preprocess.get("cast"))
    same = len(wanted) == len(shape) and all(w in (None, s) for w, s in zip(wanted, shape, strict=True))
    if not same or (dtype != preprocess["dtype"] and not cast):
        raise DataError(
            "TL-DATA-COLUMN",
            f"{where} holds rows of shape {shape} {dtype}",
            expected=f"{tuple(wanted)} {preprocess['dtype']}, what the model takes",
            fix="give rows of the shape and type that the model was trained on",
        )
    below = preprocess.get("below")
    if below is not None and (bool((rows.x < 0).any()) or bool((rows.x >= below).any())):
        outside = ((rows.x < 0) | (rows.x >= below)).flatten(1).any(dim=1).nonzero().flatten().tolist()
        raise DataError(
            "TL-DATA-RANGE",
            f"{where}: {len(outside)} rows hold numbers that the model's embedding has no entry for",
            where=rows.ids[outside[0]],
            expected=f"0 to {below - 1}",
            fix="number the tokens as the model was trained, unknown ones as it numbered them",
        )
    return dataclasses.replace(rows, x=rows.x.to(getattr(torch, preprocess["dtype"])))


def keep(rows: Rows, cache: Path) -> Path:
    """The rows as a file of the cache, named by their content, where workers and a resume find them."""
    tensors = {name: value for name in ("x", "y", "groups") if (value := getattr(rows, name)) is not None}
    digest = hashlib.sha256(json.dumps(rows.classes).encode())
    for name, value in tensors.items():
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    path = cache / "arrays" / f"{digest.hexdigest()[:32]}.safetensors"
    if not path.exists():
        write_tensors(path, tensors, {CLASSES: json.dumps(rows.classes)})
    return path


def _safetensors(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    tensors, metadata = read_tensors(path)
    classes = tuple(json.loads(metadata.get(CLASSES, "[]")))
    y = tensors.get("y")
    if (
        classes
        and y is not None
        and not are_sets(y)
        and not (y.dtype == torch.int64 and bool(((y >= 0) & (y < len(classes))).all()))
    ):
        raise ValueError(f"y numbers other classes than the {len(classes)} of its metadata")
    return dict(tensors), classes


def _npz(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The arrays, and names of the columns of y, where it has several."""
    with path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if isinstance(archive, np.ndarray):  # a .npy file: rows alone
            return {"x": archive}, ()
        found = {name: archive[name] for name in archive.files}
    named = are_sets(found.get("y")) and found.get(CLASSES, np.array(0)).ndim == 1
    return found, tuple(str(name) for name in found[CLASSES]) if named else ()


def _numbers(values: Any, what: str) -> Tensor:
    array = values.detach().cpu() if isinstance(values, Tensor) else np.asarray(values)
    if not isinstance(array, Tensor):
        if array.dtype.kind not in "fiub":
            raise DataError(
                "TL-DATA-TYPE", f"{what} holds {array.dtype}, not numbers", fix="encode it as numbers first"
            )
        array = torch.from_numpy(np.ascontiguousarray(array))
    if array.is_floating_point() or array.dtype == torch.bool:
        return array.to(torch.float32)
    return array if array.dtype == torch.uint8 else array.to(torch.int64)


def _targets(values: Any, what: str, names: Sequence[str]) -> tuple[Tensor, tuple[str, ...]]:
    try:
        array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    except ValueError as error:
        raise DataError(
            "TL-DATA-TYPE",
            f"{what} holds lists of different lengths",
            fix="give any number of labels a row as (rows, labels) of 0 and 1 (sklearn's MultiLabelBinarizer makes it)",
        ) from error
    if are_sets(array) and array.dtype.kind in "fiub":
        return sets_of(array, getattr(values, "columns", names), what)
    if array.dtype.kind in "f":
        return torch.from_numpy(array.astype(np.float64)), ()
    if array.dtype.kind not in "iubUO":
        raise DataError("TL-DATA-TYPE", f"{what} holds {array.dtype}", fix="give class names, integers or numbers")
    return _codes(array)


def _codes(array: np.ndarray) -> tuple[Tensor, tuple[str, ...]]:
    """Numbers of the sorted distinct values, and these as strings."""
    names, codes = np.unique(array.astype(str) if array.dtype.kind == "O" else array, return_inverse=True)
    return torch.from_numpy(codes.reshape(array.shape).astype(np.int64)), tuple(str(n) for n in names)
