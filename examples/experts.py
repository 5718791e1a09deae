"""A trunk of experts: Progressive Layered Extraction, and what its gates tell about the tasks.

Shows: `mtl.trunks.PLE`, `describe_sharing`, and gates read by a sub-model.

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
training = x[:2500], {task: labels[:2500] for task, labels in y.items()}
testing = x[2500:], {task: labels[2500:] for task, labels in y.items()}

# At each level of PLE, every task has its own experts, and all tasks share some others. A task's gate mixes both kinds,
# row by row. The encoder is what comes before the experts: here nothing, so they read the inputs. One layer describes
# all experts; each is a copy with its own weights.

keras.utils.set_random_seed(0)
trunk = mtl.trunks.PLE(
    encoder=keras.layers.Identity(),
    expert=keras.layers.Dense(8, activation="relu", name="expert"),
    task_experts=1,
    shared_experts=1,
    levels=2,
)
tasks = [mtl.tasks.BinaryClassification(task) for task in y]
model = mtl.build_model(keras.Input((10,), name="visitor"), trunk, tasks)
model.compile(keras.optimizers.Adam(1e-2))
model.fit(*training, batch_size=100, epochs=12, verbose=0)

# `describe_sharing` lists the layers with the tasks whose outputs they reach. An expert of a task's own at level 0 does
# reach the others: the shared gate of that level mixes it into what all tasks read at level 1. The last line says what
# models of each task alone would need: the same trunk, built for one task.

model.describe_sharing()

# The gates are layers like any others, so a sub-model gives their outputs. At the last level click and buy read the
# shared expert and hardly their own, while the task of another kind reads its own: a hint at which tasks belong
# together. It is no more than a hint, because not every seed separates them so clearly.

results = model.evaluate(*testing, verbose=0, return_dict=True)
gates = keras.Model(model.input, {task: model.get_layer(f"gate_level_1_{task}").output for task in y})
weights = gates.predict(testing[0], verbose=0)
rows = [[task, results[f"{task}_auc"], *weights[task].mean(axis=0).tolist()] for task in y]
print("\n" + mtl.report.table(["task", "AUC", "own expert", "shared expert"], rows, digits=2))

# It prints:
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
# | task     |  AUC | own expert | shared expert |
# |----------|-----:|-----------:|--------------:|
# | click    | 0.96 |       0.07 |          0.93 |
# | buy      | 0.96 |       0.02 |          0.98 |
# | returned | 0.97 |       0.79 |          0.21 |
