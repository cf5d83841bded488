"""The configuration file that ``tlplat config init`` prints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tlplat.config import TABLES, RunConfig
from tlplat.tomlfile import dump


def template(domain: str | None) -> str:
    """Every key with its description and default, commented out but for the domain; valid TOML as it stands."""
    lines = [
        "# A run of tlplat: tlplat run -c THIS_FILE",
        "# Flags and --set win over this file; paths are taken from the working directory.",
        "",
        f'domain = "{domain}"' if domain else '# domain = "genomics"',
    ]
    own = {k: v for k, v in RunConfig.model_fields.items() if k not in (*TABLES, "options", "domain")}
    lines += _keys(own)
    for name, model in TABLES.items():
        lines += ["", f"[{name}]", *_keys(model.model_fields)]
    if domain:
        from tlplat import plugins
        from tlplat.registry import Registry

        options: type[BaseModel] = plugins.domain(domain, Registry()).Options
        lines += ["", "[options]", *_keys(options.model_fields)]
    return "\n".join(lines) + "\n"


def _keys(fields: Mapping[str, FieldInfo]) -> list[str]:
    lines = []
    for name, info in fields.items():
        default: Any = None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})
        shown = f"{name} ="
        if isinstance(default, list | tuple):
            shown += f" {json.dumps(default, default=str)}"
        elif default is not None:
            shown = dump({name: default}).strip()
        lines += ["", f"# {info.description or name}", *(f"# {line}" for line in shown.splitlines())]
    return lines
