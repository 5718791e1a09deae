"""Train with every balancing method on one device and on four; print the largest relative differences as JSON."""

import json
import os
import sys
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]


def main():
    import tf_mtl as mtl

    strategy = mtl.distribute.strategy("mirrored", virtual_devices=4)

    import examples
    import keras
    from balancing_methods import BUILT_IN, compiled, fit

    differences = {}
    for method in BUILT_IN:
        keras.utils.clear_session()
        one = compiled(method, jit_compile=False)
        fit(one)
        with strategy.scope():
            four = compiled(method)
        fit(four)
        assert four.distribute_strategy.num_replicas_in_sync == 4
        differences[method.__name__] = float(examples.largest_difference(one.get_weights(), four.get_weights()))
    print(json.dumps(differences))


if __name__ == "__main__":
    main()
