"""What it costs to find out which tasks belong together: a probe of `TaskAffinity` in training steps, `gains` in runs.

    python benchmarks/analysis.py

On an MLP with 2 and 8 tasks. A probe of "gradient" is at most T + 1 forward and T backward passes, one of "first_order"
one and T. Each number of tasks has a process of its own. The processes take turns, so that no two run at a time: in a
round, each runs a `fit`, and as many probes of each kind as `fit` has steps. A ratio is the median, over rounds, of the
time of a probe and that of a training step in the same round.

Then the number of models that `gains` trains for all tasks and all pairs, seeds * (subsets + tasks), and the time that
`gains` takes over building, fitting and evaluating the same models by hand, in turn.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
PROBES = ("gradient", "first_order")


def build(tasks):
    """Return a compiled MLP with a head for each task."""
    import keras

    import tf_mtl as mtl

    heads = [mtl.tasks.Regression(task) for task in tasks]
    model = mtl.build_model(keras.Input((64,)), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([256, 256])), heads)
    model.compile("adam", metrics={task: [] for task in tasks})
    return model


def data(tasks, batches, batch_size):
    """Return batches, kept in memory."""
    import numpy as np
    import tensorflow as tf

    rng, rows = np.random.default_rng(0), batches * batch_size
    labels = {task: rng.normal(size=rows).astype("float32") for task in tasks}
    arrays = rng.normal(size=(rows, 64)).astype("float32"), labels
    return tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size).cache().prefetch(2)


def names(count):
    """Return the names of so many tasks."""
    return [f"task_{index}" for index in range(count)]


def probes(tasks, steps, batch_size):
    """Time the calls that are read from stdin, and print the seconds of each."""
    from tf_mtl.analysis._affinity import Affinities

    model, batches = build(names(tasks)), data(names(tasks), steps, batch_size)
    model.fit(batches, verbose=0)
    affinities = {update: Affinities(model, update) for update in PROBES}

    def probe(update):
        sums = affinities[update].empty()
        for batch in batches:
            sums = affinities[update].add(sums, batch)

    calls = {"fit": lambda: model.fit(batches, verbose=0), **{name: lambda name=name: probe(name) for name in PROBES}}
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        calls[line.strip()]()
        print(time.perf_counter() - started, flush=True)


class Process:
    """The process of a number of tasks."""

    def __init__(self, tasks, args):
        command = [sys.executable, __file__, "--worker", str(tasks), str(args.steps), str(args.batch_size)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()

    def run(self, call):
        """Return the seconds of a call."""
        self.process.stdin.write(f"{call}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure_probes(args):
    """Return the rows of the table of probes."""
    processes = {tasks: Process(tasks, args) for tasks in args.tasks}
    seconds = {(tasks, call): [] for tasks in args.tasks for call in ("fit", *PROBES)}
    for number in range(args.rounds + 1):
        for tasks, call in seconds:
            taken = processes[tasks].run(call)
            if number:  # the first call of each traces
                seconds[tasks, call].append(taken)
    for process in processes.values():
        process.close()
    rows = []
    for tasks, update in itertools.product(args.tasks, PROBES):
        fit = seconds[tasks, "fit"]
        ratios = [probe / step for probe, step in zip(seconds[tasks, update], fit, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        passes = f"{tasks + 1 if update == 'gradient' else 1} forward, {tasks} backward"
        step = 1000 * statistics.median(fit) / args.steps
        rows.append([tasks, update, passes, step, middle, f"{low:.2f} - {high:.2f}"])
    return rows


def measure_gains(args):
    """Return the row of the table of runs: the models, seconds by hand, and the ratio of `gains` with its quartiles."""
    import keras

    import tf_mtl as mtl

    tasks = names(args.gains_tasks)
    subsets = [tuple(tasks), *itertools.combinations(tasks, 2)]
    parts = data(tasks, args.steps, args.batch_size), data(tasks, args.steps // 4, args.batch_size)
    built = []

    def counted_build(tasks):
        built.append(tasks)
        return build(tasks)

    def by_toolkit():
        mtl.analysis.gains(counted_build, parts, args.seeds, tasks, subsets, verbose=0)

    def by_hand():
        for seed in range(args.seeds):
            for subset in [*subsets, *((task,) for task in tasks)]:
                keras.utils.clear_session()
                keras.utils.set_random_seed(seed)
                model = build(subset)
                train, test = (rows.map(lambda x, y, subset=subset: (x, {t: y[t] for t in subset})) for rows in parts)
                model.fit(train, verbose=0)
                model.evaluate(test, verbose=0)

    turns = []
    for _ in range(args.gains_rounds):
        times = []
        for way in (by_hand, by_toolkit):
            started = time.perf_counter()
            way()
            times.append(time.perf_counter() - started)
        turns.append(times)
    low, middle, high = statistics.quantiles([toolkit / hand for hand, toolkit in turns], n=4)
    models = len(built) // args.gains_rounds
    expected = args.seeds * (len(subsets) + len(tasks))
    hand = statistics.median(turn[0] for turn in turns)
    return [len(tasks), len(subsets), args.seeds, models, expected, hand, middle, f"{low:.2f} - {high:.2f}"]


def main():
    if sys.argv[1:2] == ["--worker"]:
        return probes(*map(int, sys.argv[2:]))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[2, 8], help="numbers of tasks (default: 2 8)")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--gains-tasks", type=int, default=3, help="tasks of `gains` (default: 3)")
    parser.add_argument("--gains-rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()

    import tf_mtl as mtl

    header = ["tasks", "update", "passes of a probe", "ms per training step", "probe / step", "quartiles"]
    print(f"{args.rounds} rounds of {args.steps} batches of {args.batch_size}, {len(os.sched_getaffinity(0))} cores")
    print(mtl.report.table(header, measure_probes(args)))
    header = ["tasks", "subsets", "seeds", "models", "seeds * (subsets + tasks)", "s by hand", "gains / by hand"]
    print()
    print(mtl.report.table([*header, "quartiles"], [measure_gains(args)]))


if __name__ == "__main__":
    main()
