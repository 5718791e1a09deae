"""Rows that lack labels: what they do to losses, training and variables, beside plain Keras.

Shows: `mtl.data.mask_missing`, label weights, a task's loss computed by hand, training with few labels, and a batch
in which no row has a label for one of the tasks.

    python examples/missing_labels.py
"""

import keras
import numpy as np
import tensorflow as tf

import tf_mtl as mtl

# Three thousand patients with eight measurements each. The last thousand have all labels and are for testing. Of the
# others one in ten lacks the diagnosis, and only one in twenty had the blood test. The data mark a missing diagnosis by
# -1 and a missing blood value by NaN.

rng = np.random.default_rng(0)
x = rng.normal(size=(3000, 8)).astype("float32")
diagnosis = np.digitize(x[:, 0] + x[:, 1], [-0.7, 0.7])
blood = (1 + x[:, 0] + 0.5 * x[:, 1] ** 2).astype("float32")
diagnosis[:2000][rng.random(2000) < 0.1] = -1
blood[:2000][rng.random(2000) < 0.95] = np.nan
training = x[:2000], {"diagnosis": diagnosis[:2000], "blood": blood[:2000]}
testing = x[2000:], {"diagnosis": diagnosis[2000:], "blood": blood[2000:]}

# `mask_missing` turns these markers into label weights: 0 where the label is missing, 1 elsewhere. Data that already
# have weights, such as 0.5 for a doubtful diagnosis, keep them: the two are multiplied.

batches = mtl.data.mask_missing(
    tf.data.Dataset.from_tensor_slices(training).batch(200), {"diagnosis": -1, "blood": float("nan")}
)
all_rows = next(iter(batches.unbatch().batch(2000)))
for task, weight in all_rows[2].items():
    print(f"{task}: {np.sum(weight):.0f} labels in 2000 rows")

# Both models have the same graph and the same initial weights.


def small_model(model_class):
    """Return a compiled model with two shared layers."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,), name="measurements")
    h = keras.layers.Dense(64, activation="relu")(inputs)
    h = keras.layers.Dense(64, activation="relu")(h)
    outputs = {"diagnosis": keras.layers.Dense(3, name="diagnosis")(h), "blood": keras.layers.Dense(1, name="blood")(h)}
    model = model_class(inputs, outputs)
    loss = {"diagnosis": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "blood": "mse"}
    model.compile("adam", loss=loss, weighted_metrics={"diagnosis": ["accuracy"], "blood": ["mae"]})
    return model


# Plain Keras takes label weights, too, but not the markers: 0 * NaN is NaN, and -1 is no class.


def without_markers(x, y, weight):
    """Replace missing labels by 0."""
    return x, {task: tf.where(weight[task] > 0, labels, 0) for task, labels in y.items()}, weight


# A task's loss is sum(w * l) / sum(w): the mean over its labelled rows. Keras divides the sum by the number of all
# rows, so the loss of the blood test is a twentieth of that, and so is its gradient.

ours, plain = small_model(mtl.MultiTaskModel), small_model(keras.Model)
squared_errors = (ours.predict(x[:2000], verbose=0)["blood"][:, 0] - blood[:2000]) ** 2
losses = {
    "MultiTaskModel": ours.test_on_batch(*all_rows, return_dict=True)["blood_loss"],
    "mean over labelled rows": np.nanmean(squared_errors),
    "keras.Model": plain.test_on_batch(*without_markers(*all_rows), return_dict=True)["blood_loss"],
    "sum divided by all rows": np.nansum(squared_errors) / 2000,
}
rows = [[name, float(loss)] for name, loss in losses.items()]
print("\n" + mtl.report.table(["before training", "loss of the blood test"], rows))

# In plain Keras a task with few labels therefore has little say in what the shared layers learn. Here all tasks have
# the same say, however many labels they have; `loss_weights` or a balancing method changes that where it should.

ours.fit(batches, epochs=40, verbose=0)
plain.fit(batches.map(without_markers), epochs=40, shuffle=False, verbose=0)
results = {
    name: model.evaluate(*testing, verbose=0, return_dict=True)
    for name, model in {"MultiTaskModel": ours, "keras.Model": plain}.items()
}
metrics = ["blood_mae", "diagnosis_accuracy"]
rows = [[name, *(result[metric] for metric in metrics)] for name, result in results.items()]
print("\n" + mtl.report.table(["after training", *metrics], rows))

# A batch in which nobody had the blood test leaves that task's own variables exactly as they were. In plain Keras the
# gradient is zero as well, but Adam's momentum moves them all the same.

untested = batches.map(without_markers).unbatch().filter(lambda x, y, weight: weight["blood"] == 0)
batch = next(iter(untested.batch(100)))
print("\nA batch without blood tests:")
changed = {}
for name, model in {"MultiTaskModel": ours, "keras.Model": plain}.items():
    kernel = model.get_layer("blood").kernel
    before = kernel.numpy()
    model.train_on_batch(*batch)
    changed[name] = bool(np.any(kernel.numpy() != before))
    print(f"{name} {'moves' if changed[name] else 'leaves'} the head `blood`.")

# It prints:
#
# diagnosis: 1800 labels in 2000 rows
# blood: 99 labels in 2000 rows
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
# A batch without blood tests:
# MultiTaskModel leaves the head `blood`.
# keras.Model moves the head `blood`.
