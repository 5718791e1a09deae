"""Ways of balancing compared: the same small model, trained with four of them.

Shows: `compile(balancing=...)` by name and as an object, single-task models as the baseline, what `fit` logs of a
method, and tables by `mtl.report`.

    python examples/balancing_compared.py
"""

import keras
import numpy as np

import tf_mtl as mtl

# Three weather quantities predicted from ten measurements, in three units: pressure varies by hundreds of pascals,
# temperature by two degrees, and rain is yes or no. They share a front that passes; the rest is specific to each.

rng = np.random.default_rng(0)
x = rng.normal(size=(4000, 10)).astype("float32")
front = np.tanh(x @ rng.normal(size=10) / 2)
y = {
    "temperature": (2 * np.sin(x[:, 0]) + front).astype("float32"),
    "pressure": (300 * (x[:, 2] * x[:, 3] - front) + 50 * rng.normal(size=4000)).astype("float32"),
    "rain": x[:, 4] * x[:, 5] + front > 0,
}

# `scale` brings the outputs to the labels' units. `Regression` would take its loss in units of `scale` too. Here "mse"
# replaces it, as in a Keras model of your own, in the labels' units, squared: the loss of pressure is about 100,000,
# that of rain about 0.7. Their sum is dominated by pressure, and this is what balancing changes.

TASKS = [
    mtl.tasks.Regression("temperature", scale=y["temperature"].std()),
    mtl.tasks.Regression("pressure", scale=y["pressure"].std()),
    mtl.tasks.BinaryClassification("rain"),
]
RESULTS = {"temperature": "pearson", "pressure": "pearson", "rain": "accuracy"}


def train(tasks, balancing):
    """Return the test results, {task: {metric: value}}, and the logs of the last epoch."""
    keras.utils.set_random_seed(0)
    trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([32, 32]))
    model = mtl.build_model(keras.Input((10,), name="x"), trunk, tasks)
    loss = {task: "mse" for task in ("temperature", "pressure") if task in model.task_names}
    model.compile(keras.optimizers.Adam(3e-3), loss, balancing=balancing)
    labels = {task: y[task] for task in model.task_names}
    training = x[:3000], {task: values[:3000] for task, values in labels.items()}
    testing = x[3000:], {task: values[3000:] for task, values in labels.items()}
    history = model.fit(*training, batch_size=100, epochs=10, verbose=0).history
    tested = model.evaluate(*testing, verbose=0, return_dict=True)
    results = {task: {RESULTS[task]: tested[f"{task}_{RESULTS[task]}"]} for task in model.task_names}
    return results, {name: values[-1] for name, values in history.items()}


# The baseline: a model of each task alone, of the same size.

single_task = {}
for task in TASKS:
    results, _ = train([task], "equal")
    single_task |= results

# A method is a name, or an object where it takes arguments. "equal" is the plain sum. "scale_invariant" sums the
# logarithms of the losses, so that units cancel, and costs nothing. The two others look at the tasks' gradients of
# the shared layers and choose weights for them at each step: IMTL-G makes all tasks progress alike, Nash-MTL bargains
# between them, and is solved here at every second step only.

METHODS = {
    "equal": "equal",
    "scale invariant": "scale_invariant",
    "IMTL-G": "imtl_grad",
    "Nash-MTL": mtl.balancing.Every(mtl.balancing.NashMTL(), 2),
}
rows = [["single-task", *(value for result in single_task.values() for value in result.values()), 0.0, None]]
for name, method in METHODS.items():
    results, logs = train(TASKS, method)
    values = [value for result in results.values() for value in result.values()]
    gain = mtl.report.compare(results, single_task).gain_per_task
    rows.append([name, *values, 100 * gain, logs.get("conflict")])

# `gain` is the mean over the tasks of what multi-task learning gained against the single-task models, in percent.
# `conflict`, which gradient methods log, is the share of pairs of tasks whose gradients point away from each other.

header = ["", *(f"{task} {metric}" for task, metric in RESULTS.items()), "gain %", "conflict"]
print(mtl.report.table(header, rows))

# It prints:
#
# |                 | temperature pearson | pressure pearson | rain accuracy |  gain % | conflict |
# |-----------------|--------------------:|-----------------:|--------------:|--------:|---------:|
# | single-task     |               0.985 |            0.959 |         0.926 |   0.000 |          |
# | equal           |               0.638 |            0.955 |         0.755 | -18.061 |          |
# | scale invariant |               0.988 |            0.961 |         0.834 |  -3.142 |          |
# | IMTL-G          |               0.980 |            0.954 |         0.931 |  -0.138 |    0.389 |
# | Nash-MTL        |               0.981 |            0.954 |         0.931 |  -0.111 |    0.389 |
