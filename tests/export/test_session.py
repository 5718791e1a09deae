"""Arrays are read back unchanged from the files for the process that runs an export."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.export import _session

ARRAYS = {
    "float": np.array([[1.5, np.nan], [np.inf, -0.0]], "float32"),
    "bfloat16": np.arange(3).astype(tf.bfloat16.as_numpy_dtype),
    "int8": np.array([[-128], [127]], "int8"),
    "bool": np.array([True, False]),
    "bytes": np.array([[b"", b"\x00\xff\x00"], ["Zo\u00eb".encode(), b"a"]], object),
    "unicode": np.array(["", "Zo\u00eb"]),
    "fixed bytes": np.array([b"ab", b"c"]),
    "empty": np.zeros((0, 3), "int64"),
    "empty bytes": np.zeros((2, 0), object),
    "scalar": np.array(7.0),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_read_back_unchanged(name, tmp_path):
    _session.write(tmp_path / "file", [{"before": np.ones(2), name: ARRAYS[name], "after": "text"}])
    ((before, array, after),) = (item.values() for item in _session.read(tmp_path / "file"))
    np.testing.assert_array_equal(before, np.ones(2))
    assert after == "text"
    assert (array.dtype, array.shape) == (ARRAYS[name].dtype, ARRAYS[name].shape)
    assert array.tobytes() == ARRAYS[name].tobytes() if array.dtype != object else (array == ARRAYS[name]).all()


def test_json_contains_no_arrays_and_npz_no_objects(tmp_path):
    _session.write(tmp_path / "file", {"counts": [1, 2], "arrays": [ARRAYS["bytes"]], "none": None})
    assert json.loads((tmp_path / "file.json").read_text())["counts"] == [1, 2]
    with np.load(tmp_path / "file.npz", allow_pickle=False) as file:
        assert [file[name].dtype for name in file.files] == ["int64", "uint8"]
    values = _session.read(tmp_path / "file")
    assert (values["counts"], values["none"]) == ([1, 2], None)
