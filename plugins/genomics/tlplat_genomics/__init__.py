"""Genomics for tlplat: hook implementations; the domain itself is in :mod:`tlplat_genomics.domain`."""

from __future__ import annotations

from tlplat.domain import Domain
from tlplat.hookspecs import hookimpl
from tlplat.model import Backbone


@hookimpl
def tlplat_register_domains() -> list[type[Domain]]:
    from tlplat_genomics.domain import GenomicsDomain

    return [GenomicsDomain]


@hookimpl
def tlplat_register_backbones() -> list[type[Backbone]]:
    from tlplat_genomics.backbone import StrandedCnn
    from tlplat_genomics.codon import CodonFrames
    from tlplat_genomics.normed import NormedCnn
    from tlplat_genomics.tiara import TiaraNet

    return [StrandedCnn, NormedCnn, CodonFrames, TiaraNet]
