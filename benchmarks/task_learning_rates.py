"""Whether it helps to reduce the learning rates of tasks that no longer improve.

    python benchmarks/task_learning_rates.py

Trains one model of the six census tasks of recipes/which_tasks.py on 10,000 rows, with a constant learning rate, with
and without `callbacks.ReduceTaskLROnPlateau`, with AdamW and with SGD. The callback follows the AUCs on held-out rows.
Prints each task's AUC on other held-out rows after the last epoch, and the relative gains of the callback, paired by
seed, with their 95 % intervals.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))

import keras
import which_tasks
import which_tasks_data
from census_data import select

import tf_mtl as mtl

SEEDS = 3
ROWS, EPOCHS = 10_000, 14
OPTIMIZERS = {
    "AdamW": lambda: keras.optimizers.AdamW(4e-3, weight_decay=0.1),
    "SGD": lambda: keras.optimizers.SGD(0.3, momentum=0.9),
}


def train(name: str, reduces: bool, seed: int, args, data: which_tasks_data.Data) -> tuple[dict[str, float], dict]:
    """Return the test AUCs of a model, and its last factors."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    model = which_tasks.model_of(args.tasks, args.width, data.space)
    metrics = {task: [keras.metrics.AUC(1000, from_logits=True, name="auc")] for task in args.tasks}
    model.compile(OPTIMIZERS[name](), metrics=metrics)
    monitor = {task: f"val_{task}_auc" for task in args.tasks}
    callbacks = [mtl.callbacks.ReduceTaskLROnPlateau(monitor, factor=0.3, patience=1)] if reduces else []
    halves = [select(data.held_out, slice(start, None, 2)) for start in (0, 1)]
    validation, test = (which_tasks_data.batches(half, args, epochs=1) for half in halves)
    history = model.fit(
        which_tasks_data.batches(data.train, args, epochs=1).repeat(EPOCHS),
        epochs=EPOCHS,
        steps_per_epoch=args.rows // args.batch_size,
        validation_data=validation,
        callbacks=callbacks,
        verbose=0,
    ).history
    results = model.evaluate(test, verbose=0, return_dict=True)
    factors = {task: history[f"factor/{task}"][-1] for task in args.tasks} if reduces else {}
    return {task: results[f"{task}_auc"] for task in args.tasks}, factors


def main() -> None:
    """Print the tables."""
    args = which_tasks.parse(["--rows", str(ROWS)])
    data = which_tasks_data.load(args)
    tasks = tuple(args.tasks)
    for name in OPTIMIZERS:
        results, factors = {}, []
        for seed in range(SEEDS):
            plain, _ = train(name, False, seed, args, data)
            reduced, last = train(name, True, seed, args, data)
            factors.append(last)
            results |= {((task,), seed): {task: {"auc": plain[task]}} for task in tasks}
            results[tasks, seed] = {task: {"auc": reduced[task]} for task in tasks}
        gains = mtl.analysis.Gains(tasks, tuple(range(SEEDS)), (tasks,), results)
        rows = [
            [gain.task, gain.single_task, gain.multi_task, str(gain.gain), np.median([f[gain.task] for f in factors])]
            for gain in gains.of()
        ]
        print(f"\n{name}, {SEEDS} seeds:\n")
        print(mtl.report.table(["task", "constant rate", "reduced rates", "gain", "last factor"], rows, digits=4))
        print(f"\nMean gain over tasks: {gains.gain_per_task()}")


if __name__ == "__main__":
    main()
