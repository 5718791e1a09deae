import gzip

import pytest
import tensorflow as tf

import tf_mtl as mtl


def strings(dataset):
    return [{field: [w.decode() for w in words.numpy()] for field, words in row.items()} for row in dataset]


def write(path, text):
    path.write_bytes(text.encode())
    return path


def test_words_and_tags_between_empty_lines(tmp_path):
    """Several empty lines count as one, the last line needs no newline, and lines may end as on Windows."""
    text = "\r\n\r\nAda B-person\r\nspoke O\r\n\r\n \r\n\r\nYes O"
    records = mtl.data.from_conll(write(tmp_path / "a.conll", text))
    assert strings(records) == [
        {"words": ["Ada", "spoke"], "entities": ["B-person", "O"]},
        {"words": ["Yes"], "entities": ["O"]},
    ]
    assert int(records.cardinality()) == 2
    assert records.element_spec == {name: tf.TensorSpec([None], tf.string) for name in ("words", "entities")}
    assert strings(records) == strings(records)


def test_files_with_tabs_such_as_wnut17(tmp_path):
    """A line with only a tab ends a sentence, "#" is a word, and words may contain whitespace or be empty."""
    text = "#\tO\n#tag\tB-group\n\t\n\u2028\tO\nNew York\tB-location\n\xa0\tO\n\tO\n"
    assert strings(mtl.data.from_conll(write(tmp_path / "a.conll", text))) == [
        {"words": ["#", "#tag"], "entities": ["O", "B-group"]},
        {"words": ["\u2028", "New York", "\xa0", ""], "entities": ["O", "B-location", "O", "O"]},
    ]


def test_in_files_with_tabs_comments_are_lines_without_a_tab(tmp_path):
    text = "# text = we\n1\twe\tO\t-\n\n# text = #\n1\t#\tB-ORG\t-\n"
    assert strings(mtl.data.from_conll(write(tmp_path / "a.iob2", text), {"words": 1, "entities": 2})) == [
        {"words": ["we"], "entities": ["O"]},
        {"words": ["#"], "entities": ["B-ORG"]},
    ]


def test_in_files_without_tabs_comments_come_before_a_sentence(tmp_path):
    """In the Wall Street Journal, "#" is a word, the pound sign, and must be kept."""
    text = "# id 7\n#  x\tdomain=en\nfor IN B-PP\n# # B-NP\n500 CD I-NP\n\n-DOCSTART- -X- O\n\n#sold VBD B-VP\n"
    columns = {"words": 0, "speech": 1, "chunks": -1}
    assert strings(mtl.data.from_conll(write(tmp_path / "a.txt", text), columns)) == [
        {"words": ["for", "#", "500"], "speech": ["IN", "#", "CD"], "chunks": ["B-PP", "B-NP", "I-NP"]},
        {"words": ["#sold"], "speech": ["VBD"], "chunks": ["B-VP"]},
    ]


UNIVERSAL = """\
# sent_id = 1
# text =\twith a tab
1-2\tdon't\t_\t_
1\tdo\tdo\tAUX
2\tn't\tnot\tPART
2.1\tgo\tgo\tVERB

# sent_id = 2
1\t#\t#\tSYM
"""


@pytest.mark.parametrize("compressed", [False, True])
def test_universal_dependencies(tmp_path, compressed):
    if compressed:
        path = write(tmp_path / "a.conllu.gz", "")
        path.write_bytes(gzip.compress(UNIVERSAL.encode()))
    else:
        path = write(tmp_path / "a.conllu", UNIVERSAL)
    assert strings(mtl.data.from_conll(path, {"words": 1, "speech": 3})) == [
        {"words": ["do", "n't"], "speech": ["AUX", "PART"]},
        {"words": ["#"], "speech": ["SYM"]},
    ]


def test_other_encodings(tmp_path):
    path = tmp_path / "a.conll"
    path.write_bytes("Köln B-place\n".encode("latin-1"))
    assert strings(mtl.data.from_conll(path, encoding="latin-1"))[0]["words"] == ["Köln"]
    path.write_bytes("\ufeffOslo B-place\n".encode())
    assert strings(mtl.data.from_conll(path))[0]["words"] == ["Oslo"]


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("Ada B-person\n\nspoke\n", {"words": 0, "entities": -1}, r"a\.conll, line 3 has 1 column, .*needs 2"),
        ("a\tb\tO\nc\td\n", {"words": 1, "entities": 2}, r"a\.conll, line 2 has 2 columns, .*needs 3"),
        ("a b O\nc d\n", {"words": 0, "speech": 1, "entities": -1}, "line 2 has 2 columns, .*needs 3"),
        ("a O\n", {"words": 0, "entities": -3}, "line 1 has 2 columns, .*needs 4"),
        ("\n \n", {"words": 0}, r"a\.conll has no sentences"),
        ("", {"words": 0}, "has no sentences"),
        ("a\tO\nb\tO\t\n", {"words": 0, "entities": -1}, r"line 2 ends before the column of 'entities'"),
        ("a O\n", {}, "`columns` must name at least one"),
        ("a O\n\nb \ud800\n", {"words": 0}, r"a\.conll, line 3 is not utf-8.*`encoding`"),
    ],
)
def test_errors(tmp_path, text, columns, message):
    path = tmp_path / "a.conll"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match=message):
        mtl.data.from_conll(path, columns)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        mtl.data.from_conll(tmp_path / "nothing.conll")
