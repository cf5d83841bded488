"""Patients' tables for tlplat: hook implementations; the domain itself is in :mod:`tlplat_medicine.domain`."""

from __future__ import annotations

from tlplat.domain import Domain
from tlplat.hookspecs import hookimpl
from tlplat.model import Backbone


@hookimpl
def tlplat_register_domains() -> list[type[Domain]]:
    from tlplat_medicine.domain import MedicineDomain

    return [MedicineDomain]


@hookimpl
def tlplat_register_backbones() -> list[type[Backbone]]:
    from tlplat_medicine.sources import MedicineNet

    return [MedicineNet]
