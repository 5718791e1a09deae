"""Answer in a new process: exported with TensorFlow alone, then preprocessors from their files."""

import json
import sys

import tensorflow as tf


def answers(preprocess, texts):
    return {name: value.numpy().tolist() for name, value in preprocess(tf.constant(texts)).items()}


folder, texts, kinds = sys.argv[1], *map(json.loads, sys.argv[2:])
found = {"exported words": answers(tf.saved_model.load(f"{folder}/words").preprocess, texts)}
assert "tensorflow_text" not in sys.modules

import tf_mtl as mtl  # noqa: E402

for kind in ["words", *kinds]:
    found[kind] = answers(mtl.text.load(f"{folder}/{kind}.json"), texts)
for kind in kinds:
    found[f"exported {kind}"] = answers(tf.saved_model.load(f"{folder}/{kind}").preprocess, texts)
print(json.dumps(found))
