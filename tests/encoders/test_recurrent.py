"""Recurrent encoders with masks of every form; Keras' GPU kernels accept only some of them."""

import keras
import numpy as np
import pytest
from keras.src.backend.tensorflow.rnn import _has_fully_masked_sequence, _is_sequence_right_padded

import tf_mtl as mtl

MASKS = {
    "right padding": [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]],
    "left padding": [[0, 0, 1, 1, 1], [0, 0, 0, 0, 1]],
    "gaps": [[1, 0, 1, 0, 1], [0, 1, 1, 0, 1]],
    "an empty row": [[0, 0, 0, 0, 0], [0, 1, 0, 1, 1]],
    "no padding": [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1]],
}
IDS = np.array([[3, 1, 4, 2, 5], [2, 6, 5, 3, 1]])


def masks():
    return pytest.mark.parametrize("mask", [np.array(m, bool) for m in MASKS.values()], ids=list(MASKS))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@masks()
def test_masked_tokens_are_skipped(cell, mask):
    encoder = mtl.encoders.RecurrentEncoder(10, dim=3, units=2, layers=2, cell=cell)
    sequence = encoder({"token_ids": IDS, "padding_mask": mask})["sequence"].numpy()
    embeddings, *layers = encoder.stages
    for row, valid in enumerate(mask):
        expected = embeddings.embedding(IDS[row : row + 1, valid])
        if not valid.any():
            continue
        for stage in layers:
            expected = stage.layer(expected)
        np.testing.assert_allclose(sequence[row, valid], expected[0], rtol=1e-5, atol=1e-6)


@masks()
def test_layers_are_given_masks_that_cudnn_accepts(mask, monkeypatch):
    received = []
    call = keras.layers.Bidirectional.call

    def spy(self, sequences, mask=None, **kwargs):
        received.append(mask)
        return call(self, sequences, mask=mask, **kwargs)

    monkeypatch.setattr(keras.layers.Bidirectional, "call", spy)
    mtl.encoders.RecurrentEncoder(10, dim=3, units=2, layers=2)({"token_ids": IDS, "padding_mask": mask})
    for mask in received[-2:]:
        assert _is_sequence_right_padded(mask)
        assert not _has_fully_masked_sequence(mask)


def test_masked_tokens_do_not_matter():
    encoder = mtl.encoders.RecurrentEncoder(10, dim=3, units=2)
    mask = np.array(MASKS["gaps"], bool)
    one = encoder({"token_ids": IDS, "padding_mask": mask})["pooled"]
    other = encoder({"token_ids": np.where(mask, IDS, 9), "padding_mask": mask})["pooled"]
    np.testing.assert_array_equal(one, other)
