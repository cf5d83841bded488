"""Volatility: the demo's indices, and prices of the user's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from tlplat.data.columns import TableEncoder
from tlplat.domain import DataOptions, DomainContext, Intake, NetworkInput, TargetTask
from tlplat.errors import DataError
from tlplat.model import SourceModel
from tlplat.tabular import TableInputs, encoder_for
from tlplat.tasks.base import Evidence
from tlplat_finance import garch, sources
from tlplat_finance.assets import EU_MARKETS
from tlplat_finance.baselines import GARCH
from tlplat_finance.prices import Panel, Series, eu_indices, read_prices
from tlplat_finance.risk import tails_of
from tlplat_finance.volatility import FEATURES, MOMENT, WINDOW, Windows, standardised, windows

DEMO_TEST_FROM = "1995"
BLOCK = 44
"""Days of a block that the bootstrap draws whole: two months. Errors of neighbouring days go together."""


def target(options: Any, data: DataOptions, source: SourceModel, context: DomainContext) -> TargetTask:
    """The demo's indices or the user's prices: labelled days first, an embargo, then test days."""
    panel = Panel(eu_indices(context)) if data.path is None else _read(options, data, context)
    series = panel.series
    rows = windows(series, options.horizon)
    parted = _split(options, panel, rows, demo=data.path is None)
    rows.table[GARCH] = garch.forecasts(series, rows, options.horizon, parted.cut)
    encoder = TableEncoder.from_json(source.preprocess["columns"])
    extra = _embargo(options) - options.horizon
    units = rows.table[MOMENT].astype(np.int64) // BLOCK
    everything = sources.volatility_examples(rows, encoder, units, extra)
    pool, test = (everything.select(torch.from_numpy(kept)) for kept in (parted.pool, parted.test))
    if parted.held is not None:
        pool = dataclasses.replace(pool, validation=torch.from_numpy(parted.held[parted.pool]))
    first = _said(series, parted.cut)
    if data.path is not None and source.name == sources.VOLATILITY_NAME and first < sources.US_UNTIL:
        context.warn(f"the source has seen prices up to 1994, and test days begin at {first}: markets move together")
    card: dict[str, Any] = {
        "series": [one.name for one in series],
        "days": int(max(one.moments[-1] for one in series)) + 1,
        "pool_rows": len(pool),
        "test_rows": len(test),
        "split": {
            "by": "time: labelled days first, then a gap, then test days, whose windows begin after the gap"
            + (f"; days as said by {panel.by}" if panel.by else ""),
            "test_windows_from": first,
            "embargo_days": _embargo(options),
            "rows_left_out": len(rows) - len(pool) - len(test),
        },
        "note": "a forecast of volatility and risk is no advice to buy or sell",
    }
    if data.path is None:
        about = "daily closes of four European indices, 1991 to 1998; a row is an index and a day"
        card = {"about": about, "license": EU_MARKETS.license, "citation": EU_MARKETS.citation, **card}
        title = f"volatility: {source.name} -> European indices"
    else:
        card = {"file": data.path.name, **card}
        title = f"volatility of {data.path.name}"
    saved = {
        **source.preprocess,
        "horizon": options.horizon,
        "tails": tails_of(standardised(rows.select(parted.pool))),
        "price": data.target,
        "time": options.time,
        "group": data.group,
        "split": data.split,
        "date_format": options.date_format,
    }
    task = sources.volatility_task(options.horizon)
    return TargetTask(title, task, pool, test, saved, card, f"block of {BLOCK} days", unlabeled=pool.inputs)


def intake(network: NetworkInput, options: Any, data: DataOptions, context: DomainContext) -> Intake:
    """The features of a window of prices as they are, or as the network's file encodes them."""
    nothing = {name: np.zeros(0) for name in FEATURES}
    encoder = encoder_for(network, "finance", nothing, "features of prices")
    kind = "volatility" if network.told is None else str(network.told.get("kind"))
    return Intake((encoder.width,), {"kind": kind, "columns": encoder.to_json(), "horizon": options.horizon})


def check(options: Any, data: DataOptions, context: DomainContext) -> None:
    """Read the user's prices, and see that there are days enough."""
    panel = _read(options, data, context)
    _split(options, panel, windows(panel.series, options.horizon), demo=False)


def pretrained(options: Any, data: DataOptions, context: DomainContext) -> SourceModel:
    """A network trained on the user's prices."""
    assert data.path is not None
    about = {"data": data.path.name, "license": "", "citation": ""}
    panel = _read(options, data, context)
    cut = None if panel.begins is None else panel.begins[1]
    name = data.path.name.partition(".")[0]
    return sources.volatility_source(name, panel.series, options.horizon, about, context, cut)


