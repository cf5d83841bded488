"""Whole runs that adapt to unlabelled rows give the same bytes from two processes as from one."""

import numpy as np
import pytest
from test_runner import results

from tlplat.config import RunConfig
from tlplat.progress import Reporter
from tlplat.runner import run
from tlplat.stage import load_registry


def carried_out(out, file, jobs):
    config = RunConfig.model_validate(
        {
            "domain": "toy",
            "out": out,
            "strategies": ("adabn", "deep_coral", "prototype", "self_training"),
            "seeds": 1,
            "threads": 1,
            "jobs": jobs,
            "data": {"unlabeled": file},
            "train": {"steps": 12, "learning_rate": 3e-3},
        }
    )
    return run(config, load_registry(config), Reporter())


@pytest.mark.slow
def test_worker_processes_see_the_unlabelled_rows_too(toy, tmp_path):
    file = tmp_path / "more.csv"
    np.savetxt(file, toy.rows(60, 9, shift=0.3).inputs.tensor.numpy(), delimiter=",", fmt="%.9g")
    two, one = (carried_out(tmp_path / str(jobs), file, jobs) for jobs in (2, 1))
    assert results(two.folder) == results(one.folder)
    assert two.report["data_card"]["unlabeled"]["rows"] == 60
    assert "unlabeled = " in (two.folder / "config.toml").read_text(encoding="utf-8")
