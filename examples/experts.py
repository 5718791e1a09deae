"""A trunk of experts: Progressive Layered Extraction, and what its gates tell about the tasks.

Shows: `mtl.trunks.PLE` beside `HardSharing`, `describe_sharing`, and gates read by a sub-model.

    python examples/experts.py
"""

import keras
import numpy as np

import tf_mtl as mtl

# Visitors of a shop, ten numbers each. Whether they click and whether they buy comes from the same interest. Whether
# they send something back has other reasons.

rng = np.random.default_rng(0)
x = rng.normal(size=(4000, 10)).astype("float32")
noise = rng.normal(size=(3, 4000)) / 4
interest = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2]
reasons = np.sin(2 * x[:, 3]) + x[:, 4] * x[:, 5]
y = {"click": interest + noise[0] > 0, "buy": interest + noise[1] > 0.7, "return": reasons + noise[2] > 0}

# At each level of PLE, every task has an expert of its own, and there is one that all tasks share. A task's gate mixes
# the two, row by row. The encoder is whatever comes before the experts: here nothing, so they read the inputs.
# `HardSharing`, with a few more parameters, is the simplest trunk: one encoder for all.

expert = keras.layers.Dense(8, activation="relu", name="expert")
trunks = {
    "HardSharing": mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([24, 24])),
    "PLE": mtl.trunks.PLE(keras.layers.Identity(), expert, task_experts=1, shared_experts=1, levels=2),
}
rows = []
for name, trunk in trunks.items():
    keras.utils.set_random_seed(0)
    tasks = [mtl.tasks.BinaryClassification(task) for task in y]
    model = mtl.build_model(keras.Input((10,), name="visitor"), trunk, tasks)
    model.compile(keras.optimizers.Adam(1e-2))
    training = x[:3000], {task: labels[:3000] for task, labels in y.items()}
    testing = x[3000:], {task: labels[3000:] for task, labels in y.items()}
    model.fit(*training, batch_size=100, epochs=15, verbose=0)
    results = model.evaluate(*testing, verbose=0, return_dict=True)
    parameters = model.describe_sharing(print_fn=None).parameters
    rows.append([name, parameters, *(results[f"{task}_auc"] for task in y)])
print(mtl.report.table(["trunk", "parameters", *(f"{task} AUC" for task in y)], rows) + "\n")

# `describe_sharing` lists the layers of the last model, PLE, and the tasks whose outputs they reach, and says what
# models of each task alone would need: the same trunk, built for one task.

model.describe_sharing()

# The gates are layers like any others, so a sub-model gives their outputs. At the last level, click and buy read the
# shared expert, and return has turned to its own: nobody told the model which tasks belong together.

gates = keras.Model(model.input, {task: model.get_layer(f"gate_level_1_{task}").output for task in y})
weights = gates.predict(x[3000:], verbose=0)
rows = [[task, *weights[task].mean(axis=0)] for task in y]
print("\n" + mtl.report.table(["mean weight at level 1", "own expert", "shared expert"], rows, digits=2))
