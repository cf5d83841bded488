"""Every error that a user can meet: a stable code, an exit code, the place, and a fix.

Imports nothing but the standard library, so that the CLI can report an error before torch is loaded.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

MAX_FINDINGS = 20
SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and where.

    ``where`` names file, row, column, record or configuration key in words that a user can search for.
    """

    message: str
    where: str | None = None
    found: str | None = None
    expected: str | None = None

    def lines(self) -> list[str]:
        head = f"{self.where}: {self.message}" if self.where else self.message
        tail = [f"{label}: {value}" for label, value in (("found", self.found), ("expected", self.expected)) if value]
        return [head + (f" ({', '.join(tail)})" if tail else "")]


class TlplatError(Exception):
    """Base of all errors with a code. A subclass fixes the exit code; an instance fixes ``code`` and ``fix``.

    Args:
        code: stable identifier such as ``TL-DATA-LABEL-RANGE``.
        message: one line that says what is wrong.
        fix: one line, an action that mends it.
        where, found, expected: the place, what stood there, what should.
        findings: further places of the same kind; at most 20 are printed.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        code: str,
        message: str,
        *,
        fix: str,
        where: str | None = None,
        found: str | None = None,
        expected: str | None = None,
        findings: Iterable[Finding] = (),
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.fix = code, message, fix
        self.where, self.found, self.expected = where, found, expected
        self.findings: tuple[Finding, ...] = tuple(findings)

    def __str__(self) -> str:
        return self.render()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.to_json()))

    def render(self) -> str:
        """The text for stderr: ``tlplat: error [CODE]: ...``, the place, the findings, and the fix."""
        lines = [f"tlplat: error [{self.code}]: {self.message}"]
        for label in ("where", "found", "expected"):
            value = getattr(self, label)
            if value:
                lines.append(f"  {label}: {value}")
        for finding in self.findings[:MAX_FINDINGS]:
            lines.extend(f"  - {line}" for line in finding.lines())
        if len(self.findings) > MAX_FINDINGS:
            lines.append(f"  ... and {len(self.findings) - MAX_FINDINGS} more")
        lines.append(f"fix: {self.fix}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The same facts for ``--json``; findings are not cut."""
        return {
            "schema_version": SCHEMA_VERSION,
            "error": {
                "code": self.code,
                "exit_code": self.exit_code,
                "message": self.message,
                "where": self.where,
                "found": self.found,
                "expected": self.expected,
                "findings": [dataclasses.asdict(f) for f in self.findings],
                "fix": self.fix,
            },
        }


def from_json(document: dict[str, Any]) -> TlplatError:
    """The error of :meth:`TlplatError.to_json`, as another process wrote it; its class follows from the exit code."""
    exit_code = document["error"]["exit_code"]
    found = next((c for c in TlplatError.__subclasses__() if c.exit_code == exit_code), TlplatError)
    return _rebuild(found, document)


def _rebuild(cls: type[TlplatError], document: dict[str, Any]) -> TlplatError:
    error = dict(document["error"])
    error.pop("exit_code")
    code, message = error.pop("code"), error.pop("message")
    findings = [Finding(**f) for f in error.pop("findings")]
    return cls(code, message, findings=findings, **error)


class UsageError(TlplatError):
    """Command line or configuration (exit 2)."""

    exit_code = 2


class DataError(TlplatError):
    """Data refused (exit 3)."""

    exit_code = 3


class ModelError(TlplatError):
    """Model refused (exit 4)."""

    exit_code = 4


class PluginError(TlplatError):
    """A plugin or the extension failed (exit 5)."""

    exit_code = 5


class ResourceError(TlplatError):
    """Disk, network, lock, memory (exit 6)."""

    exit_code = 6


class NonFiniteError(TlplatError):
    """Training produced NaN or infinity (exit 7)."""

    exit_code = 7


class RequirementError(TlplatError):
    """A ``--require`` was not met (exit 8)."""

    exit_code = 8


class RunInterruptedError(TlplatError):
    """SIGINT (exit 130); the run can be resumed."""

    exit_code = 130


class RunTerminatedError(TlplatError):
    """SIGTERM (exit 143); the run can be resumed."""

    exit_code = 143


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """``"; did you mean 'x'?"`` for the nearest known name, else an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
