"""pip with a stop: ``python sdistonly.py TARGET SHA256 ARGUMENTS``, for the archive of a source distribution.

pip downloads such an archive, checks its hash, and then builds it to learn its dependencies, which runs code of the
archive. Here pip's process ends as soon as it would start another Python: that is the build, whatever its backend. By
then the archive has been read, so it is among the opened files; the one with the right hash is copied to TARGET.
Exit code: 0 with the archive in TARGET, 3 where a build was about to start without it, else pip's own.
"""

from __future__ import annotations

import hashlib
import os
import runpy
import shutil
import sys

SUFFIXES = (".tar.gz", ".tgz", ".zip", ".tar.bz2", ".tar.xz", ".tar")
NOT_FOUND = 3


def main(target: str, sha256: str, arguments: list[str]) -> None:
    """Run pip with the ``arguments``; ends the process."""
    opened: dict[str, None] = {}
    stopping = False

    def watch(event: str, given: tuple[object, ...]) -> None:
        nonlocal stopping
        if stopping:
            return
        if event == "open" and isinstance(given[0], str) and given[0].endswith(SUFFIXES):
            opened[given[0]] = None
        elif event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system"):
            found = None
            stopping = True
            for path in opened:
                if os.path.isfile(path) and _sha256(path) == sha256:
                    found = path
            if found is not None:
                shutil.copyfile(found, os.path.join(target, os.path.basename(found)))
                os._exit(0)
            if _is_python(given):
                os._exit(NOT_FOUND)
            stopping = False

    sys.addaudithook(watch)
    sys.argv = ["pip", *arguments]
    runpy.run_module("pip", run_name="__main__", alter_sys=True)


def _is_python(given: tuple[object, ...]) -> bool:
    """Whether the event's program is a Python; unsure counts as yes."""
    program = given[0]
    if program is None and len(given) > 1 and isinstance(given[1], list | tuple) and given[1]:
        program = given[1][0]
    name = os.fsdecode(program) if isinstance(program, str | bytes | os.PathLike) else "python"
    return name == sys.executable or "python" in os.path.basename(name)


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
