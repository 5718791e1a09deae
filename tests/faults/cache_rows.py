"""Cache a slow source, read the cache, and write what was read.

Usage: cache_rows.py PATH OUT CONFIGURATION, where CONFIGURATION is JSON with the keys of `DEFAULTS`.
"""

import json
import os
import sys
import time

import disk
import tensorflow as tf

import tf_mtl as mtl

DEFAULTS = {"first": 0, "count": 700, "fails_at": None, "pause": 0.0, "dtype": "int64", "largest_file": None}


def row(number):
    """A number, and a ragged text that follows from it."""
    return {"number": number, "words": [str(number)] * (number % 4)}


def rows(config):
    def generate():
        for index in range(config["count"]):
            if index == config["fails_at"]:
                raise KeyError("no such row")
            if index % 50 == 0:
                print(f"row {index}", flush=True)
                time.sleep(config["pause"])
            yield row(config["first"] + index)

    signature = {"number": tf.TensorSpec([], config["dtype"]), "words": tf.TensorSpec([None], tf.string)}
    return tf.data.Dataset.from_generator(generate, output_signature=signature)


def main(path, out, configuration):
    config = DEFAULTS | json.loads(configuration)
    disk.limit_files(config["largest_file"])
    cached = mtl.data.cache_tfrecords(rows(config), path)
    disk.limit_files(None)
    print("cached", flush=True)
    time.sleep(config["pause"])
    numbers = []
    for element in cached.as_numpy_iterator():
        numbers.append(int(element["number"]))
        assert element["words"].tolist() == [str(numbers[-1]).encode()] * (numbers[-1] % 4)
    with open(out + ".part", "w") as file:
        json.dump(numbers, file)
    os.replace(out + ".part", out)


if __name__ == "__main__":
    main(*sys.argv[1:])
