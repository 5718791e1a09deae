"""Small models with tasks of four kinds, and their answers."""

import keras
import keras_hub
import numpy as np
import tensorflow as tf

import tf_mtl as mtl

WORDS = ["good", "bad", "ship", "late", "not", "very"]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##ping", "##s", ",", "é", "好"]
LABELS = {"topic": ["food", "travel", "sport"], "urgent": ["no", "yes"], "tags": ["new", "used"]}
OUTPUTS = {
    "topic": {"topic_label", "topic_score"},
    "urgent": {"urgent_label", "urgent_score"},
    "tags": {"tags_labels", "tags_scores"},
    "stars": {"stars_value", "stars_raw"},
}
ALL_OUTPUTS = set.union(*OUTPUTS.values())
TEXT_SIGNATURES = {"serving_default": ALL_OUTPUTS, **OUTPUTS}
TENSOR_SIGNATURES = {"tensors": ALL_OUTPUTS, **{f"tensors_{task}": names for task, names in OUTPUTS.items()}}
LENGTH = 8


def build(inputs, encoder):
    tasks = [
        mtl.tasks.Classification("topic", labels=LABELS["topic"]),
        mtl.tasks.BinaryClassification("urgent", labels=LABELS["urgent"]),
        mtl.tasks.MultiLabel("tags", labels=LABELS["tags"]),
        mtl.tasks.Regression("stars", scale=3.0, low=1, high=5),
    ]
    return mtl.build_model(inputs, mtl.trunks.HardSharing(encoder), tasks)


def words():
    """A Transformer on word ids."""
    keras.utils.set_random_seed(7)
    encoder = mtl.encoders.TransformerEncoder(len(WORDS) + 2, LENGTH, dim=16, layers=1, heads=2)
    model = build(keras.Input((LENGTH,), dtype="int32", name="ids"), encoder)
    return model, keras.layers.TextVectorization(vocabulary=WORDS, output_sequence_length=LENGTH)


def pieces():
    """A BERT on word pieces, tokenized by ops of TF-Text."""
    keras.utils.set_random_seed(7)
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32, "max_sequence_length": LENGTH}
    backbone = keras_hub.models.BertBackbone(len(PIECES), **sizes)
    names = ("token_ids", "segment_ids", "padding_mask")
    inputs = {name: keras.Input((LENGTH,), dtype="int32", name=name) for name in names}
    tokenizer = keras_hub.models.BertTokenizer(PIECES, lowercase=True)
    packer = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=LENGTH)
    return build(inputs, mtl.encoders.BackboneEncoder(backbone)), packer


def vectors():
    """A small network on vectors of four numbers."""
    keras.utils.set_random_seed(7)
    return build(keras.Input((4,), name="x"), mtl.encoders.MLPEncoder([8])), None


def answers(model, preprocessor, texts):
    """Return the model's answers for texts, by their names in exports."""
    answers_by_task = model.decode(model.predict(preprocessor(tf.constant(texts)), verbose=0))
    return {f"{task}_{key}": value for task, parts in answers_by_task.items() for key, value in parts.items()}


def assert_same(actual, expected):
    """Assert that strings are equal and numbers agree to 1e-5."""
    actual = np.asarray(actual)
    assert actual.shape == expected.shape
    if expected.dtype.kind in "OSU":
        assert strings_in(actual) == strings_in(expected)
    else:
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def strings_in(array):
    return [x.decode() if isinstance(x, bytes) else str(x) for x in np.asarray(array).ravel()]
