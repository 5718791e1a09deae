"""A training step and an answer of a detector, beside plain Keras and keras-hub's RetinaNet of the same backbone.

    python benchmarks/detection.py

All ways have the same ResNet from keras-hub with random weights, a pyramid of three levels with 256 channels, and two
towers of four convolutions with 256 channels. "keras.Model" is the graph of tf_mtl's model with its loss, trained and
decoded without tf_mtl. An answer is `predict` and the suppression of overlapping boxes. Each way has a process of its
own; the processes take turns. The first epoch, which traces, is left out. Ratios are medians, over rounds, of a way's
time and that of tf_mtl in the same round: above 1 is slower than tf_mtl. The last line is the rate of the input
pipeline, with random views of decoded images, over that of the training step: above 1, it does not hold up training.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
SIZE, CLASSES, BATCH, STEPS, BOXES = (128, 128), 3, 4, 6, 8
LEVELS, CHANNELS, CONVOLUTIONS = ("P3", "P4", "P5"), 256, 4
THRESHOLD = 0.0  # so that all ways suppress boxes, though untrained models are certain of none


def backbone():
    import keras_hub

    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64, 128, 128],
        stackwise_num_blocks=[2, 2, 2, 2],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(*SIZE, 3),
    )


def data():
    """Return images, and boxes with classes [M, 5]."""
    import numpy as np

    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (BATCH * STEPS, *SIZE, 3)).astype("float32")
    first = rng.uniform(0, 80, (len(images), BOXES, 2))
    boxes = np.concatenate([first, first + rng.uniform(10, 40, first.shape)], -1)
    return images, np.concatenate([boxes, rng.integers(0, CLASSES, (*first.shape[:2], 1))], -1).astype("float32")


def our_model():
    import keras

    import tf_mtl as mtl

    pyramid = mtl.encoders.FeaturePyramid(mtl.encoders.BackboneEncoder(backbone()), LEVELS, CHANNELS)
    towers = [CHANNELS] * CONVOLUTIONS
    task = mtl.tasks.Detection("boxes", CLASSES, SIZE, LEVELS, hidden_units=towers, threshold=THRESHOLD)
    model = mtl.build_model(keras.Input((*SIZE, 3), name="image"), mtl.trunks.HardSharing(pyramid), [task])
    model.compile("sgd")
    return model


def ours():
    """Return functions that train and that answer."""
    model = our_model()
    images, labels = data()
    labels = {"boxes": labels}
    return (
        lambda: model.fit(images, labels, batch_size=BATCH, verbose=0),
        lambda: model.decode(model.predict(images, batch_size=BATCH, verbose=0)),
    )


def plain():
    import keras
    import tensorflow as tf

    built = our_model()
    task = built.tasks[0]
    model = keras.Model(built.input, built.output)
    model.compile("sgd", loss={"boxes": task.loss})
    images, labels = data()

    def answer():
        outputs = model.predict(images, batch_size=BATCH, verbose=0)["boxes"]
        boxes, scores = outputs[:, :, None, :4], tf.sigmoid(outputs[..., 4:])
        return tf.image.combined_non_max_suppression(boxes, scores, 100, 100, 0.6, THRESHOLD, clip_boxes=False)

    return lambda: model.fit(images, {"boxes": labels}, batch_size=BATCH, verbose=0), answer


def retina_net():
    import keras_hub

    image_encoder = backbone()
    pyramid = keras_hub.models.RetinaNetBackbone(image_encoder, 3, 5, use_p5=False, image_shape=(*SIZE, 3))
    suppression = keras_hub.layers.NonMaxSuppression(
        bounding_box_format="xyxy", from_logits=True, iou_threshold=0.6, confidence_threshold=THRESHOLD
    )
    model = keras_hub.models.RetinaNetObjectDetector(
        pyramid, CLASSES, bounding_box_format="xyxy", preprocessor=None, prediction_decoder=suppression
    )
    model.compile("sgd")
    images, labels = data()
    labels = {"boxes": labels[..., :4], "labels": labels[..., 4]}
    return (
        lambda: model.fit(images, labels, batch_size=BATCH, verbose=0),
        lambda: model.predict(images, batch_size=BATCH, verbose=0),
    )


def pipeline():
    """Return functions that read as many random views as a training epoch has."""
    import tensorflow as tf

    import tf_mtl as mtl

    images, labels = data()
    rows = tf.data.Dataset.from_tensor_slices((255 * images, {"boxes": labels})).cache()
    view = mtl.images.RandomView(boxes=["boxes"])
    mixture = mtl.data.mix({"rows": rows}, batch_size=BATCH, shuffle_buffer=len(images), seed=0, augment=view)
    batches = iter(mixture)

    def read():
        for _ in range(STEPS):
            next(batches)

    return read, lambda: None


WAYS = {"tf_mtl": ours, "keras.Model": plain, "keras-hub RetinaNet": retina_net, "pipeline": pipeline}


def work(way):
    """Train and answer whenever a line comes from stdin, and print the seconds of both."""
    functions = WAYS[way]()
    for function in functions:
        function()
    print("ready", flush=True)
    for _ in sys.stdin:
        seconds = []
        for function in functions:
            started = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - started)
        print(*seconds, flush=True)


def main():
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    processes = {}
    for way in WAYS:
        command = [sys.executable, __file__, "--worker", way]
        processes[way] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        while processes[way].stdout.readline().strip() != "ready":
            pass
    seconds = {way: [] for way in WAYS}
    for _ in range(args.rounds):
        for way, process in processes.items():
            process.stdin.write("\n")
            process.stdin.flush()
            seconds[way].append([float(value) for value in process.stdout.readline().split()])
    for process in processes.values():
        process.stdin.close()
        process.wait()
    import tf_mtl as mtl

    rows = []
    for way in list(WAYS)[:-1]:
        row = [way]
        for part in (0, 1):
            of_way, ours = ([pair[part] for pair in seconds[name]] for name in (way, "tf_mtl"))
            count = STEPS if part == 0 else BATCH * STEPS
            row.append(1000 * statistics.median(of_way) / count)
            row.append(statistics.median(a / b for a, b in zip(of_way, ours, strict=True)))
        rows.append(row)
    print(mtl.report.table(["way", "ms per step", "ratio", "ms per image answered", "ratio"], rows))
    pairs = zip(seconds["tf_mtl"], seconds["pipeline"], strict=True)
    rate = statistics.median(step[0] / read[0] for step, read in pairs)
    print(f"\nThe input pipeline is {rate:.1f} times as fast as the training step.")


if __name__ == "__main__":
    main()
