"""Encode texts in a new process: with exports, which need only TensorFlow, and with preprocessors from files."""

import json
import sys

import tensorflow as tf


def encode(preprocess, texts):
    return {name: value.numpy().tolist() for name, value in preprocess(tf.constant(texts)).items()}


folder, texts, kinds = sys.argv[1], *map(json.loads, sys.argv[2:])
inputs = {"exported words": encode(tf.saved_model.load(f"{folder}/words").preprocess, texts)}
assert "tensorflow_text" not in sys.modules

import tf_mtl as mtl  # noqa: E402

for kind in ["words", *kinds]:
    inputs[kind] = encode(mtl.text.load(f"{folder}/{kind}.json"), texts)
for kind in kinds:
    inputs[f"exported {kind}"] = encode(tf.saved_model.load(f"{folder}/{kind}").preprocess, texts)
print(json.dumps(inputs))
