"""Your own Keras model on several tasks: `keras.Model` becomes `mtl.MultiTaskModel`, and nothing else changes.

Shows: a functional graph with a dict of outputs, `compile`, `fit`, `evaluate`, the same numbers as plain Keras, a file
that holds all of it, training that continues from the file, and parts of the model used by themselves.

    python examples/your_own_model.py
"""

import tempfile
from pathlib import Path

import keras
import numpy as np

import tf_mtl as mtl

# Two thousand flats, each with eight measurements. Two things are known about each: which of three districts it is in,
# and its price. Both depend on the same two hidden factors, which is what makes it worthwhile to learn them together.

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
factors = rng.normal(size=(2000, 2))
x = (factors @ rng.normal(size=(2, 8)) + 0.1 * rng.normal(size=(2000, 8))).astype("float32")
y = {
    "district": np.digitize(factors[:, 0], [-0.5, 0.5]),
    "price": (factors[:, 0] * factors[:, 1] + factors[:, 1]).astype("float32"),
}
train_x, test_x = x[:1500], x[1500:]
train_y = {task: labels[:1500] for task, labels in y.items()}
test_y = {task: labels[1500:] for task, labels in y.items()}

# The graph is an ordinary one. Its outputs are a dict, and the keys name the tasks. Which layers the tasks share is
# read off the graph: here `shared_1` and `shared_2`.

inputs = keras.Input((8,), name="measurements")
h = keras.layers.Dense(64, activation="relu", name="shared_1")(inputs)
h = keras.layers.Dense(64, activation="relu", name="shared_2")(h)
outputs = {
    "district": keras.layers.Dense(3, name="district")(h),
    "price": keras.layers.Dense(1, name="price")(keras.layers.Dense(16, activation="relu", name="price_hidden")(h)),
}
model = mtl.MultiTaskModel(inputs, outputs)  # instead of keras.Model(inputs, outputs)

# `compile` takes losses, metrics and loss weights by task, as `keras.Model` does. What is new is optional: `balancing`
# says how the tasks' losses or gradients become one update. "equal" is the sum that plain Keras minimises, too.

loss = {"district": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "price": "mse"}
metrics = {"district": ["accuracy"], "price": ["mae"]}
model.compile(keras.optimizers.Adam(3e-3), loss=loss, metrics=metrics, balancing="equal")
model.fit(train_x, train_y, validation_data=(test_x, test_y), epochs=15, verbose=0)

# The graph is the same, so `keras.Model` can evaluate it, and gives the same numbers. The batches are of equal size,
# because Keras averages each task's loss over the batches, and a smaller last one would count too much.

plain = keras.Model(inputs, outputs)
plain.compile(loss=loss, metrics=metrics)
ours = model.evaluate(test_x, test_y, batch_size=100, verbose=0, return_dict=True)
theirs = plain.evaluate(test_x, test_y, batch_size=100, verbose=0, return_dict=True)
rows = [[name, value, theirs[name]] for name, value in ours.items()]
print(mtl.report.table(["test result", "MultiTaskModel", "keras.Model"], rows))

# A `.keras` file contains the graph, the weights, the arguments of `compile` and the optimizer's state, so training
# can resume from the file.

path = Path(tempfile.mkdtemp()) / "flats.keras"
model.save(path)
loaded = keras.models.load_model(path)
loaded.fit(train_x, train_y, epochs=5, verbose=0)
change = loaded.evaluate(test_x, test_y, verbose=0, return_dict=True)["loss"] - ours["loss"]
print(f"\nFive more epochs from the file changed the loss by {change:+.2f}.")

# Parts of the model are Keras models as well: a single task, to be tuned or served without the others, or the shared
# layers.

price = model.single_task("price", copy=True)
features = keras.Model(model.input, model.get_layer("shared_2").output)
print(f"Outputs of {price.task_names}: {price.predict(test_x, verbose=0)['price'].shape}.")
print(f"Shared features: {features.predict(test_x, verbose=0).shape}.")

# It prints:
#
# | test result       | MultiTaskModel | keras.Model |
# |-------------------|---------------:|------------:|
# | district_accuracy |          0.958 |       0.958 |
# | district_loss     |          0.083 |       0.083 |
# | loss              |          0.112 |       0.112 |
# | price_loss        |          0.029 |       0.029 |
# | price_mae         |          0.125 |       0.125 |
#
# Five more epochs from the file changed the loss by +0.03.
# Outputs of ('price',): (500, 1).
# Shared features: (500, 64).
