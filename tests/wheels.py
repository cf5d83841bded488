"""Little wheels and source distributions, made on the spot and served to the real pip by --find-links."""

import base64
import hashlib
import io
import tarfile
import textwrap
import zipfile
from contextlib import contextmanager

from tlplat import disk
from tlplat.assets import Asset, PipMember
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
