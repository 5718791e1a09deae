import csv
import gzip

import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl


def write(tmp_path, text, name="a.csv"):
    path = tmp_path / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def column(dataset, field):
    return [row[field] for row in dataset.as_numpy_iterator()]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_csv(tmp_path, name):
    text = '\ufeffsentence,label,score\r\n"a ""b"", c",x,1\r\n\r\n"two\nlines",,\r\né,y, -2.5e1\r\n'
    records = mtl.data.from_csv(
        write(tmp_path, text, name), {"text": "sentence", "polarity": "label", "score": "score", "copy": "score"}
    )
    assert int(records.cardinality()) == 3
    assert records.element_spec["text"] == tf.TensorSpec([], tf.string)
    assert records.element_spec["score"] == tf.TensorSpec([], tf.float32)
    assert [text.decode() for text in column(records, "text")] == ['a "b", c', "two\nlines", "é"]
    assert column(records, "polarity") == [b"x", b"", b"y"]
    np.testing.assert_array_equal(column(records, "score"), np.float32([1, np.nan, -25]))
    np.testing.assert_array_equal(column(records, "copy"), np.float32([1, np.nan, -25]))


def test_a_column_that_is_not_all_numbers_is_read_as_strings(tmp_path):
    records = mtl.data.from_csv(write(tmp_path, "a,b,c\n1,,1_0\n?, ,2\n"), {"a": "a", "b": "b", "c": "c"})
    assert column(records, "a") == [b"1", b"?"]
    assert column(records, "b") == [b"", b" "]
    assert column(records, "c") == [b"1_0", b"2"]


def test_words_that_python_reads_as_numbers(tmp_path):
    records = mtl.data.from_csv(write(tmp_path, "a,b,c\nNan,1,NA\ninf,nan,2\n,inf,3\n"), {"a": "a", "b": "b", "c": "c"})
    assert column(records, "a") == [b"Nan", b"inf", b""]
    np.testing.assert_array_equal(column(records, "b"), np.float32([1, np.nan, np.inf]))
    assert column(records, "c") == [b"NA", b"2", b"3"]


def test_long_cells(tmp_path):
    limit = csv.field_size_limit()
    long = "word " * 40_000
    records = mtl.data.from_csv(write(tmp_path, f"text,label\n{long},a\n"), {"text": "text"})
    assert column(records, "text") == [long.encode()]
    assert csv.field_size_limit() == limit


def test_tabs_without_a_header_or_quotes(tmp_path):
    records = mtl.data.from_csv(
        write(tmp_path, 'a\t1\n"b\t2\n'),
        {"text": "t", "stars": "s"},
        names=["t", "s"],
        delimiter="\t",
        quoting=csv.QUOTE_NONE,
    )
    assert column(records, "text") == [b"a", b'"b']
    assert column(records, "stars") == [1, 2]


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("text,label\n", {"x": "text"}, r"a\.csv has no rows"),
        ("", {"x": "text"}, r"a\.csv has .*\[\]|a\.csv has no rows"),
        ("text,label\na,b\n", {}, r"`columns` must name at least one.*\['text', 'label'\]"),
        ("text,label\na,b\n", {"x": "Txt"}, r"`columns\['x'\]` is 'Txt', .*a\.csv.*Did you mean 'text'"),
        ("text,text\na,b\n", {"x": "text"}, r"is 'text', .*has 2 columns of that name"),
        ("text,label\na,b\n\nc\n", {"x": "text"}, r"a\.csv, line 4: 1 cells for 2 columns, .*without.*'label'"),
        ("text,label\na,b,c\n", {"x": "text"}, r"a\.csv, line 2: 3 cells for 2 columns, the last column is 'label'"),
        ('text,label\n"a,b\nc,d\n', {"x": "text"}, r"a\.csv, line \d: unexpected end of data.*`quoting`"),
    ],
)
def test_errors_of_csv(tmp_path, text, columns, message):
    with pytest.raises(ValueError, match=message):
        mtl.data.from_csv(write(tmp_path, text), columns)


def test_jsonl(tmp_path):
    text = (
        '{"w": ["Ada", "s\\u00e9"], "t": "x", "n": 1, "b": true, "extra": {}}\n\n'
        '{"w": null, "t": null, "n": null, "b": false}\n{"w": [], "n": -0.5, "b": null}'
    )
    records = mtl.data.from_jsonl(
        write(tmp_path, text, "a.jsonl"), {"words": "w", "topic": "t", "number": "n", "flag": "b"}
    )
    assert int(records.cardinality()) == 3
    assert records.element_spec == {
        "words": tf.TensorSpec([None], tf.string),
        "topic": tf.TensorSpec([], tf.string),
        "number": tf.TensorSpec([], tf.float32),
        "flag": tf.TensorSpec([], tf.float32),
    }
    assert [[word.decode() for word in words] for words in column(records, "words")] == [["Ada", "sé"], [], []]
    assert column(records, "topic") == [b"x", b"", b""]
    np.testing.assert_array_equal(column(records, "number"), np.float32([1, np.nan, -0.5]))
    np.testing.assert_array_equal(column(records, "flag"), np.float32([1, 0, np.nan]))


def test_fields_in_strings_are_read_as_strings(tmp_path):
    columns = {"id": "i", "text": "t"}
    records = mtl.data.from_csv(write(tmp_path, "i,t\n0123456789,nan\n1,\n"), columns, strings=["id", "text"])
    assert (column(records, "id"), column(records, "text")) == ([b"0123456789", b"1"], [b"nan", b""])
    text = '{"i": 12, "t": null}\n{"i": true, "t": "a"}\n'
    records = mtl.data.from_jsonl(write(tmp_path, text, "a.jsonl"), columns, strings=["id"])
    assert (column(records, "id"), column(records, "text")) == ([b"12", b"true"], [b"", b"a"])
    with pytest.raises(ValueError, match="`strings`.*Did you mean 'text'"):
        mtl.data.from_csv(write(tmp_path, "i,t\n1,2\n"), columns, strings=["texts"])


def test_a_list_field_that_is_missing_in_the_first_row(tmp_path):
    records = mtl.data.from_jsonl(write(tmp_path, '{"w": null}\n{"w": ["a"]}\n', "a.jsonl"), {"words": "w"})
    assert [words.tolist() for words in column(records, "words")] == [[], [b"a"]]


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("\n", {"x": "a"}, r"a\.jsonl has no rows"),
        ('{"a": 1}\n', {}, "`columns` must name at least one"),
        ('{"a": 1}\n{"text": "b"}\n', {"x": "texts"}, r"\['a', 'text'\].*Did you mean 'text'"),
        ('{"a": 1}\n{"a": \n', {"x": "a"}, r"a\.jsonl, line 2 is not JSON"),
        ('{"a": 1}\n[1]\n', {"x": "a"}, r"a\.jsonl, line 2 must be a JSON object, received \[1\]"),
        ('{"a": null}\n{"a": 1}\n\n{"a": "b"}\n', {"x": "a"}, r"line 4, column 'a' must hold numbers as line 2.*'b'"),
        ('{"a": [1]}\n', {"x": "a"}, r"line 1, column 'a' must hold a string, a number or a list of strings.*\[1\]"),
        ('{"a": ["b", null]}\n', {"x": "a"}, "line 1, column 'a' must hold.*None"),
        ('{"a": null}\n', {"x": "a"}, "column 'a' has no value in any line"),
    ],
)
def test_errors_of_jsonl(tmp_path, text, columns, message):
    with pytest.raises(ValueError, match=message):
        mtl.data.from_jsonl(write(tmp_path, text, "a.jsonl"), columns)
