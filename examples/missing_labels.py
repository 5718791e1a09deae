"""Rows that lack labels: what they do to losses, training and variables, compared with plain Keras.

Shows: `mtl.data.mask_missing`, label weights, a task's loss computed by hand, training with few labels, and a batch
in which no row has a label for one of the tasks.

    python examples/missing_labels.py
"""

import keras
import numpy as np
import tensorflow as tf

import tf_mtl as mtl

# Three thousand patients with eight measurements each. The last thousand have all labels and are for testing. Of the
# others, one in ten lacks the diagnosis, and only one in twenty had the blood test. -1 marks a missing diagnosis, and
# NaN a missing blood value.

rng = np.random.default_rng(0)
x = rng.normal(size=(3000, 8)).astype("float32")
diagnosis = np.digitize(x[:, 0] + x[:, 1], [-0.7, 0.7])
blood = (1 + x[:, 0] + 0.5 * x[:, 1] ** 2).astype("float32")
diagnosis[:2000][rng.random(2000) < 0.1] = -1
blood[:2000][rng.random(2000) < 0.95] = np.nan
training = x[:2000], {"diagnosis": diagnosis[:2000], "blood": blood[:2000]}
testing = x[2000:], {"diagnosis": diagnosis[2000:], "blood": blood[2000:]}

# `mask_missing` turns these markers into label weights: 0 where the label is missing, 1 elsewhere. Existing weights,
# such as 0.5 for a doubtful diagnosis, are multiplied by them. Plain Keras uses label weights as well, but markers must
# be replaced first, because 0 * NaN is NaN, and -1 is not a class.

markers = {"diagnosis": -1, "blood": float("nan")}
batches = mtl.data.mask_missing(tf.data.Dataset.from_tensor_slices(training).batch(200), markers)
plain_batches = batches.map(lambda x, y, w: (x, {task: tf.where(w[task] > 0, y[task], 0) for task in y}, w))
all_rows, plain_rows = (next(iter(rows.unbatch().batch(2000))) for rows in (batches, plain_batches))


def small_model(model_class):
    """Return a compiled model with two shared layers; every call gives the same initial weights."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,), name="measurements")
    h = keras.layers.Dense(64, activation="relu")(inputs)
    h = keras.layers.Dense(64, activation="relu")(h)
    outputs = {"diagnosis": keras.layers.Dense(3, name="diagnosis")(h), "blood": keras.layers.Dense(1, name="blood")(h)}
    model = model_class(inputs, outputs)
    loss = {"diagnosis": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "blood": "mse"}
    model.compile("adam", loss=loss, weighted_metrics={"diagnosis": ["accuracy"], "blood": ["mae"]})
    return model


# A task's loss is sum(w * l) / sum(w), the mean over its labelled rows. Keras divides the sum by the number of rows, so
# the loss of the blood test and its gradient are twenty times smaller.

ours, plain = small_model(mtl.MultiTaskModel), small_model(keras.Model)
squared_errors = (ours.predict(x[:2000], verbose=0)["blood"][:, 0] - blood[:2000]) ** 2
losses = {
    "MultiTaskModel": ours.test_on_batch(*all_rows, return_dict=True)["blood_loss"],
    "mean over labelled rows": np.nanmean(squared_errors),
    "keras.Model": plain.test_on_batch(*plain_rows, return_dict=True)["blood_loss"],
    "sum divided by all rows": np.nansum(squared_errors) / 2000,
}
print(mtl.report.table(["before training", "loss of the blood test"], [[k, float(v)] for k, v in losses.items()]))

# So in plain Keras, a task with few labels has little influence on the shared layers. In a `MultiTaskModel`, the number
# of labels does not change a task's influence; `loss_weights` or a balancing method does.

ours.fit(batches, epochs=40, verbose=0)
plain.fit(plain_batches, epochs=40, shuffle=False, verbose=0)
models = {"MultiTaskModel": ours, "keras.Model": plain}
results = {name: model.evaluate(*testing, verbose=0, return_dict=True) for name, model in models.items()}
rows = [[name, result["blood_mae"], result["diagnosis_accuracy"]] for name, result in results.items()]
print("\n" + mtl.report.table(["after training", "blood_mae", "diagnosis_accuracy"], rows) + "\n")

# A batch in which nobody had the blood test does not change that task's own variables at all. In plain Keras the
# gradient is zero as well, but Adam's momentum still changes them.

batch = next(iter(plain_batches.unbatch().filter(lambda x, y, weight: weight["blood"] == 0).batch(100)))
changed = {}
for name, model in models.items():
    before = model.get_layer("blood").kernel.numpy()
    model.train_on_batch(*batch)
    changed[name] = bool(np.any(model.get_layer("blood").kernel.numpy() != before))
    print(f"Without blood tests, {name} {'changes' if changed[name] else 'keeps'} the head `blood`.")

# It prints:
#
# | before training         | loss of the blood test |
# |-------------------------|-----------------------:|
# | MultiTaskModel          |                  5.246 |
# | mean over labelled rows |                  5.246 |
# | keras.Model             |                  0.260 |
# | sum divided by all rows |                  0.260 |
#
# | after training | blood_mae | diagnosis_accuracy |
# |----------------|----------:|-------------------:|
# | MultiTaskModel |     0.298 |              0.921 |
# | keras.Model    |     0.346 |              0.941 |
#
# Without blood tests, MultiTaskModel keeps the head `blood`.
# Without blood tests, keras.Model changes the head `blood`.
