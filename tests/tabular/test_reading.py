"""Tables in files of several kinds, and what is said of files that hold none."""

import pandas as pd
import pytest

from superpose.tabular import InputError, read_table
from superpose.tabular.reading import near, require_columns, shorten

FRAME = pd.DataFrame({"a": [1.5, 2.5], "town": ["Köln", "Rome"]})


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv_of_any_separator_and_parquet_are_read_whatever_their_name(tmp_path, separator, encoding):
    FRAME.to_csv(tmp_path / "table", sep=separator, index=False, encoding=encoding)
    FRAME.to_parquet(tmp_path / "table.csv")
    for name in ("table", "table.csv"):
        pd.testing.assert_frame_equal(read_table(str(tmp_path / name)), FRAME, check_dtype=False)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_decimal_commas_are_read_where_commas_do_not_separate(tmp_path, separator):
    (tmp_path / "t.csv").write_text(f"a{separator} b \n-1,5{separator}x\n2{separator}y\n")
    frame = read_table(str(tmp_path / "t.csv"))
    assert frame["a"].tolist() == [-1.5, 2]
    assert frame["b"].tolist() == ["x", "y"]


def test_question_marks_and_empty_cells_are_missing(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,?\n,x\nNA,y\n")
    assert read_table(str(tmp_path / "t.csv")).isna().sum().to_dict() == {"a": 2, "b": 1}


def test_text_columns_are_read_as_they_stand(tmp_path):
    (tmp_path / "t.csv").write_text("code,n\n01,1\n02,2\n")
    assert read_table(str(tmp_path / "t.csv"), text=["code", "elsewhere"])["code"].tolist() == ["01", "02"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"a,b\n", "no rows"),
        (b"a,b\n1,2\n3,4,5\n", "line 3"),
        ("a\nKöln\n".encode("latin-1"), "UTF-8"),
        (b"PK\x03\x04", "spreadsheet"),
        (b"\x00\x01\x02", "neither Parquet nor text"),
        (b"PAR1 but not really", "cannot be read"),
    ],
)
def test_what_is_no_table_raises_one_sentence(tmp_path, content, words):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=words) as raised:
        read_table(str(tmp_path / "t.csv"))
    assert "\n" not in str(raised.value)


def test_missing_files_and_folders_raise(tmp_path):
    (tmp_path / "houses.csv").write_text("a\n1\n")
    with pytest.raises(InputError, match=r"no file .*hauses.csv; did you mean .*houses.csv"):
        read_table(str(tmp_path / "hauses.csv"))
    with pytest.raises(InputError, match="no file"):
        read_table(str(tmp_path / "nowhere" / "t.csv"))
    with pytest.raises(InputError, match="folder"):
        read_table(str(tmp_path))


def test_near_names_are_offered_and_others_listed():
    assert near("Prise", ["price", "size"]) == "did you mean 'price'?"
    assert near("zzz", ["price", "size"]) == ""
    assert shorten("abcdefgh", 6) == "'a', 'b', 'c', 'd', 'e', 'f' and 2 more"
    with pytest.raises(
        InputError, match=r"--drop names a column that the table lacks: 'twn' \(did you mean 'town'\?\)"
    ):
        require_columns(FRAME, ["a", "twn"], "--drop names")
    with pytest.raises(InputError, match=r"2 columns that the table lacks: 'x', 'y'\. The table has 'a', 'town'"):
        require_columns(FRAME, ["x", "y"], "the model needs")
