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
x = rng.normal(size=(3000, 10)).astype("float32")
noise = rng.normal(size=(3, 3000)) / 4
interest = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2]
reasons = np.sin(2 * x[:, 3]) + x[:, 4] * x[:, 5]
y = {"click": interest + noise[0] > 0, "buy": interest + noise[1] > 0.7, "returned": reasons + noise[2] > 0}

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
    training = x[:2500], {task: labels[:2500] for task, labels in y.items()}
    testing = x[2500:], {task: labels[2500:] for task, labels in y.items()}
    model.fit(*training, batch_size=100, epochs=12, verbose=0)
    results = model.evaluate(*testing, verbose=0, return_dict=True)
    parameters = model.describe_sharing(print_fn=None).parameters
    rows.append([name, parameters, *(results[f"{task}_auc"] for task in y)])
print(mtl.report.table(["trunk", "parameters", *(f"{task} AUC" for task in y)], rows) + "\n")

# `describe_sharing` lists the layers of the last model, PLE, and the tasks whose outputs they reach, and says what
# models of each task alone would need: the same trunk, built for one task.

model.describe_sharing()

# The gates are layers like any others, so a sub-model gives their outputs. At the last level click and buy read the
# shared expert and hardly their own, while the task of its own kind reads its own: the model has found out which tasks
# belong together.

gates = keras.Model(model.input, {task: model.get_layer(f"gate_level_1_{task}").output for task in y})
weights = gates.predict(x[2500:], verbose=0)
rows = [[task, *weights[task].mean(axis=0).tolist()] for task in y]
print("\n" + mtl.report.table(["mean weight at level 1", "own expert", "shared expert"], rows, digits=2))

# It prints:
#
# | trunk       | parameters | click AUC | buy AUC | returned AUC |
# |-------------|-----------:|----------:|--------:|-------------:|
# | HardSharing |        939 |     0.961 |   0.957 |        0.971 |
# | PLE         |        815 |     0.954 |   0.957 |        0.937 |
#
# layer                        parameters  tasks
# gate_level_0_buy                     20  buy
# expert_level_0_buy_0                 88  all
# expert_level_0_shared_0              88  all
# gate_level_0_shared                  40  all
# expert_level_0_click_0               88  all
# expert_level_0_returned_0            88  all
# gate_level_0_click                   20  click
# gate_level_0_returned                20  returned
# gate_level_1_buy                     16  buy
# expert_level_1_buy_0                 72  buy
# expert_level_1_shared_0              72  all
# gate_level_1_click                   16  click
# expert_level_1_click_0               72  click
# gate_level_1_returned                16  returned
# expert_level_1_returned_0            72  returned
# buy                                   9  buy
# click                                 9  click
# returned                              9  returned
# 815 parameters, 464 of them shared.
# Single-task models: 1,155 (click 385, buy 385, returned 385). Saved: 29.4%.
#
# | mean weight at level 1 | own expert | shared expert |
# |------------------------|-----------:|--------------:|
# | click                  |       0.38 |          0.62 |
# | buy                    |       0.28 |          0.72 |
# | returned               |       0.30 |          0.70 |
