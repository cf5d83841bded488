"""The two embedded cohorts of breast cancer patients, in the same terms."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

COLUMNS = ("age", "meno", "size", "grade", "nodes", "pgr", "er", "hormon")
"""What both cohorts know: age (years), menopause, tumour size, grade, nodes, receptors (fmol/l), hormone therapy."""
CATEGORICAL = ("meno", "size", "grade", "hormon")
SIZES = ((20.0, "<=20"), (50.0, "20-50"), (np.inf, ">50"))
"""Rotterdam's classes of tumour size in mm; the German table holds millimetres."""
TREATMENT = "hormon"
LICENSE = "facts without names, as the R package survival (LGPL-2 or later) distributes them"
CITATIONS = {
    "rotterdam": "Foekens et al., Cancer Res. 60:636 (2000); Royston & Altman, BMC Med. Res. Methodol. 13:33 (2013)",
    "gbsg": "Schumacher et al., J. Clin. Oncol. 12:2086 (1994); Royston & Altman (2013)",
}


@dataclass(frozen=True)
class Cohort:
    """Patients of one registry.

    Attributes:
        table: columns as :mod:`tlplat.data.columns` takes them.
        targets: (n, 2) float32: days until recurrence or death, or until watching ended; 1 where the event came.
            For images of tissue (n,) int64 classes.
        ids: running numbers, with the registry's name.
    """

    table: dict[str, np.ndarray]
    targets: Tensor
    ids: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: np.ndarray) -> Cohort:
        """The patients numbered ``rows``."""
        table = {name: values[rows] for name, values in self.table.items()}
        return Cohort(table, self.targets[torch.from_numpy(rows)], [self.ids[i] for i in rows.tolist()])


def rotterdam() -> Cohort:
    """1546 node-positive patients of the Rotterdam tumour bank, as Royston & Altman (2013) take them.

    Recurrence-free time ends with a recurrence, else with death or the end of watching.
    """
    rows = [row for row in _read("rotterdam.csv") if float(row["nodes"]) > 0]
    event = [row["recur"] == "1" or row["death"] == "1" for row in rows]
    days = [float(row["rtime"] if row["recur"] == "1" else row["dtime"]) for row in rows]
    return _cohort("rotterdam", rows, [row["size"] for row in rows], days, event)


def gbsg() -> Cohort:
    """686 node-positive patients of the German Breast Cancer Study Group's trial."""
    rows = _read("gbsg.csv")
    sizes = [next(name for most, name in SIZES if float(row["size"]) <= most) for row in rows]
    return _cohort("gbsg", rows, sizes, [float(r["rfstime"]) for r in rows], [r["status"] == "1" for r in rows])


def _read(name: str) -> list[dict[str, str]]:
    with files("tlplat_medicine").joinpath("data", name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _cohort(name: str, rows: list[dict[str, str]], sizes: list[str], days: list[float], event: list[bool]) -> Cohort:
    table = {
        column: np.array([row[column] for row in rows], dtype=object if column in CATEGORICAL else np.float64)
        for column in COLUMNS
    }
    table["size"] = np.array(sizes, dtype=object)
    targets = torch.tensor([days, [float(e) for e in event]]).T.contiguous()
    return Cohort(table, targets, [f"{name}-{row['pid']}" for row in rows])
