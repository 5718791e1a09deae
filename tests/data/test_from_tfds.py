import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import tf_mtl as mtl

TAGS = ["O", "B-PER", "I-PER"]
ROWS = [
    (["Ada", "Lovelace", "spoke"], ["B-PER", "I-PER", "O"], "talk", 0.5),
    (["Rain"], ["O"], "weather", -1.0),
    ([], [], -1, 2.0),
]


class Sentences(tfds.core.GeneratorBasedBuilder):
    """Three sentences, one with an unknown topic."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        label = tfds.features.ClassLabel
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "tokens": tfds.features.Sequence(tfds.features.Text()),
                    "ner": tfds.features.Sequence(label(names=TAGS)),
                    "topic": label(names=["talk", "weather"]),
                    "score": np.float32,
                }
            ),
            description="Sentences.",
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for key, (tokens, ner, topic, score) in enumerate(ROWS):
            yield key, {"tokens": tokens, "ner": ner, "topic": topic, "score": score}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    Sentences(data_dir=folder).download_and_prepare()
    return folder


def test_class_labels_become_their_names(data_dir):
    records = mtl.data.from_tfds("sentences", "train", data_dir=data_dir, download=False)
    assert int(records.cardinality()) == 3
    assert records.element_spec == {
        "tokens": tf.TensorSpec([None], tf.string),
        "ner": tf.TensorSpec([None], tf.string),
        "topic": tf.TensorSpec([], tf.string),
        "score": tf.TensorSpec([], tf.float32),
    }
    rows = sorted(records.as_numpy_iterator(), key=lambda row: row["score"])
    for row, (tokens, ner, topic, score) in zip(rows, sorted(ROWS, key=lambda row: row[3]), strict=True):
        assert [token.decode() for token in row["tokens"]] == tokens
        assert [tag.decode() for tag in row["ner"]] == ner
        assert row["topic"].decode() == ("" if topic == -1 else topic)
        assert row["score"] == np.float32(score)


def test_columns_and_order(data_dir):
    columns = {"words": "tokens", "entities": "ner"}
    first, second = (mtl.data.from_tfds("sentences", "train", columns, data_dir, download=False) for _ in range(2))
    assert set(first.element_spec) == {"words", "entities"}
    assert [row["words"].tolist() for row in first.as_numpy_iterator()] == [
        row["words"].tolist() for row in second.as_numpy_iterator()
    ]
    assert mtl.data.labels_of(first, "entities", scheme="BIO") == TAGS


def test_a_slice_of_a_split(data_dir):
    assert len(list(mtl.data.from_tfds("sentences", "train[:2]", data_dir=data_dir, download=False))) == 2


def test_a_registered_data_set():
    with tfds.testing.mock_data(num_examples=5):
        rows = mtl.data.from_tfds("conll2003", "train", {"words": "tokens", "entities": "ner"})
        labels = set(mtl.data.labels_of(rows, "entities"))
    tags = {"O", *(f"{prefix}-{kind}" for kind in ("PER", "ORG", "LOC", "MISC") for prefix in "BI")}
    assert int(rows.cardinality()) == 5
    assert labels
    assert labels <= tags


def test_an_unknown_feature(data_dir):
    with pytest.raises(ValueError, match=r"`columns\['words'\]` is 'token'.*Did you mean 'tokens'"):
        mtl.data.from_tfds("sentences", "train", {"words": "token"}, data_dir, download=False)


def test_rows_that_are_not_dicts(data_dir):
    with tfds.testing.mock_data(), pytest.raises(TypeError, match="`name` must be a data set of rows.*as_supervised"):
        mtl.data.from_tfds("ag_news_subset", "train", as_supervised=True)


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("imdb_reviews", "train", r"(?s)'imdb_reviews': AssertionError: .*could not find data.*`data_dir`.*tfds build"),
        ("no_such_data_set", "train", "(?s)'no_such_data_set': DatasetNotFoundError: .*Check the name"),
        ("sentences", "trian", r"(?s)split 'trian' of 'sentences': ValueError: .*\['train'\].*the split"),
    ],
)
def test_errors_contain_those_of_tfds(data_dir, name, split, message):
    with pytest.raises(RuntimeError, match=message):
        mtl.data.from_tfds(name, split, data_dir=data_dir, download=False)
