"""Train with balancing methods under a strategy, and write the results to OUT.

Usage: train_methods.py STRATEGY DEVICES OUT METHOD[:OPTION=VALUE,...] ...
"""

import pickle
import sys

import keras

import tf_mtl as mtl


def train_case(case):
    """Return weights, history, evaluation and predictions after 21 steps.

    The last of the three batches leaves one replica without rows.
    """
    import balancing_methods as methods

    name, _, options = case.partition(":")
    options = dict(option.split("=") for option in options.split(",") if option)
    options = {
        key: float(value) if "." in value else int(value) if value.isdigit() else value
        for key, value in options.items()
    }
    model = methods.compiled(getattr(methods.B, name), **options)
    data = methods.batches(rows=21)
    history = model.fit(data, epochs=7, verbose=0).history
    results = {"history": history, "evaluation": model.evaluate(data, verbose=0, return_dict=True)}
    weights = [*model.get_weights(), *(v.numpy() for v in model.balancing.variables)]
    return {**results, "weights": weights, "predictions": model.predict(data, verbose=0)}


def main(name, devices, out, *cases):
    """Train each case; the chief writes the results."""
    strategy = mtl.distribute.strategy(name, int(devices) or None)
    results = {"replicas": strategy.num_replicas_in_sync}
    for case in cases:
        with strategy.scope():
            results[case] = train_case(case)
        keras.utils.clear_session()
    if mtl.distribute.is_chief(strategy):
        with open(out, "wb") as file:
            pickle.dump(results, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
