"""Finance for tlplat: hook implementations; the domain itself is in :mod:`tlplat_finance.domain`."""

from __future__ import annotations

from tlplat.domain import Domain
from tlplat.hookspecs import hookimpl
from tlplat.model import Backbone


@hookimpl
def tlplat_register_domains() -> list[type[Domain]]:
    from tlplat_finance.domain import FinanceDomain

    return [FinanceDomain]


@hookimpl
def tlplat_register_backbones() -> list[type[Backbone]]:
    from tlplat_finance.sources import FinanceNet

    return [FinanceNet]