def encode(path: Path, preprocess: Mapping[str, Any], context: DomainContext) -> tuple[Sequence[str], TableInputs]:
    """A row for each series and day that has a whole window behind it, the last day included."""
    panel = read_prices(
        path,
        price=preprocess.get("price"),
        time=preprocess.get("time"),
        group=preprocess.get("group"),
        form=preprocess.get("date_format"),
        split=preprocess.get("split"),
        context=context,
    )
    rows = windows(panel.series, preprocess["horizon"], known=False)
    return rows.ids, TableInputs.of(TableEncoder.from_json(preprocess["columns"]), rows.table)


def accuracy(evidence: Evidence, median: np.ndarray) -> dict[str, Any]:
    """A table on the medians (n,): R2, QLIKE (Patton 2011), and the share within the outermost quantiles."""
    y, p = evidence.targets[:, 0].astype(np.float64), evidence.predictions[:, 0]
    gap = 2 * (y - median)
    measures = {
        "R²": float(1 - ((y - median) ** 2).mean() / y.var()),
        "rank correlation": float(spearmanr(y, median).statistic),
        "QLIKE": float((np.exp(gap) - gap - 1).mean()),
        "bias": float((median - y).mean()),
        "inside the quantiles": float(((y >= p[:, 0]) & (y <= p[:, -1])).mean()),
    }
    return {
        "title": "Accuracy of the median",
        "columns": list(measures),
        "rows": [list(measures.values())],
        "caption": "Of the median, for log volatility; R² is against the mean of the test rows. QLIKE is 0 "
        "for a perfect forecast of the variance. Inside the quantiles: between the outermost ones.",
    }


def _read(options: Any, data: DataOptions, context: DomainContext) -> Panel:
    assert data.path is not None
    return read_prices(
        data.path,
        price=data.target,
        time=options.time,
        group=data.group,
        form=options.date_format,
        late=options.future,
        split=data.split,
        data=data,
        context=context,
    )


def _embargo(options: Any) -> int:
    return int(options.horizon if options.embargo is None else options.embargo)


@dataclass(frozen=True)
class Parted:
    """Which rows are on which side.

    Attributes:
        cut: the moment at which test windows begin. pool, test: row numbers, int64.
        held: (n,) True for validation rows, or None: the user set none apart.
    """

    cut: int
    pool: np.ndarray
    test: np.ndarray
    held: np.ndarray | None = None


def _split(options: Any, panel: Panel, rows: Windows, *, demo: bool) -> Parted:
    """The demo's, the user's, or the last share of the days; windows, horizons and embargos reach over no boundary.

    Raises:
        DataError TL-DATA-SHORT: too few days on one side.
    """
    series, validation = panel.series, None
    last = int(max(one.moments[-1] for one in series))
    if demo:
        cut = next(i for i, said in enumerate(series[0].said) if said >= DEMO_TEST_FROM)
    elif panel.begins is not None:
        validation, cut = panel.begins
    else:
        moments = np.unique(rows.table[MOMENT])
        cut = int(moments[int(len(moments) * (1 - options.test_share))])
    begin, end = rows.spans[:, 0], rows.spans[:, 1] + _embargo(options) - options.horizon
    pool, test, held = end < cut, begin >= cut, None
    sides = {"before the split": pool, "after the split": test}
    if validation is not None:
        held = pool & (begin >= validation)
        pool = held | (end < validation)
        sides = {"to train on": pool & ~held, "to validate on": held, "to test on": test}
    for side, chosen in sides.items():
        if chosen.any():
            continue
        raise DataError(
            "TL-DATA-SHORT",
            f"no rows are left {side}: a window takes {WINDOW} days, the horizon {options.horizon}, the "
            f"embargo {_embargo(options)}",
            found=f"{last + 1} days, {len(rows)} rows with a whole window",
            expected=f"several times {WINDOW + options.horizon} days on each side",
            fix="give longer series, or another " + ("split" if panel.begins else "--test-share"),
        )
    return Parted(cut, np.flatnonzero(pool), np.flatnonzero(test), held)


def _said(series: Sequence[Series], moment: int) -> str:
    """The moment as the first series that has it says it."""
    for one in series:
        at = int(np.searchsorted(one.moments, moment))
        if at < len(one.moments) and one.moments[at] == moment:
            return one.said[at]
    return str(moment)
