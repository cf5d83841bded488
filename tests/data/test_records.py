"""Readers: every byte ends in a record or in an error that names its place."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tlplat.data.opening import Limits
from tlplat.data.records import Wanted, read_records
from tlplat.errors import DataError

MB = 1 << 20


def read(path, columns=("text", "label"), most=100 * MB):
    wanted = Wanted(list(columns), ["id"], Limits(most), line_breaks=True)
    return [row.values for row in read_records(path, wanted)]


def refused(path, code, *named, columns=("text", "label"), most=100 * MB):
    with pytest.raises(DataError) as caught:
        read(path, columns, most)
    error = caught.value
    assert error.code == code, error
    said = " ".join([str(error), str(error.where), str(error.found), str(error.expected), str(error.fix)])
    assert all(part in said for part in named), said


RECORDS = [{"text": 'a fine, "quoted"\nfilm — ok', "label": "pos"}, {"text": "dull", "label": "neg"}]


def test_three_formats_hold_the_same_records(write, tmp_path):
    text = 'text,label\r\n"a fine, ""quoted""\nfilm — ok",pos\r\ndull,neg\r\n'
    assert read(write("a.csv", text)) == RECORDS
    assert (
        read(write("a.tsv", text.replace(",pos", "\tpos").replace(",neg", "\tneg").replace("t,l", "t\tl"))) == RECORDS
    )
    assert read(write("b.csv", b"\xef\xbb\xbf" + text.encode())) == RECORDS
    lines = "\n".join(json.dumps(r) for r in RECORDS) + "\n\n"
    assert read(write("a.jsonl", lines)) == read(write("noname", lines)) == RECORDS
    pq.write_table(pa.Table.from_pylist(RECORDS), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == RECORDS
    assert read(write("noname2", (tmp_path / "a.parquet").read_bytes())) == RECORDS


def test_csv_faults(write):
    refused(write("a.csv", b"text,label\na\0b,pos\n"), "TL-DATA-CSV", "NUL", "row 2")
    refused(write("a.csv", "text,label\na,pos,more\n"), "TL-DATA-CSV", "line 2", "3 fields")
    refused(write("a.csv", 'text,label\na,pos\n"b,neg\nc,pos\n'), "TL-DATA-CSV", "quote", "line 3")
    refused(write("a.csv", 'text,label\n"a"b,pos\n'), "TL-DATA-CSV", "row")
    refused(write("a.csv", "text,text\na,b\n"), "TL-DATA-CSV", "header")
    refused(write("a.csv", "text,label\n"), "TL-DATA-CSV", "0 rows")
    refused(write("a.jsonl", "\n"), "TL-DATA-EMPTY", "0 rows")
    refused(write("a.csv", ""), "TL-DATA-CSV", "header")
    refused(write("a.csv", "body,label\na,pos\n"), "TL-DATA-COLUMN", "text", "columns found: body, label")


def test_an_unclosed_quote_does_not_swallow_a_large_file(tmp_path):
    path = tmp_path / "huge.csv"
    with open(path, "wb") as file:
        file.write(b'text,label\na,pos\n"never closed,neg\n')
        file.truncate(1 << 30)
        file.seek(0, os.SEEK_END)
    refused(path, "TL-DATA-CSV", "NUL", "row", most=2 << 30)
    line = b"words and words,neg\n" * 50_000
    with open(path, "wb") as file:
        file.write(b'text,label\na,pos\n"never closed,neg\n')
        for _ in range(20):
            file.write(line)
    refused(path, "TL-DATA-CSV", "quote", "line 3")


def test_jsonl_faults(write):
    good = "\n".join(json.dumps(RECORDS[0]) for _ in range(16))
    refused(write("a.jsonl", good + '\n{"text":\n'), "TL-DATA-JSONL", "line 17")
    refused(write("a.jsonl", good + "\n[1]\n"), "TL-DATA-JSONL", "line 17", "object")
    refused(write("a.jsonl", good + "\n" + "[" * 100_000), "TL-DATA-JSONL", "line 17")
    refused(write("a.jsonl", '{"text": "a\\ud800b", "label": "x"}'), "TL-DATA-ENCODING", "surrogate", "line 1")
    refused(write("a.jsonl", '{"text": "a"}\n'), "TL-DATA-COLUMN", "label", "columns found: text")


def test_encodings(write):
    refused(write("a.csv", "text,label\ncafé,pos\n".encode("latin-1")), "TL-DATA-ENCODING", "0xe9", "line 2")
    refused(write("a.csv", "text,label\na,pos\n".encode("utf-16")), "TL-DATA-ENCODING", "UTF-16")


def test_parquet_faults(write, tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(RECORDS), path)
    data = path.read_bytes()
    refused(write("b.parquet", data[:-4] + b"XXXX"), "TL-DATA-PARQUET", "PAR1")
    refused(write("c.parquet", data[: len(data) // 2] + b"\0" * 20 + b"PAR1"), "TL-DATA-PARQUET", "PAR1")
    refused(write("d.parquet", b""), "TL-DATA-PARQUET", "PAR1")
    refused(path, "TL-DATA-COLUMN", "body", "columns found: text, label", columns=("body", "label"))


def test_files_that_are_not_plain_tables(write, tmp_path):
    refused(tmp_path / "none.csv", "TL-DATA-READ", "none.csv")
    refused(write("a.csv.gz", b"\x1f\x8b" + b"\0" * 20), "TL-DATA-READ", "gzip")
    refused(write("a.xlsx", b"PK\x03\x04aaaa"), "TL-DATA-READ", "zip", "Excel")
    refused(write("a.csv", "text,label\na,b\n"), "TL-DATA-TOO-BIG", "--max-data-mb", most=5)
    os.mkfifo(tmp_path / "pipe.csv")
    refused(tmp_path / "pipe.csv", "TL-DATA-READ", "plain file")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    refused(tmp_path / "loop.csv", "TL-DATA-PATH", "loop")


TABLE = b"text,label\na,pos\nb,neg\n"
TWO = [{"text": "a", "label": "pos"}, {"text": "b", "label": "neg"}]
PACK = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


@pytest.mark.parametrize("ending", PACK)
def test_compressed_files_are_told_by_content_and_read_whole(write, ending):
    packed = PACK[ending](TABLE)
    assert read(write(f"a.csv.{ending}", packed)) == TWO
    assert read(write("a.csv", packed)) == TWO
    lines = b'{"text": "a", "label": "pos"}\n{"text": "b", "label": "neg"}\n'
    assert read(write(f"a.jsonl.{ending}", PACK[ending](lines))) == TWO
    large = TABLE + b"".join(b"%d,pos\n" % i for i in range(20_000))
    cut = PACK[ending](large)
    refused(write(f"b.csv.{ending}", cut[: len(cut) // 2]), "TL-DATA-READ", "truncated or corrupt")
    refused(write(f"c.csv.{ending}", cut), "TL-DATA-TOO-BIG", "limit", most=1000)


def test_what_expands_without_end_is_refused(write):
    bomb = gzip.compress(b"text,label\n" + b"a" * (40 << 20))
    refused(write("a.csv.gz", bomb), "TL-DATA-TOO-BIG", "200 times")


def test_members_of_an_archive_are_not_read(write, tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("../x.csv", "/etc/x.csv"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    refused(write("a.csv", buffer.getvalue()), "TL-DATA-PATH", "members")
    refused(write("a.csv.gz", gzip.compress(buffer.getvalue())), "TL-DATA-PATH", "members")
    assert not (tmp_path.parent / "x.csv").exists()


def test_parquet_inside_another_compression(write, tmp_path):
    pq.write_table(pa.Table.from_pylist(RECORDS), tmp_path / "a.parquet")
    packed = gzip.compress((tmp_path / "a.parquet").read_bytes())
    refused(write("b.parquet.gz", packed), "TL-DATA-READ", "unpack")


def several(path, warn=lambda sentence: None, **more):
    return [(row.where, dict(row.values)) for row in read_records(path, Wanted(warn=warn, **more))]


def test_a_folder_and_a_pattern_are_one_table(write, tmp_path):
    write("in/b.csv", "label,text\nneg,b\n")
    write("in/a.csv.gz", gzip.compress(b"text,label\na,pos\n"))
    write("in/deep/c.jsonl", '{"text": "c", "label": "pos"}\n')
    write("in/readme.md", "words")
    write("in/.hidden.csv", "x")
    told = []
    found = several(tmp_path / "in", told.append)
    assert [values for _, values in found] == [*TWO, {"text": "c", "label": "pos"}]
    assert found[1][0] == f"{tmp_path}/in/b.csv, row 1"
    assert told == ["files that are no tables by their names are left out: readme.md"]
    assert [values["text"] for _, values in several(tmp_path / "in" / "*.csv*")] == ["a", "b"]
    refused(tmp_path / "in" / "*.txt", "TL-DATA-READ", "*.txt")
    write("empty/readme.md", "words")
    refused(tmp_path / "empty", "TL-DATA-READ", "no table", "readme.md", ".csv")


def test_files_with_other_columns_are_named_with_the_column(write, tmp_path):
    write("in/a.csv", "text,label\na,pos\n")
    write("in/b.csv", "text,labels\nb,neg\n")
    refused(tmp_path / "in", "TL-DATA-COLUMN", "b.csv", "'label'", "did you mean 'labels'", columns=("text",))
    write("in/b.csv", "text,label,more\nb,neg,1\n")
    refused(tmp_path / "in", "TL-DATA-COLUMN", "b.csv", "'more'", "a.csv lacks")


def test_links_in_a_folder_do_not_lead_round(write, tmp_path):
    write("in/a.csv", TABLE)
    (tmp_path / "in" / "loop").symlink_to(".")
    refused(tmp_path / "in", "TL-DATA-PATH", "loop")
