import numpy as np
import pytest
import torch

from etudes.core.errors import Problem
from etudes.train import fit
from etudes.train.checkpoint import load, save
from etudes.train.rows import Rows


def test_numbers_are_put_by_row_and_name_and_read_as_columns():
    rows = Rows(3, "rank", "f1")
    rows.put(1, rank=3, f1=torch.tensor(0.5))
    rows.put(2, f1=np.float32(0.25))
    assert rows["rank"].tolist() == [0, 3, 0]
    assert rows["f1"].tolist() == [0, 0.5, 0.25]
    assert rows["f1"].dtype == np.float64


def test_numbers_survive_as_they_are_in_double_precision(tmp_path):
    rows = Rows(2, "x")
    rows.put(0, x=0.1)
    rows.put(1, x=2**53 - 1)
    save(tmp_path / "a", {"rows": rows})
    again = Rows(2, "x")
    load(tmp_path / "a", {"rows": again}, torch.device("cpu"))
    assert again["x"].tolist() == [0.1, 2**53 - 1]


def test_names_that_are_none_of_its_own_are_told():
    rows = Rows(2, "rank", "f1")
    with pytest.raises(Problem, match="no column 'rnak'; did you mean 'rank'"):
        rows.put(0, rnak=1)
    with pytest.raises(Problem, match="no column 'precision'"):
        rows["precision"]
    for n, columns in ((0, ("x",)), (2, ()), (2, ("x", "x"))):
        with pytest.raises(Problem, match="a table needs a row and columns with names of their own"):
            Rows(n, *columns)


def test_a_killed_run_goes_on_with_its_rows(coins, tmp_path, monkeypatch):
    from dataclasses import replace

    from etudes.core.record import load as load_runs
    from etudes.sweep import check

    asked = []

    def program(cfg, run):
        rows = Rows(8, "square")

        def step(i):
            asked.append(i)
            rows.put(i, square=i * i)
            return {}

        fit(run, {"rows": rows}, step, 8)
        run.result(**{"test/score": rows["square"].sum()})

    study = replace(coins, program=program)
    (spec, *_) = study.plan("smoke")
    at = check.kills(check.straight(study, spec, tmp_path / "straight"))
    asked.clear()
    check.resume(study, spec, tmp_path / "resumed", at)
    assert len(at) == 3
    assert asked == list(range(8))  # what was done is not done again
    (record,) = load_runs([spec], tmp_path / "resumed")
    assert record.metrics == {"test/score": sum(i * i for i in range(8))}
