"""The real files behind the demos, pinned by SHA-256."""

from __future__ import annotations

from tlplat.assets import Asset, Embedded, PipMember

CREDIT_CITATION = "Belanche, credit scoring data, Universitat Politècnica de Catalunya; R package modeldata (Kuhn)"
EU_CITATION = "EuStockMarkets, closes of four indices 1991-1998, Erste Bank AG, Vienna; R package datasets"
US_CITATION = "Delatte, Nicolini & Manzi, skfolio: portfolio optimisation in Python; prices of 20 US stocks 1990-2022"
CREDIT_LICENSE = "facts without names, as the R package modeldata (MIT) distributes them"
EU_LICENSE = "facts, as the R package datasets distributes them"

CREDIT = Asset(
    name="credit-data",
    sha256="64984b2aff14d24ebdeb5a051d992194f03d0dc8f250372b9e37c4e653ba678d",
    license=CREDIT_LICENSE,
    citation=CREDIT_CITATION,
    origin=Embedded("tlplat_finance", "data/credit_data.csv"),
    bytes=291480,
)

EU_MARKETS = Asset(
    name="eu-stock-markets",
    sha256="ad50ee13c38550f18732989760958ca2a7b311d4cb87dce0a412a79cfcb07798",
    license=EU_LICENSE,
    citation=EU_CITATION,
    origin=Embedded("tlplat_finance", "data/eu_stock_markets.csv"),
    bytes=53777,
)

US_STOCKS = Asset(
    name="us-stocks",
    sha256="ee21cac28befb1d0a739a9ceb22184f995394726aa0cfde9a21941d1ac04ac0d",
    license="BSD-3-Clause (package skfolio)",
    citation=US_CITATION,
    origin=PipMember("skfolio", "1.12.2", "skfolio/datasets/data/sp500_dataset.csv.gz"),
    bytes=426065,
)

ALL = [CREDIT, EU_MARKETS, US_STOCKS]
