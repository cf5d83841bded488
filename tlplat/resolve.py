"""Where each value of a run's configuration comes from.

Precedence: flags > ``--set`` > file > environment (``TLPLAT_SEEDS``, ``TLPLAT_TRAIN__EPOCHS``: two underscores for the
dot) > what the user's table says of its columns > the domain's defaults > tlplat's. Nothing is expanded: ``$HOME`` in a
path is refused, not replaced.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlplat.config import TABLES, Fault, RunConfig, check, keys, quote
from tlplat.errors import Finding, UsageError
from tlplat.tomlfile import read, value

if TYPE_CHECKING:
    from tlplat.domain import Domain

PATHS = ("data.path", "out", "source", "data.labels_from", "data.unlabeled", "data.val_data", "data.test_data")
GUESSED = "guessed from"
PLACEHOLDER = "?"
"""Stands for a missing domain while the rest is checked."""


@dataclass
class Layers:
    """Values by dotted key with the origin of each, and the faults met on the way."""

    values: dict[str, tuple[Any, str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def put(self, values: Mapping[str, Any], origin: str | Callable[[str], str]) -> None:
        """Lay values over those that are there; ``origin`` may be a function of the key."""
        for key, item in values.items():
            self.values[key] = item, origin if isinstance(origin, str) else origin(key)

    def origin(self, key: str) -> str:
        """Of the key, or of the list or table that it is an item of."""
        while key and key not in self.values:
            key = key.rpartition(".")[0]
        return self.values[key][1] if key else "default"

    def nested(self) -> dict[str, Any]:
        """The document that the dotted keys spell."""
        document: dict[str, Any] = {}
        for key, (item, _) in self.values.items():
            if item is None:  # found faulty already
                continue
            table, dot, leaf = key.partition(".")
            if dot and isinstance(document.setdefault(table, {}), dict):
                document[table][leaf] = item
            elif not dot:
                document[key] = item
        return document


def resolve(
    flags: Mapping[str, Any],
    sets: Sequence[str] = (),
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    domain: type[Domain] | None = None,
) -> tuple[RunConfig, dict[str, str]]:
    """The configuration, and the origin of every value (by dotted key).

    Args:
        flags: by dotted key; None where a flag was not given.
        sets: ``KEY=VALUE``, the value in TOML or a bare string. file: a TOML file.
        domain: checks ``options`` and gives its defaults; None leaves the options unchecked.

    Raises:
        UsageError: everything that is wrong, at once: TL-CONFIG-PATH, -TYPE, -UNKNOWN, or TL-USAGE where it stands on
            the command line; the file's own errors as :func:`tlplat.tomlfile.read` says.
    """
    layers = Layers()
    layers.put(_environment(os.environ if environ is None else environ), lambda key: f"environment {variable(key)}")
    if file is not None:
        layers.put(dict(_flatten(read(file))), f"file {file}")
    layers.put(dict(_pairs(sets)), "--set")
    for key, (item, _) in layers.values.items():
        if isinstance(item, str) and _is_path(key) and any(c in item for c in "$;`|\0\n"):
            finding = Finding("a path is taken as it is, so $ and ; are refused", key, quote(item))
            layers.faults.append(Fault("PATH", key, finding))
    layers.put({key: item for key, item in flags.items() if item is not None}, lambda key: f"flag --{flag(key)}")
    if domain is not None and not layers.values.keys() & {"labels", "data.path"}:
        asked = {key.removeprefix("options."): v for key, (v, _) in layers.values.items() if key.startswith("options.")}
        wanted = domain.labels_by_default(asked)
        layers.put({} if wanted is None else {"labels": wanted}, f"domain {domain.name}")
    if domain is not None:
        own = {key: item for key, item in domain.defaults.items() if not _given(key, layers)}
        layers.put(own, f"domain {domain.name}")
    config = _checked(layers, domain)
    if domain is not None and config.data.path is not None and config.data.path.exists():
        told = domain.guess(config.data.path, {key: v for key, (v, _) in layers.values.items()})
        layers.put({k: v for k, v in told.items() if k not in layers.values}, f"{GUESSED} {config.data.path.name}")
        config = _checked(layers, domain)
    given = list(keys()) + [f"options.{name}" for name in config.options]
    origins = {key: layers.origin(key) for key in given}
    if domain is not None:
        origins |= {k: f"domain {domain.name}" for k in origins if k.startswith("options.") and k not in layers.values}
    return config, origins


def guessed(config: RunConfig, origins: Mapping[str, str]) -> str | None:
    """What was guessed, as the flags that would say so; None where nothing was."""
    document = config.model_dump(mode="json")
    flags = []
    for key, origin in origins.items():
        if origin.startswith(GUESSED):
            table, _, leaf = key.partition(".")
            flags.append(f"--{flag(key)} {document[table][leaf] if leaf else document[table]}")
            where = origin.removeprefix(f"{GUESSED} ")
    return f"guessed from {where}: {' '.join(flags)} (give these to choose others)" if flags else None


def _given(key: str, layers: Layers) -> bool:
    """Whether the user gave the key, or the other one of steps and epochs."""
    rival = {"train.epochs": "train.steps", "train.steps": "train.epochs"}.get(key)
    return key in layers.values or rival in layers.values


def peek(flags: Mapping[str, Any], sets: Sequence[str] = (), file: Path | None = None) -> str | None:
    """The domain's name, before anything else is checked; None where nothing names it."""
    found = [flags.get("domain"), dict(_pairs(sets)).get("domain"), file and read(file).get("domain")]
    named = next((name for name in found if name), os.environ.get("TLPLAT_DOMAIN"))
    return named if isinstance(named, str) else None


