"""Export a small model whose weights follow from a seed.

Usage: export_model.py DIRECTORY CONFIGURATION, where CONFIGURATION is JSON with "seed", "version", "check" and
"largest_file".
"""

import json
import sys

import disk
import keras

import tf_mtl as mtl


def build(seed):
    keras.utils.set_random_seed(seed)
    trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    tasks = [mtl.tasks.Regression("stars"), mtl.tasks.Classification("kind", 3)]
    return mtl.build_model(keras.Input((4,), name="x"), trunk, tasks)


def main(directory, configuration):
    config = json.loads(configuration)
    model = build(config["seed"])
    print("built", flush=True)
    disk.limit_files(config["largest_file"])
    path = mtl.export.saved_model(model, directory, version=config["version"], check=config["check"])
    disk.limit_files(None)
    print(f"exported {path}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
