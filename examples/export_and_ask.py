"""An exported model answers requests: raw columns in, decoded answers out, with only TensorFlow.

Shows: a `keras.utils.FeatureSpace` that prepares both the training data and the requests, `mtl.export.saved_model`, its
signatures, and the few lines that a client needs.

    python examples/export_and_ask.py
"""

import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import tf_mtl as mtl

# Orders of a shop as its database stores them: strings and numbers. Two questions: will the customer return the order,
# and how many days will the delivery take?

rng = np.random.default_rng(0)
orders = {
    "country": rng.choice(["Chile", "Kenya", "Norway"], 4000),
    "article": rng.choice(["book", "shoes", "lamp"], 4000),
    "price": rng.uniform(5, 200, 4000).astype("float32"),
}
doubt = 5.0 * (orders["article"] == "shoes") + orders["price"] / 40 + rng.logistic(size=4000)
distance = np.select([orders["country"] == "Chile", orders["country"] == "Kenya"], [9.0, 6.0], 2.0)
labels = {
    "returned": (doubt > 5).astype("float32"),
    "days": (distance + 2.0 * (orders["article"] == "lamp") + rng.gamma(1.0, size=4000)).astype("float32"),
}

# The feature space learns the categories, and the mean and variance of the price, from the raw columns.

space = keras.utils.FeatureSpace(
    {
        "country": keras.utils.FeatureSpace.string_categorical(output_mode="int"),
        "article": keras.utils.FeatureSpace.string_categorical(output_mode="int"),
        "price": "float_normalized",
    },
    output_mode="dict",
)
raw = tf.data.Dataset.from_tensor_slices((orders, labels)).batch(100)
space.adapt(raw.map(lambda x, y: x))
rows = raw.map(lambda x, y: (space(x), y))

# A `TabularEncoder` embeds the categories. After it come shared layers and a head for each question.

keras.utils.set_random_seed(0)
encoder = mtl.encoders.TabularEncoder.from_features(space)
days = labels["days"]
model = mtl.build_model(
    encoder.inputs(),
    mtl.trunks.HardSharing([encoder, mtl.encoders.MLPEncoder([32])]),
    [mtl.tasks.BinaryClassification("returned"), mtl.tasks.Regression("days", scale=days.std(), offset=days.mean())],
)
model.compile(keras.optimizers.Adam(1e-2))
model.fit(rows.take(30), epochs=5, verbose=0)
results = model.evaluate(rows.skip(30), verbose=0, return_dict=True)

# The export contains the feature space, so requests consist of raw columns. Before the export appears, a new process
# loads it and compares it with the model; the table has the results. `orders/1/` also contains a model card, and a
# README with commands for requests to a server.

path = mtl.export.saved_model(model, Path(tempfile.mkdtemp()) / "orders", preprocessor=space, metrics=results)

# From here on, TensorFlow is enough. `serving_default` answers both questions; `returned` and `days` answer one each,
# without running the other head.

served = tf.saved_model.load(str(path))
request = {"country": ["Chile", "Norway"], "article": ["shoes", "book"], "price": [150.0, 10.0]}
for signature in ("serving_default", "days"):
    answer = served.signatures[signature](**{name: tf.constant(values) for name, values in request.items()})
    print(f"\n{signature}:")
    for name, values in sorted(answer.items()):
        print(f"  {name}: {values.numpy()}")

# It prints:
#
# | signature        | rows | difference | alone    | variables | parameters |
# |------------------|-----:|------------|----------|----------:|-----------:|
# | serving_default  |    2 | <= 1e-05   | <= 1e-05 |         7 |        706 |
# | tensors          |    2 | <= 1e-05   | <= 1e-05 |         7 |        706 |
# | tensors_returned |    2 | <= 1e-05   | <= 1e-05 |         5 |        673 |
# | returned         |    2 | <= 1e-05   | <= 1e-05 |         5 |        673 |
# | tensors_days     |    2 | <= 1e-05   | <= 1e-05 |         5 |        673 |
# | days             |    2 | <= 1e-05   | <= 1e-05 |         5 |        673 |
#
# Weights: 2,824 bytes.
#
# serving_default:
#   days_raw: [10.139336   3.0628195]
#   days_value: [10.139336   3.0628195]
#   returned_label: [b'yes' b'no']
#   returned_score: [0.97128993 0.01183815]
#
# days:
#   days_raw: [10.139336   3.0628195]
#   days_value: [10.139336   3.0628195]