def _checked(layers: Layers, domain: type[Domain] | None) -> RunConfig:
    faults = layers.faults
    for key, (item, origin) in list(layers.values.items()):
        if isinstance(item, float) and not math.isfinite(item):
            faults.append(Fault("TYPE", key, Finding("must be finite", key, str(item))))
            layers.values[key] = None, origin
    missing = "domain" not in layers.values
    document = ({"domain": PLACEHOLDER} if missing else {}) | layers.nested()
    if domain is not None:
        options = document.get("options", {})
        made, found = check(domain.Options, options if isinstance(options, dict) else {}, "options.")
        faults += found
        document["options"] = made.model_dump(mode="json") if made else {}
    config, found = check(RunConfig, document)
    for fault in found:
        moved = fault.kind == "UNKNOWN" and "." not in fault.key and [k for k in keys() if k.endswith(f".{fault.key}")]
        faults += [fault]
        if moved:  # a key outside its table: its value is checked as if it stood there
            item = document[fault.key]
            table, _, leaf = moved[0].partition(".")
            faults += check(TABLES[table], {leaf: item}, f"{table}.")[1]
    if faults:
        raise _refused(layers, faults)
    if missing:
        raise UsageError(
            "TL-USAGE",
            "Missing option '--domain'",
            fix='add --domain NAME (`tlplat domains` lists them), or `domain = "NAME"` to the file after -c',
        )
    assert config is not None
    return config


def _refused(layers: Layers, faults: list[Fault]) -> UsageError:
    """One error for all the faults; its code is that of the gravest, TL-USAGE where all stand on the command line."""
    kind = next(k for k in ("PATH", "TYPE", "UNKNOWN", "MISSING") if any(f.kind == k for f in faults))
    origins = [layers.origin(fault.key) for fault in faults]
    typed = kind != "PATH" and all(o.startswith(("flag", "--set")) for o in origins)
    findings = [
        Finding(f.finding.message, _where(f.key, o), f.finding.found, f.finding.expected)
        for f, o in zip(faults, origins, strict=True)
    ]
    one = findings[0].lines()[0] if len(findings) == 1 else f"{len(findings)} faults in the configuration"
    return UsageError(
        "TL-USAGE" if typed else f"TL-CONFIG-{kind}",
        one,
        findings=findings if len(findings) > 1 else (),
        fix="correct what is named; `tlplat config init` prints every key, `tlplat run --help` every flag",
    )


def _where(key: str, origin: str) -> str:
    return key if origin == "default" else f"{key} ({origin})"


def flag(key: str) -> str:
    """The flag of a key, without ``--``."""
    return {"data.path": "data", "strategies": "strategy"}.get(key, key.rpartition(".")[2].replace("_", "-"))


def variable(key: str) -> str:
    """The environment variable of a key."""
    return "TLPLAT_" + key.upper().replace(".", "__")


def _is_path(key: str) -> bool:
    return key in PATHS or key.rpartition(".")[2].endswith(("path", "file", "folder", "dir"))


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    return {key: value(environ[name]) for key in keys() if environ.get(name := variable(key))}


def _flatten(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, item in document.items():
        if isinstance(item, dict) and (key in TABLES or key == "options"):
            yield from ((f"{key}.{leaf}", v) for leaf, v in item.items())
        else:
            yield key, item


def _pairs(sets: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for text in sets:
        key, equals, item = text.partition("=")
        if not equals or not key.strip():
            raise UsageError(
                "TL-USAGE",
                f"--set {text}: expected KEY=VALUE",
                fix="write for example --set train.epochs=5; `tlplat config init` prints every key",
            )
        yield key.strip(), value(item.strip())
