"""Tests that tables are read row by row."""

import gzip
import io
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from palmetto.corpus.reading.finding import Problem
from palmetto.corpus.reading.records import Record
from palmetto.errors import UserError
from tests.references.reading_of import reading_of


def test_rows_by_the_names_in_the_first(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('\ufeffQ,A,url\n"a ""b"", c","two\nlines",u\n\nx,y,\n')
    assert reading_of(tmp_path / "a.csv", text=["Q", "A"]) == [
        Record("a.csv:3", 'a "b", c\ntwo\nlines', "u"),
        Record("a.csv:5", "x\ny", None),
    ]


def test_rows_without_names_by_number(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('one "\ttwo\nthree\tfour\nfive\n')
    assert reading_of(tmp_path / "a.tsv", text=["2", "1"]) == [
        Record("a.tsv:1", 'two\none "'),
        Record("a.tsv:2", "four\nthree"),
        Record("a.tsv:3", "five"),
    ]
    assert reading_of(tmp_path / "a.tsv", text=["2"])[2] == Problem("s", "a.tsv:3", "no field `2`, its fields: '1'")


def test_a_cell_without_a_column_costs_its_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n1,so, then\n2,two,,\n3\n4,four\n")
    assert reading_of(tmp_path / "a.csv") == [
        Problem("s", "a.csv:2", "3 cells where 2 columns are named", 8),
        Record("a.csv:3", "two"),
        Problem("s", "a.csv:4", "no field `text`, its fields: 'id'", 7),
        Record("a.csv:5", "four"),
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.parquet"])
def test_no_such_column(tmp_path: Path, name: str) -> None:
    if name == "a.parquet":
        parquet.write_table(pa.table({"Q": ["x"], "A": ["y"]}), tmp_path / name)
    else:
        (tmp_path / name).write_text("Q,A\nx,y\n".replace(",", "," if name == "a.csv" else "\t"))
    with pytest.raises(
        UserError, match=rf"{name}: no column `text`; the columns are 'Q', 'A'; .*sources\.s\.text"
    ) as caught:
        reading_of(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_lines_of_csv_in_other_encodings(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(
        b"id,text\n1,plain\n2,"
        + "été à la plage, déjà vu".replace(",", "").encode("cp1252")
        + b"\n3,\xea\xb0 cut\n4,last\n"
    )
    assert reading_of(tmp_path / "a.csv") == [
        Record("a.csv:2", "plain"),
        Record("a.csv:3", "été à la plage déjà vu"),
        Problem("s", "a.csv:4", "broken UTF-8 at byte 2"),
        Record("a.csv:4", "last"),
    ]


def test_a_quote_that_never_ends_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text\n"open\n' + "line\n" * 50_000)
    (record,) = reading_of(tmp_path / "a.csv")
    assert isinstance(record, Record)
    assert record.text.count("line") == 50_000


def test_a_quote_that_never_ends_costs_its_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        'id,text\n1,one\n2,"open\n3,three\n4,"four ""4""\nand more"\n5,five"\n6,"in "the" middle"\n7,"open\n8,last\n'
    )
    items = reading_of(tmp_path / "a.csv")
    assert [(item.name, item.text) for item in items if isinstance(item, Record)] == [
        ("a.csv:2", "one"),
        ("a.csv:4", "three"),
        ("a.csv:6", 'four "4"\nand more'),
        ("a.csv:7", 'five"'),
        ("a.csv:8", 'in the" middle"'),
        ("a.csv:10", "last"),
    ]
    assert [(item.name, item.size) for item in items if isinstance(item, Problem)] == [("a.csv:3", 8), ("a.csv:9", 8)]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, name: str) -> None:
    names = ["text", "id", "text"]
    table = pa.Table.from_arrays([pa.array(["x"])] * 3, names=names)
    parquet.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text(",".join(names) + "\nx,y,z\n")
    with pytest.raises(UserError, match=r"2 columns are named `text`; .*sources\.s\.text to another"):
        reading_of(tmp_path / name)
    assert reading_of(tmp_path / "a.parquet", text=["id"]) == [Record("a.parquet:0", "x")]


@pytest.mark.parametrize("extension", ["", ".gz"])
def test_parquet(tmp_path: Path, extension: str) -> None:
    table = pa.table(
        {
            "text": pa.array(["one", None, "셋"], pa.large_string()),
            "url": pa.array(["u", None, None], pa.string_view()),
            "license": [["MIT", "ISC"], [], ["MIT"]],
            "other": [1, 2, 3],
        }
    )
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    data = buffer.getvalue()
    if extension:
        data = gzip.compress(data)
    name = f"a.parquet{extension}"
    (tmp_path / name).write_bytes(data)
    assert reading_of(tmp_path / name) == [
        Record(f"{name}:0", "one", "u", "ISC AND MIT"),
        Record(f"{name}:1", ""),
        Record(f"{name}:2", "셋", None, "MIT"),
    ]


def test_strings_of_parquet_that_are_none(tmp_path: Path) -> None:
    korean = "하늘에 별은 깨알같이 총총 박혔다.".encode("cp949")
    data = pa.array([korean, b"ascii"], pa.binary())
    lying = pa.Array.from_buffers(pa.string(), 2, data.buffers())
    parquet.write_table(pa.table({"text": lying}), tmp_path / "a.parquet")
    assert reading_of(tmp_path / "a.parquet") == [
        Record("a.parquet:0", korean.decode("cp949")),
        Record("a.parquet:1", "ascii"),
    ]


def test_parquet_of_bytes_and_lists(tmp_path: Path) -> None:
    korean = "하늘에 별은 깨알같이 총총 박혔다."
    table = pa.table({"text": pa.array([korean.encode("cp949"), bytes(range(256))]), "turns": [["a", "b"], ["c"]]})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert reading_of(tmp_path / "a.parquet") == [
        Record("a.parquet:0", korean),
        Problem("s", "a.parquet:1", "`text`: binary"),
    ]
    assert reading_of(tmp_path / "a.parquet", text=["turns"])[0] == Record("a.parquet:0", "a\nb")


def test_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"{i * 7919} words" for i in range(4000)]
    parquet.write_table(pa.table({"text": texts}), path, row_group_size=1000, compression="zstd", use_dictionary=False)
    whole = path.read_bytes()
    start = parquet.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset
    path.write_bytes(whole[: start + 8] + bytes(64) + whole[start + 72 :])
    items = reading_of(path)
    records = [item for item in items if isinstance(item, Record)]
    (problem,) = [item for item in items if isinstance(item, Problem)]
    lost = int(problem.reason.partition("; ")[2].partition(" rows")[0].replace(",", ""))
    assert [record.text for record in records] == texts[: 3000 - lost] + texts[3000:]
    assert [record.name for record in records[-1000:]] == [f"a.parquet:{row}" for row in range(3000, 4000)]
    assert 0 < lost <= 1000
    assert problem.size > 0
    assert problem.reason.startswith("damaged or not Parquet (")
    for content in (whole[:-20], b"", b"PAR1 and nothing", whole[:100]):
        path.write_bytes(content)
        (refused,) = reading_of(path)
        assert isinstance(refused, Problem)
        assert "\n" not in refused.reason


def test_a_damaged_member_costs_its_rows(tmp_path: Path) -> None:
    rows = [f"{number},text {number * 7919}\n" for number in range(3000)]
    parts = ["id,text\n" + "".join(rows[:1000]), "".join(rows[1000:2000]), "".join(rows[2000:])]
    members = [bytearray(gzip.compress(part.encode(), mtime=0)) for part in parts]
    members[1][20:80] = bytes(60)
    (tmp_path / "a.csv.gz").write_bytes(b"".join(members))
    *records, problem = reading_of(tmp_path / "a.csv.gz")
    assert [record.text for record in records if isinstance(record, Record)] == [
        f"text {number * 7919}" for number in (*range(1000), *range(2000, 3000))
    ]
    assert isinstance(problem, Problem)
    assert problem.reason.endswith("what comes before and after is kept")
