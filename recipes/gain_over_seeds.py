"""The gain of models of several tasks over single-task models, with its interval over seeds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import tf_mtl as mtl


def gain_over_seeds(
    metric: str, multi_task: Mapping[str, Sequence[float]], single_task: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """Return delta-m as in LibMTL, the mean over tasks of the relative gains, its interval, both as text, the verdict.

    Args:
        metric: The metric of all tasks.
        multi_task: `{task: results}`, one for each seed.
        single_task: The results of the single-task models with the same seeds.
    """
    tasks = tuple(multi_task)
    seeds = range(len(multi_task[tasks[0]]))
    results = {(tasks, seed): {task: {metric: multi_task[task][seed]} for task in tasks} for seed in seeds}
    results |= {((task,), seed): {task: {metric: single_task[task][seed]}} for task in tasks for seed in seeds}
    gain = mtl.analysis.Gains(tasks, tuple(seeds), (tasks,), results).gain_per_task()
    interval = None if math.isnan(gain.low) else [gain.low, gain.high]
    return {"delta_m": gain.mean, "interval": interval, "delta_m_text": str(gain), "verdict": gain.verdict}
