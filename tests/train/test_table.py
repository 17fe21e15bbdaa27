"""metrics.csv."""

import pandas as pd

from superpose.train.table import MetricsTable


def test_rows_are_on_the_disk_at_once_and_new_columns_go_to_the_right(tmp_path):
    path = tmp_path / "metrics.csv"
    table = MetricsTable(path)
    table.log_metrics({"train/loss": 2.5}, 0)
    assert path.read_text() == "step,train/loss\n0,2.5\n"
    table.log_metrics({"train/loss": 2.0}, 1)
    table.log_metrics({"val/loss": 3.0}, 2)
    table.log_metrics({"train/loss": 1.0}, 2)
    assert path.read_text() == "step,train/loss,val/loss\n0,2.5,\n1,2.0,\n2,,3.0\n2,1.0,\n"


def test_a_continued_table_leaves_out_what_comes_again(tmp_path):
    path = tmp_path / "metrics.csv"
    whole = "step,train/loss,val/loss\n0,3.0,\n1,2.5,\n2,,2.2\n2,2.0,\n3,1.5,\n4,,1.2\n"
    for step, kept in ((0, 0), (1, 1), (2, 3), (3, 4), (4, 6)):
        path.write_text(whole + "4,1.")  # the last row was cut off
        MetricsTable(path, step).log_metrics({"train/loss": 9.0}, step)
        rows = pd.read_csv(path)
        assert len(rows) == kept + 1
        assert rows.iloc[-1]["step"] == step
        assert rows.iloc[-1]["train/loss"] == 9
        assert path.read_text().startswith("step,train/loss")
