"""From annotated images to a model's inputs and labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tf_mtl._names import check_names
from tf_mtl.images import ImagePreprocessor
from tf_mtl.tasks import DenseTask, Task


def encode_images(
    records: tf.data.Dataset, preprocessor: ImagePreprocessor, tasks: Sequence[Task], weight: str | None = None
) -> tf.data.Dataset:
    """Return rows (pixels, {task: label}) of annotated images, as the tasks' losses expect them.

    A record is a dict with an image, `image`, as the bytes of a file or as pixels, and the fields that the tasks read:
    `boxes` and `labels` for `tf_mtl.tasks.Detection`, and one with the task's name for others.
    `tf_mtl.data.from_voc`, `from_coco`, `images_from_csv`, `images_from_tfds` and `from_mask_folders` return such
    records; `add_masks` and `map` add fields. Images are
    decoded when rows are read: `cache()` the result if it fits the memory.

    Args:
        records: The records.
        preprocessor: From bytes to pixels.
        tasks: The tasks.
        weight: The name of the field with `{task: weight}`, such as `{"boxes": 0.0}` in a record without boxes; tasks
            that it does not name have all their labels. None for no such field. Class names and files of label maps
            need none: the weight of an empty string is 0.

    Raises:
        ValueError: for records without an image, or without a field that a task reads, or weights of other tasks.

    Example:

    >>> png = tf.io.encode_png(np.zeros((40, 80, 3), "uint8"))
    >>> record = {"image": [png], "boxes": [[[20.0, 10.0, 60.0, 30.0]]], "labels": [["cat"]]}
    >>> task = mtl.tasks.Detection("animals", labels=["cat", "dog"], image_size=(32, 32), most=2)
    >>> records = tf.data.Dataset.from_tensor_slices(record)
    >>> x, y = next(iter(mtl.data.encode_images(records, mtl.images.ImagePreprocessor((32, 32)), [task])))
    >>> x.shape, y["animals"].numpy().tolist()
    (TensorShape([32, 32, 3]), [[8.0, 12.0, 24.0, 20.0, 0.0], [-1.0, -1.0, -1.0, -1.0, -1.0]])
    """
    spec = records.element_spec
    if not isinstance(spec, Mapping) or "image" not in spec:
        raise ValueError(f"`records` must be dicts with an image as 'image', received {spec}.")
    named = [task for task in tasks if _may_be_empty(task, spec)]
    if weight is not None:
        check_names(f"records['{weight}']", spec.get(weight, {weight: None}), [task.name for task in tasks], False)

    def encode(record: Mapping[str, tf.Tensor]) -> Any:
        image = preprocessor.decoded(record["image"])
        located = preprocessor.placed(tf.shape(image)[None, :2])
        x = preprocessor.pixels(image)
        y = {task.name: task.encode_image_labels(record, located) for task in tasks}
        weights = {task.name: tf.cast(record[task.name] != "", tf.float32) for task in named}
        for name, value in {} if weight is None else record[weight].items():
            weights[name] = weights.get(name, 1.0) * tf.cast(value, tf.float32)
        return (x, y, weights) if weights else (x, y)

    return records.map(encode, num_parallel_calls=tf.data.AUTOTUNE)


def _may_be_empty(task: Task, spec: Mapping[str, tf.TensorSpec]) -> bool:
    """Return whether a record's label of a task is the name of a class or the bytes of a file, which may be empty."""
    is_string = task.name in spec and spec[task.name].dtype == tf.string
    return is_string and (isinstance(task, DenseTask) or (bool(task.labels) and not task.labels_are_lists))
