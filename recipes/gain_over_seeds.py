"""The gain of models of several tasks over single-task models, with its interval over seeds."""

from collections.abc import Mapping, Sequence

import tf_mtl as mtl


def gain_over_seeds(
    metric: str, multi_task: Mapping[str, Sequence[float]], single_task: Mapping[str, Sequence[float]]
) -> mtl.analysis.Interval:
    """Return delta-m as in LibMTL, the mean over tasks of the relative gains.

    Args:
        metric: The metric of all tasks.
        multi_task: `{task: results}`, one for each seed.
        single_task: The results of the single-task models with the same seeds.
    """
    tasks = tuple(multi_task)
    seeds = range(len(multi_task[tasks[0]]))
    results = {(tasks, seed): {task: {metric: multi_task[task][seed]} for task in tasks} for seed in seeds}
    results |= {((task,), seed): {task: {metric: single_task[task][seed]}} for task in tasks for seed in seeds}
    return mtl.analysis.Gains(tasks, tuple(seeds), (tasks,), results).gain_per_task()
