"""Text for tlplat: hook implementations; the domain itself is in :mod:`tlplat_nlp.domain`."""

from __future__ import annotations

from tlplat.domain import Domain
from tlplat.hookspecs import hookimpl
from tlplat.model import Backbone


@hookimpl
def tlplat_register_domains() -> list[type[Domain]]:
    from tlplat_nlp.domain import NlpDomain

    return [NlpDomain]


@hookimpl
def tlplat_register_backbones() -> list[type[Backbone]]:
    from tlplat_nlp.bert import BertEncoder

    return [BertEncoder]
