"""Parquet files with the bytes of images in a column, plain or as the struct {bytes, path} of `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlplat.errors import DataError
from tlplat_vision.table import Cells, Columns

BATCH = 64
LARGEST_IMAGE = 512 << 20


def read_parquet(path: Path, columns: Columns) -> Iterator[tuple[str, str, bytes, Cells]]:
    """(id, place, bytes, cells) of each row, in order; ids come from a column ``id`` where there is one.

    Raises:
        DataError TL-DATA-READ: not Parquet, truncated. TL-DATA-COLUMN: a column is missing or holds no bytes.
        TL-DATA-IMAGE: a row without bytes. TL-DATA-EMPTY: no row. What :meth:`Columns.reader` and
        :meth:`Columns.cells` raise.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        with pq.ParquetFile(path) as file:
            names = dict.fromkeys(file.schema_arrow.names)
            reader = columns.reader(names, path)
            read = columns.read(names, reader)
            for batch in file.iter_batches(batch_size=BATCH, columns=read):
                for record in batch.to_pylist():
                    where = f"{path}, row {row}"
                    name = record.get("id")
                    yield (
                        f"row {row}" if name is None else str(name),
                        where,
                        _image_bytes(record[columns.image], where),
                        columns.cells(record, reader, where),
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
