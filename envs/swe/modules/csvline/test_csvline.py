# mypy: disable-error-code="import-not-found"
"""Tests of reading and writing separated values."""

import pytest
from csvline import CsvError, convert, join_line, read, split_line, write


def test_plain_fields() -> None:
    """Empty ones count, also at both ends."""
    assert split_line("a,b,c") == ["a", "b", "c"]
    assert split_line(",a,,b,") == ["", "a", "", "b", ""]
    assert split_line("") == [""]


def test_quoted_fields() -> None:
    """They may hold the delimiter."""
    assert split_line('"a,b",c') == ["a,b", "c"]
    assert split_line('x,"a,,b"') == ["x", "a,,b"]
    assert split_line('"",""') == ["", ""]


def test_quotes_in_quotes() -> None:
    """Are written twice, also at both ends of a field."""
    assert split_line('"a ""b"" c",d') == ['a "b" c', "d"]
    assert split_line('"""a"""') == ['"a"']
    assert split_line('""""') == ['"']


def test_quotes_inside_of_plain_fields() -> None:
    """Are letters like others."""
    assert split_line('a"b,c') == ['a"b', "c"]
    assert split_line('"a",b"c"') == ["a", 'b"c"']


def test_spaces_around_quotes() -> None:
    """Do not count, but those inside do."""
    assert split_line('a, "b " , c') == ["a", "b ", " c"]
    assert split_line('" a ","b"', strip=True) == [" a ", "b"]


def test_stripping() -> None:
    """Takes spaces off plain fields, if asked for."""
    assert split_line(" a , b ") == [" a ", " b "]
    assert split_line(" a , b ", strip=True) == ["a", "b"]


def test_other_delimiters_and_quotes() -> None:
    """As the caller says."""
    assert split_line("a;b,c;'d;e'", ";", "'") == ["a", "b,c", "d;e"]
    assert join_line(["a;b", "c,d", "it's"], ";", "'") == "'a;b';c,d;'it''s'"


def test_broken_lines() -> None:
    """An open quote and letters behind a closed one, with the place."""
    with pytest.raises(CsvError, match="not closed"):
        split_line('a,"b')
    with pytest.raises(CsvError, match="unexpected 'x' behind a quote at 4"):
        split_line('"a"x,b')
    with pytest.raises(CsvError):
        split_line('"a" "b"')


def test_joining() -> None:
    """Quotes only where they are needed."""
    assert join_line(["a", 1, None, 2.5]) == "a,1,,2.5"
    assert join_line(["a,b", 'say "x"', " c", ""]) == '"a,b","say ""x"""," c",'


def test_what_is_joined_can_be_split() -> None:
    """Whatever is in the fields."""
    for fields in (["a", "b"], ["a,b", '"', " ", '""'], ['","', "x"], [" a", "b "]):
        assert split_line(join_line(fields)) == fields


def test_conversion() -> None:
    """Whole numbers, others, texts and nothing."""
    assert [convert(t) for t in ("12", "-3", "1.5", "1e3", "x1", " ", "")] == [12, -3, 1.5, 1000.0, "x1", None, None]
    assert isinstance(convert("12"), int) and isinstance(convert("1e3"), float)


def test_reading() -> None:
    """Rows below a heading; comments and empty lines are left out."""
    text = "# a list\nname, size\n\na,1\n  \nb,2.5\n#c,3\n"
    assert read(text) == [{"name": "a", "size": 1}, {"name": "b", "size": 2.5}]
    assert read("x;y\n1;a,b\n", ";") == [{"x": 1, "y": "a,b"}]
    assert read("") == [] and read("a,b\n") == []


def test_rows_of_another_length() -> None:
    """Short ones are filled up, long ones are an error that says which."""
    assert read("a,b,c\n1\n") == [{"a": 1, "b": None, "c": None}]
    with pytest.raises(CsvError, match="row 3 has 3 fields instead of 2"):
        read("a,b\n1,2\n1,2,3\n")


def test_writing() -> None:
    """All keys get a column."""
    assert write([{"a": 1}, {"b": "x,y", "a": 2}]) == 'a,b\n1,\n2,"x,y"\n'
    assert write([{"a": "1,5"}], ";") == "a\n1,5\n"
    assert write([]) == "" and write([{}]) == "\n\n"


def test_what_is_written_can_be_read() -> None:
    """Numbers, texts and nothing."""
    rows = [{"n": 1, "t": "a,b"}, {"n": 2.5, "t": None}]
    assert read(write(rows)) == rows
