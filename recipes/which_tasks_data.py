"""The census with six targets: rows to train on, to choose groups on, and to test on."""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

import census_data
import census_features
import keras
import numpy as np
import tensorflow as tf
from census_data import Part, select

import tf_mtl as mtl

TASKS = (*census_data.TASKS, *census_data.MORE_TASKS)
MARITAL_STATUS = ("detailed_household_and_family_stat", "detailed_household_summary_in_household", "tax_filer_stat")
SMOKE_TEST_ROWS = 300


@dataclass(frozen=True)
class Data:
    """The census, encoded.

    Attributes:
        train: Training rows.
        held_out: The rows on which the groups are chosen.
        test: Test rows.
        space: The features, which encode raw columns.
        examples: Some raw test rows.
    """

    train: Part
    held_out: Part
    test: Part
    space: keras.utils.FeatureSpace
    examples: dict[str, np.ndarray]


def load(args: argparse.Namespace) -> Data:
    """Return the rows; the columns leave out those that determine a label of any of the six tasks."""
    train, test = census_data.load(args.data, TASKS, leave_out=MARITAL_STATUS)
    order = np.random.default_rng(0).permutation(len(train[0]["age"]))
    if 2 * args.rows > len(order):
        raise ValueError(
            f"`--rows` must be at most {len(order) // 2}, half of the training file, received {args.rows}."
        )
    if args.smoke:
        test = select(test, slice(SMOKE_TEST_ROWS))
    parts = [select(train, order[: args.rows]), select(train, order[args.rows : 2 * args.rows]), test]
    space = census_features.feature_space(parts[0][0])
    examples = {name: values[:8] for name, values in test[0].items()}
    encoded = [
        (census_features.encode(space, columns), {task: labels[task] for task in args.tasks})
        for columns, labels in parts
    ]
    return Data(*encoded, space, examples)


def batches(part: Part, args: argparse.Namespace, epochs: int, seed: int = 0) -> tf.data.Dataset:
    """Return the batches of some epochs, in the same order each time, with weight 0 for missing labels."""
    columns, labels = tf.nest.map_structure(tf.constant, part)
    count, rng = len(labels[args.tasks[0]]), np.random.default_rng(seed)
    orders = [rng.permutation(count)[: count - count % args.batch_size] for _ in range(epochs)]
    indices = tf.data.Dataset.from_tensor_slices(np.concatenate(orders)).batch(args.batch_size)
    rows = indices.map(lambda i: tf.nest.map_structure(lambda x: tf.gather(x, i), (columns, labels)))
    return mtl.data.mask_missing(rows, dict.fromkeys(args.tasks, math.nan)).prefetch(2)


def of_tasks(rows: tf.data.Dataset, tasks: Sequence[str]) -> tf.data.Dataset:
    """Return batches with the labels and weights of some tasks."""
    return rows.map(lambda x, y, weight: (x, {task: y[task] for task in tasks}, {task: weight[task] for task in tasks}))
