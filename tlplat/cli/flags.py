"""The flags of a run: tlplat's own, and one for each option of the domain that ``--domain`` or the file names."""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
from pydantic.fields import FieldInfo

from tlplat.config import RunConfig, keys

if typing.TYPE_CHECKING:
    from tlplat.domain import Domain

SCALARS: Mapping[Any, click.ParamType[Any]] = {
    int: click.INT,
    float: click.FLOAT,
    str: click.STRING,
    Path: click.Path(),
}


OF_A_SEARCH = ("strategies", "seeds", "out", "jobs", "require", "budget", "data.unlabeled", "clean")
"""Keys of a run that mean nothing to commands which look at data or sources and search for no strategy."""


@dataclass(frozen=True)
class Shape:
    """How a field's annotation is typed on a command line; ``many`` where the flag may be repeated."""

    type: click.ParamType[Any]
    many: bool = False
    switch: bool = False


def shape(annotation: Any) -> Shape:
    """The shape of a pydantic field's annotation; anything unusual is typed as text and checked by the model."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return shape(arguments[0])
    if origin in (typing.Union, types.UnionType):
        rest = [a for a in arguments if a is not type(None)]
        return shape(rest[0]) if len(rest) == 1 else Shape(click.STRING)
    if origin is Literal:
        return Shape(click.Choice([str(a) for a in arguments]))
    if origin in (list, tuple, set, frozenset):
        return Shape(shape(arguments[0]).type if arguments else click.STRING, many=True)
    if annotation is bool:
        return Shape(click.BOOL, switch=True)
    return Shape(SCALARS.get(annotation, click.STRING))


def option(key: str, flag: str, info: FieldInfo, default: Any) -> click.Option:
    """The flag of the configuration's ``key``; not given is None or ()."""
    form, declared = shape(info.annotation), [argument(key)]
    said = (info.description or "").rstrip(".")
    text = said[:1].upper() + said[1:] + ("." if said else "")
    if default not in (None, False, (), [], ""):
        shown = ",".join(map(str, default)) if isinstance(default, list | tuple) else str(default)
        text += f"  [default: {shown.lower() if form.switch else shown}]"
    if form.switch:
        return click.Option([*declared, f"--{flag}/--no-{flag}"], default=None, help=text)
    return click.Option([*declared, f"--{flag}"], type=form.type, multiple=form.many, help=text)


def domain_options(domain: type[Domain], taken: set[str]) -> list[click.Option]:
    """A flag for each field of ``domain.Options``; one whose name is taken is prefixed with the domain's name."""
    made = []
    for field, info in domain.Options.model_fields.items():
        name = field.replace("_", "-")
        flag = f"{domain.name}-{name}" if f"--{name}" in taken else name
        default = None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})
        made.append(option(f"options.{field}", flag, info, default))
    return made


def run_options(without: Collection[str] = ()) -> Iterator[click.Option]:
    """tlplat's own flags of a run but for the keys ``without``, in the order of the configuration's keys."""
    from tlplat.resolve import flag

    for key, info in keys().items():
        if key.startswith("train.") or key in without:
            continue  # reached through --set
        default = RunConfig.model_fields[key].get_default() if key in RunConfig.model_fields else None
        if key == "domain":
            default = None
        if key == "labels":  # an integer, or "all"
            yield click.Option([key, "--labels"], metavar="N|all", help=info.description)
            continue
        yield option(key, flag(key), info, default)


def values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Flags that were given, by dotted key; comma lists are split."""
    from tlplat.tomlfile import value

    found = {}
    for name, item in given.items():
        table, dot, leaf = name.partition("__")
        key = f"{table}.{leaf}" if dot else name
        if item not in (None, ()) and (table == "options" or key in keys()):
            found[key] = item
    for key in ("strategies", "require"):
        if key in found:
            found[key] = [part.strip() for text in found[key] for part in text.split(",") if part.strip()]
    if "labels" in found:
        found["labels"] = value(found["labels"])
    return found


def argument(key: str) -> str:
    """The callback's argument for a dotted key."""
    return key.replace(".", "__", 1)
