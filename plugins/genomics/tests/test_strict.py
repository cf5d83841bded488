"""Compression, size limits, encodings."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import tarfile
import zlib

import pytest
from tlplat_genomics.fasta import read_fasta
from tlplat_genomics.strict import Limits

from tlplat.data.opening import BGZF_END
from tlplat.errors import DataError


def bgzip(text: bytes, block: int = 50) -> bytes:
    """bgzip's format: gzip members with a BC field, then the empty block."""
    out = b""
    for i in range(0, len(text), block):
        part = text[i : i + block]
        squeeze = zlib.compressobj(wbits=-15)
        data = squeeze.compress(part) + squeeze.flush()
        size = len(data) + 25
        head = b"\x1f\x8b\x08\x04" + bytes(4) + b"\x00\xff\x06\x00BC\x02\x00" + size.to_bytes(2, "little")
        out += head + data + zlib.crc32(part).to_bytes(4, "little") + len(part).to_bytes(4, "little")
    return out + BGZF_END


TEXT = b"".join(b">s%d\nACGTACGTACGTAA\n" % i for i in range(40))


def refused(path, limits=None) -> DataError:
    with pytest.raises(DataError) as caught:
        list(read_fasta(path, limits) if limits else read_fasta(path))
    return caught.value


@pytest.mark.parametrize(
    "data", [gzip.compress(TEXT), gzip.compress(TEXT[:400]) + gzip.compress(TEXT[400:]), bgzip(TEXT)]
)
def test_gzip_multi_member_and_bgzip_are_read_whole(write, data):
    assert len(list(read_fasta(write("a.fa.gz", data)))) == 40


@pytest.mark.parametrize("suffix", ["a.fa.gz", "a.fa"])
@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(TEXT)[:-20],
        gzip.compress(TEXT[:400]) + gzip.compress(TEXT[400:])[:-9],
        bgzip(TEXT)[:-60],
        bgzip(TEXT)[: -len(BGZF_END)],
        gzip.compress(TEXT) + b"trailing",
        gzip.compress(TEXT)[:-8] + bytes(8),
    ],
)
def test_truncated_or_corrupt_gzip(write, data, suffix):
    error = refused(write(suffix, data))
    assert error.code == "TL-DATA-READ"
    assert "gzip" in str(error)


def test_limit_of_bytes(write):
    error = refused(write("a.fa", b">a\n" + b"ACGT" * 1000), Limits(bytes=1000))
    assert error.code == "TL-DATA-TOO-BIG"
    assert "limit" in str(error)


@pytest.mark.slow
def test_bomb_is_refused_within_bounded_memory(tmp_path):
    bomb = tmp_path / "bomb.fa.gz"
    with gzip.open(bomb, "wb", compresslevel=9) as out:
        out.write(b">a\n")
        for _ in range(300):
            out.write(b"A" * (1 << 20))
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom tlplat_genomics.fasta import read_fasta\n"
        "from tlplat.errors import DataError\nbefore = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    list(read_fasta(Path(sys.argv[1])))\nexcept DataError as e:\n    print(e.code)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, bomb], capture_output=True, text=True, check=True, timeout=60)
    printed, grown = done.stdout.split()
    assert printed == "TL-DATA-TOO-BIG"
    assert int(grown) < 100


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b">a\nAC\0GT\n", "TL-DATA-ENCODING"),
        (">a\nACGT\n".encode("utf-16"), "TL-DATA-ENCODING"),
        (b">a\nAC\xffGT\n", "TL-DATA-ENCODING"),
        (b"BZh91AY&SY", "TL-DATA-READ"),
        (b"PK\x03\x04aaaa", "TL-DATA-READ"),
        (">a\nACÅGT\n".encode(), "TL-DATA-FASTA"),
    ],
)
def test_not_text(write, data, code):
    assert refused(write("a.fa", data)).code == code


def test_byte_order_mark_and_utf8_titles(write):
    records = list(read_fasta(write("a.fa", "\ufeff>a São Paulo\nACGT\n")))
    assert records[0].description == "São Paulo"


def test_missing_file(tmp_path):
    error = refused(tmp_path / "none.fa")
    assert error.code == "TL-DATA-READ"
    assert "none.fa" in str(error)


def test_a_tar_archive_is_not_unpacked(write, tmp_path):
    """Whatever its members point at: a parent folder, an absolute path, a link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("../x.fasta", "/etc/x.fasta"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    before = sorted(tmp_path.parent.rglob("*.fasta"))
    for name, data in (("a.fasta", buffer.getvalue()), ("b.fasta.gz", gzip.compress(buffer.getvalue()))):
        error = refused(write(name, data))
        assert (error.code, error.exit_code) == ("TL-DATA-PATH", 3)
        assert "members" in error.message
    assert sorted(tmp_path.parent.rglob("*.fasta")) == sorted([*before, tmp_path / "a.fasta"])


def test_links_that_form_a_loop_and_folders(tmp_path):
    (tmp_path / "loop.fasta").symlink_to("loop.fasta")
    error = refused(tmp_path / "loop.fasta")
    assert error.code == "TL-DATA-PATH"
    assert "loop" in error.message
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "again").symlink_to(".")
    error = refused(tmp_path / "folder" / "again" / "again")
    assert error.code == "TL-DATA-READ"
    assert "one file" in error.fix
