"""Which columns of the user's table hold images and labels."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
from tlplat_vision.domain import VisionDomain

FOUND = {"options.image": "picture", "data.target": "kind"}


def test_paths(tmp_path):
    rows = "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(20))
    (tmp_path / "a.csv").write_text(f"picture,kind\n{rows}", encoding="utf-8")
    assert VisionDomain.guess(tmp_path / "a.csv", {}) == FOUND
    (tmp_path / "b.csv").write_text(f"image,label\n{rows}", encoding="utf-8")
    assert VisionDomain.guess(tmp_path / "b.csv", {}) == {}


def test_bytes(tmp_path):
    plain = {"picture": [b"\x89PNG"] * 20, "kind": ["a", "b"] * 10}
    nested = {**plain, "picture": [{"bytes": b"\x89PNG", "path": None}] * 20}
    for name, columns in {"plain": plain, "nested": nested}.items():
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
        assert VisionDomain.guess(tmp_path / f"{name}.parquet", {}) == FOUND


def test_a_folder_of_images_is_no_table(tmp_path):
    (tmp_path / "a").mkdir()
    assert VisionDomain.guess(tmp_path, {}) == {}
