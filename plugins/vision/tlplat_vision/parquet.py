"""Parquet files with the bytes of images in a column, plain or as the struct {bytes, path} of `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlplat.errors import DataError
from tlplat_vision.table import need_column

BATCH = 64
LARGEST_IMAGE = 512 << 20


def read_parquet(
    path: Path, image: str, label: str | None, group: str | None, split: str | None = None
) -> Iterator[tuple[str, str, bytes, str | None, str | None, str | None]]:
    """(id, place, bytes, label, group, split) of each row, in order; ids come from a column ``id`` where there is one.

    Raises:
        DataError TL-DATA-READ: not Parquet, truncated. TL-DATA-COLUMN: a column is missing or holds no bytes.
        TL-DATA-IMAGE: a row without bytes. TL-DATA-EMPTY: no row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        with pq.ParquetFile(path) as file:
            names = dict.fromkeys(file.schema_arrow.names)
            for wanted in (image, label, group, split):
                if wanted is not None:
                    need_column(names, wanted, path)
            read = [n for n in dict.fromkeys((image, label or "label", group, split, "id")) if n in names]
            for batch in file.iter_batches(batch_size=BATCH, columns=read):
                for record in batch.to_pylist():
                    where = f"{path}, row {row}"
                    name = record.get("id")
                    yield (
                        f"row {row}" if name is None else str(name),
                        where,
                        _image_bytes(record[image], where),
                        _text(record.get(label or "label")),
                        _text(record[group]) if group else None,
                        _text(record[split]) if split else None,
                    )
                    row += 1
    except (pa.ArrowInvalid, pa.ArrowException, OSError) as error:
        raise DataError(
            "TL-DATA-READ",
            f"cannot read {path} as Parquet: {str(error).splitlines()[0]}",
            where=str(path),
            fix="write the file again, or give a folder of images",
        ) from error
    if not row:
        raise DataError("TL-DATA-EMPTY", f"{path} holds no row", where=str(path), fix="give a file with images")


def _image_bytes(value: Any, where: str) -> bytes:
    found = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(found, bytes) and found:
        return found
    raise DataError(
        "TL-DATA-IMAGE",
        "a row holds no bytes of an image",
        where=where,
        found="nothing" if found is None else type(found).__name__,
        expected="binary, or a struct with a field bytes",
        fix="store the image's file content in that column, or give a CSV of paths",
    )


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)
