import pytest
import tensorflow as tf

import tf_mtl as mtl

ATIS = {
    "seq.in": "fares to  boston \nlist them\n",
    "seq.out": "O O B-toloc.city_name\nO O\n",
    "label": "atis_flight#atis_airfare\natis_flight\n",
}


def write(folder, files):
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_rows(tmp_path):
    records = mtl.data.from_label_folder(write(tmp_path, ATIS))
    assert records.element_spec == {
        "words": tf.TensorSpec([None], tf.string),
        "slots": tf.TensorSpec([None], tf.string),
        "intent": tf.TensorSpec([], tf.string),
    }
    assert int(records.cardinality()) == 2
    first, second = records.as_numpy_iterator()
    assert first["words"].tolist() == [b"fares", b"to", b"boston"]
    assert first["slots"].tolist() == [b"O", b"O", b"B-toloc.city_name"]
    assert first["intent"] == b"atis_flight#atis_airfare"
    assert (second["words"].tolist(), second["intent"]) == ([b"list", b"them"], b"atis_flight")


@pytest.mark.parametrize("end", ["", "\n\n"])
def test_files_may_end_with_no_or_several_newlines(tmp_path, end):
    files = {name: text.rstrip("\n") + (end if name == "label" else "\n") for name, text in ATIS.items()}
    assert len(list(mtl.data.from_label_folder(write(tmp_path, files)))) == 2


def test_a_missing_file(tmp_path):
    write(tmp_path, ATIS)
    (tmp_path / "seq.out").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no \['seq.out'\]"):
        mtl.data.from_label_folder(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"label": "atis_flight\n"}, "one line per sentence.*'seq.in': 2, 'seq.out': 2, 'label': 1"),
        (dict.fromkeys(ATIS, "\n"), "one line per sentence.*'label': 0"),
        ({"seq.out": "O O O\nO\n"}, r"seq\.out, line 2 has 1 tags, but the same line of seq\.in has 2 words"),
        ({"seq.in": "\nlist them\n", "seq.out": "\nO O\n"}, r"seq\.in, line 1 is empty"),
        ({"label": "\natis_flight\n"}, r"label, line 1 is empty"),
    ],
)
def test_errors(tmp_path, files, message):
    with pytest.raises(ValueError, match=message):
        mtl.data.from_label_folder(write(tmp_path, ATIS | files))
