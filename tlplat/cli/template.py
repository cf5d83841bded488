"""The configuration file that ``tlplat config init`` prints."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tlplat.config import TABLES, RunConfig
from tlplat.tomlfile import dump


def template(config: RunConfig | None = None, chosen: Collection[str] = ()) -> str:
    """Every key with its description, commented out at its default but for those ``chosen``; valid TOML as it stands.

    Args:
        config: adds its domain's options, and has the values of ``chosen``, dotted keys.
    """
    values = {} if config is None else config.model_dump()
    lines = [
        "# A run of tlplat: tlplat run -c THIS_FILE",
        "# Flags and --set win over this file; paths are taken from the working directory.",
        "",
        '# domain = "genomics"' if config is None else dump({"domain": config.domain}).strip(),
    ]
    own = {k: v for k, v in RunConfig.model_fields.items() if k not in (*TABLES, "options", "domain")}
    lines += _keys(own, {k: v for k, v in values.items() if k in chosen})
    tables: dict[str, type[BaseModel]] = dict(TABLES)
    if config is not None:
        from tlplat import plugins
        from tlplat.registry import Registry

        tables["options"] = plugins.domain(config.domain, Registry()).Options
    for name, model in tables.items():
        set_here = {k: v for k, v in values.get(name, {}).items() if f"{name}.{k}" in chosen}
        lines += ["", f"[{name}]", *_keys(model.model_fields, set_here)]
    return "\n".join(lines) + "\n"


def _keys(fields: Mapping[str, FieldInfo], chosen: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, info in fields.items():
        lines += ["", f"# {info.description or name}"]
        if name in chosen:
            lines.append(dump({name: chosen[name]}).strip())
            continue
        default: Any = None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})
        shown = f"{name} ="
        if isinstance(default, list | tuple):
            shown += f" {json.dumps(default, default=str)}"
        elif default is not None:
            shown = dump({name: default}).strip()
        lines += [f"# {line}" for line in shown.splitlines()]
    return lines
