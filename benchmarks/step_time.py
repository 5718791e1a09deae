"""Time of `fit`, `evaluate` and `predict`, as ratios to the same model in plain Keras.

    python benchmarks/step_time.py                        # an MLP with 2, 16 and 64 tasks
    python benchmarks/step_time.py --model transformer    # a Transformer with 4 tasks

Every way has a process of its own, which runs whole calls as a user starts them, checks of the data included. The
processes take turns, so that no two run at a time. The ratio is the median, over rounds, of a call's time and that of
plain Keras in the same round; ways with label weights are compared with the plain model with sample weights. The time
to the first step is that of the first `fit`, of one batch: tracing and one step. Memory is the process's peak.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
WAYS = {  # the options of `compile`, None for plain Keras, and whether there are label weights
    "keras.Model": (None, False),
    "keras.Model again": (None, False),
    "equal": ({"balancing": "equal"}, False),
    "Gramian, features": ({"gradients": "features"}, False),
    "Gramian, parameters": ({"gradients": "parameters"}, False),
    "keras.Model, label weights": (None, True),
    "equal, label weights": ({"balancing": "equal"}, True),
}
CALLS = {"fit": WAYS, "evaluate": ("keras.Model", "equal"), "predict": ("keras.Model", "equal")}


def build(model_class, model, tasks):
    """Return a model with so many heads, each of one number."""
    import keras

    import tf_mtl as mtl

    keras.utils.set_random_seed(0)
    if model == "mlp":
        x = keras.Input((64,))
        h = keras.layers.Dense(256, activation="relu")(keras.layers.Dense(256, activation="relu")(x))
    else:
        x = keras.Input((48,), dtype="int32")
        h = mtl.encoders.TransformerEncoder(12_000, 48, dim=128, layers=2, heads=4, feedforward_dim=256)(x)["pooled"]
    return model_class(x, {f"task_{i}": keras.layers.Dense(1, name=f"task_{i}")(h) for i in range(tasks)})


def data(model, tasks, steps, batch_size, weighted):
    """Return batches, kept in memory; a third of the label weights are 0."""
    import numpy as np
    import tensorflow as tf

    rng, rows = np.random.default_rng(0), steps * batch_size
    x = rng.normal(size=(rows, 64)).astype("float32") if model == "mlp" else rng.integers(0, 12_000, (rows, 48))
    y = {f"task_{i}": rng.normal(size=(rows, 1)).astype("float32") for i in range(tasks)}
    weight = {task: (rng.random(rows) < 2 / 3).astype("float32") for task in y}
    arrays = (x, y, weight) if weighted else (x, y)
    return tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size).cache().prefetch(2)


def work(way, model, tasks, steps, batch_size):
    """Run the calls that are read from stdin, and print the seconds of each."""
    import keras
    import tensorflow as tf

    import tf_mtl as mtl

    class SumOfGradients(mtl.balancing.Weighting):
        """Weights of 1 that depend on the Gramian, so that it is computed."""

        def call(self, gramian, losses=None):
            return 1.0 + 0.0 * tf.linalg.diag_part(gramian)

    options, weighted = WAYS[way]
    built = build(keras.Model if options is None else mtl.MultiTaskModel, model, tasks)
    if options and "gradients" in options:
        options = {"balancing": SumOfGradients(), **options}
    built.compile("adam", loss={task: "mse" for task in built.output}, **(options or {}))
    batches = data(model, tasks, steps, batch_size, weighted)
    calls = {
        "first step": lambda: built.fit(batches.take(1), verbose=0),
        "fit": lambda: built.fit(batches, verbose=0),
        "evaluate": lambda: built.evaluate(batches, verbose=0),
        "predict": lambda: built.predict(batches.map(lambda x, *labels: x), verbose=0),
    }
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        calls[line.strip()]()
        megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(time.perf_counter() - started, megabytes, flush=True)


class Process:
    """A way's process."""

    def __init__(self, way, args, tasks):
        shape = [args.model, str(tasks), str(args.steps), str(args.batch_size)]
        command = [sys.executable, __file__, "--worker", way, *shape]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()

    def run(self, call):
        """Return the seconds of a call, and the process's peak of memory in MB."""
        self.process.stdin.write(f"{call}\n")
        self.process.stdin.flush()
        return tuple(map(float, self.process.stdout.readline().split()))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure(args, tasks):
    """Return the rows of the table for a number of tasks."""
    processes = {way: Process(way, args, tasks) for way in WAYS}
    first = {way: process.run("first step") for way, process in processes.items()}
    rows = []
    for call, ways in CALLS.items():
        seconds, megabytes = {way: [] for way in ways}, {}
        for number in range(args.rounds + 1):
            for way in ways:
                taken, megabytes[way] = processes[way].run(call)
                if number:  # the first call of each way traces
                    seconds[way].append(taken)
        for way in ways:
            base = "keras.Model, label weights" if WAYS[way][1] else "keras.Model"
            ratios = [a / b for a, b in zip(seconds[way], seconds[base], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            step = 1000 * statistics.median(seconds[way]) / args.steps
            start = [first[way][0], first[way][0] / first[base][0]] if call == "fit" else [None, None]
            rows.append([tasks, call, way, step, middle, f"{low:.2f} - {high:.2f}", *start, round(megabytes[way])])
    for process in processes.values():
        process.close()
    return rows


def main():
    if sys.argv[1:2] == ["--worker"]:
        way, model, *numbers = sys.argv[2:]
        return work(way, model, *map(int, numbers))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=["mlp", "transformer"], default="mlp")
    parser.add_argument("--tasks", type=int, nargs="+", help="numbers of tasks (default: 2 16 64; a Transformer: 4)")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()

    import tf_mtl as mtl

    counts = args.tasks or ([2, 16, 64] if args.model == "mlp" else [4])
    rows = [row for tasks in counts for row in measure(args, tasks)]
    print(f"{args.rounds} rounds of {args.steps} steps, batch {args.batch_size}, {len(os.sched_getaffinity(0))} cores")
    header = ["tasks", "call", "way", "ms per step", "ratio", "quartiles", "first step, s", "ratio", "peak MB"]
    print(mtl.report.table(header, rows))


if __name__ == "__main__":
    main()
