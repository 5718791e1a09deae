"""Tokens per second of generated texts, beside keras-hub's encoder-decoder of the same size and uncached decoding.

    python benchmarks/generation.py

All ways have an encoder and a decoder of the same size with random weights, and write texts that do not end, of a fixed
number of tokens. Each has a process of its own; the processes take turns. The first call, which traces, is left out.
The ratio is the median, over rounds, of the time of keras-hub's greedy (or beam) search and that of a way in the same
round: above 1 is faster than keras-hub.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
VOCABULARY, SOURCE, LENGTH, DIM, LAYERS, HEADS = 8000, 24, 32, 128, 4, 4
BEAMS = 4
ENDLESS = VOCABULARY - 1  # a token that does not come


def encoder_and_decoder():
    """Return an encoder and a decoder, with their variables."""
    import keras

    import tf_mtl as mtl

    encoder = mtl.encoders.TransformerEncoder(VOCABULARY, SOURCE, dim=DIM, layers=LAYERS, heads=HEADS, dropout=0.0)
    decoder = mtl.layers.Decoder(VOCABULARY, LENGTH, dim=DIM, layers=LAYERS, heads=HEADS, dropout=0.0)
    features = encoder(keras.Input((SOURCE,), dtype="int32"))
    decoder(features["sequence"], features["mask"], tokens=keras.Input((LENGTH,), dtype="int32"))
    return encoder, decoder


def ours(sampler):
    """Return a function from source tokens to texts of `Decoder`."""
    import tensorflow as tf

    import tf_mtl as mtl

    encoder, decoder = encoder_and_decoder()

    @tf.function
    def generate(tokens):
        features = encoder(tokens)
        return decoder(features["sequence"], features["mask"], start=2, end=ENDLESS, sampler=sampler(mtl.samplers))

    return generate


def uncached():
    """Return a function from source tokens to greedy texts, for each token of which the decoder reads all tokens."""
    import tensorflow as tf

    encoder, decoder = encoder_and_decoder()

    @tf.function
    def generate(tokens):
        features = encoder(tokens)
        written = tf.zeros([tf.shape(tokens)[0], LENGTH], tf.int32)
        for position in tf.range(LENGTH):
            logits = decoder(features["sequence"], features["mask"], tokens=written, start=2)
            following = tf.argmax(logits[:, position], -1, tf.int32)
            written = tf.where(tf.range(LENGTH) == position, following[:, None], written)
        return written

    return generate


def keras_hub_model(sampler):
    """Return a function from source tokens to texts of a `BartSeq2SeqLM`, and compile it as its users do."""
    import keras_hub
    import numpy as np

    backbone = keras_hub.models.BartBackbone(
        VOCABULARY, LAYERS, HEADS, DIM, 4 * DIM, dropout=0.0, max_sequence_length=LENGTH
    )
    model = keras_hub.models.BartSeq2SeqLM(backbone, preprocessor=None)
    model.compile(sampler=sampler(keras_hub.samplers))

    def generate(tokens):
        tokens = tokens.numpy()
        rows = len(tokens)
        prompt = np.zeros((rows, LENGTH + 1), "int32")
        prompt[:, 0] = 2
        return model.generate(
            {
                "encoder_token_ids": tokens,
                "encoder_padding_mask": np.ones_like(tokens),
                "decoder_token_ids": prompt[:, :LENGTH],
                "decoder_padding_mask": prompt[:, :LENGTH] > 0,
            },
            stop_token_ids=None,
        )

    return generate


WAYS = {
    "keras-hub, greedy": lambda: keras_hub_model(lambda samplers: samplers.GreedySampler()),
    "tf_mtl, greedy": lambda: ours(lambda samplers: samplers.Greedy()),
    "tf_mtl, greedy, no cache": uncached,
    "keras-hub, beam": lambda: keras_hub_model(lambda samplers: samplers.BeamSampler(BEAMS)),
    "tf_mtl, beam": lambda: ours(lambda samplers: samplers.Beam(BEAMS)),
}


def work(way, rows):
    """Generate whenever a line comes from stdin, and print the seconds."""
    import numpy as np
    import tensorflow as tf

    generate = WAYS[way]()
    tokens = tf.constant(np.random.default_rng(0).integers(4, VOCABULARY - 1, (rows, SOURCE)), tf.int32)
    generate(tokens)
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        generate(tokens)
        print(time.perf_counter() - started, flush=True)


def measure(rows, rounds):
    """Return the rows of the table for a batch size."""
    processes = {}
    for way in WAYS:
        command = [sys.executable, __file__, "--worker", way, str(rows)]
        processes[way] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        while processes[way].stdout.readline().strip() != "ready":
            pass
    seconds = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, process in processes.items():
            process.stdin.write("\n")
            process.stdin.flush()
            seconds[way].append(float(process.stdout.readline()))
    for process in processes.values():
        process.stdin.close()
        process.wait()
    table = []
    for way, of_way in seconds.items():
        base = seconds["keras-hub, beam" if "beam" in way else "keras-hub, greedy"]
        ratio = statistics.median(b / a for a, b in zip(of_way, base, strict=True))
        table.append([rows, way, rows * LENGTH / statistics.median(of_way), ratio])
    return table


def main():
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2], int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 64], help="batch sizes")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    import tf_mtl as mtl

    rows = [row for size in args.rows for row in measure(size, args.rounds)]
    print(mtl.report.table(["rows", "way", "tokens/s", "ratio"], rows))


if __name__ == "__main__":
    main()
