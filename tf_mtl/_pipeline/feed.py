"""From what `fit`, `evaluate` and `predict` are given to checked streams of batches."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.trainers.data_adapters import get_data_adapter

from tf_mtl._pipeline.array_stream import ArrayStream, split
from tf_mtl._pipeline.checks import CheckedDataset, with_checks
from tf_mtl._pipeline.division import Rows
from tf_mtl._pipeline.epochs import check_finite, one_epoch, steps_per_epoch_of
from tf_mtl._pipeline.forms import arrays, unpacked
from tf_mtl._pipeline.labels import Rules
from tf_mtl._pipeline.stream import Stream
from tf_mtl.balancing import Balancing
from tf_mtl.data import Mixture, ShardedBatches
from tf_mtl.distribute._workers import worker_index


@dataclass(frozen=True)
class Feed:
    """What a call of `fit` works with.

    Attributes:
        training: The batches to train on.
        validation: Those to validate on; None without.
        steps_per_epoch: The number of batches of an epoch; None for all.
        callbacks: The callbacks given.
        mixture: The mixture that is trained on; None for other data.
        at_end: What is called when the call of `fit` ends, with the exception that ended it, if any.
    """

    training: Stream
    validation: Stream | None
    steps_per_epoch: int | None
    callbacks: list[keras.callbacks.Callback]
    mixture: Mixture | None
    at_end: ExitStack = field(default_factory=ExitStack)


def fit_feed(
    rules: Rules,
    strategy: tf.distribute.Strategy,
    balancing: Balancing,
    data: tuple[Any, Any, Any],
    batch_size: int | None,
    shuffle: bool,
    steps_per_epoch: int | None,
    callbacks: Any,
    validation_split: float,
    validation_data: Any,
    validation_batch_size: int | None,
    validation_steps: int | None,
) -> Feed:
    """Return what `fit` works with.

    Args:
        rules: What batches must keep.
        strategy: The model's strategy.
        balancing: The balancing method.
        data: (x, y, sample_weight), as `fit` was given them; all further arguments are those of `fit`.
    """
    given = x = data[0]
    check_finite("x", x, steps_per_epoch, "steps_per_epoch")
    steps_per_epoch = steps_per_epoch_of(x, steps_per_epoch)
    mixture = x if isinstance(x, Mixture) else None
    if validation_split and validation_data is None:
        _read(data, rules, strategy)  # raises for arrays that do not belong together
        data, validation_data = split(arrays(data), validation_split)
    data = _read(data, rules, strategy)
    validation = None
    if validation_data is not None:
        validation_data = one_epoch("validation_data", validation_data, validation_steps, "validation_steps")
        x, y, weight = _read(unpacked(validation_data), rules.for_evaluation, strategy)
        validation = _stream(x, y, weight, validation_batch_size or batch_size)
    x, y, weight = data
    if balancing.needs_validation:
        x = _zipped(x, balancing, rules, strategy)
    training = _stream(x, y, weight, batch_size, shuffle)
    training.epoch_size = steps_per_epoch
    if isinstance(given, ShardedBatches):
        training.global_dataset = given
    return Feed(training, validation, steps_per_epoch, callback_list(callbacks), mixture)


def evaluate_feed(
    rules: Rules,
    strategy: tf.distribute.Strategy,
    data: tuple[Any, Any, Any],
    batch_size: int | None,
    steps: int | None,
) -> Stream:
    """Return the batches that `evaluate` works through."""
    x, y, weight = data
    x, y, weight = _read((one_epoch("x", x, steps, "steps"), y, weight), rules.for_evaluation, strategy)
    return _stream(x, y, weight, batch_size)


def predict_feed(x: Any, batch_size: int | None, steps: int | None) -> Stream:
    """Return the batches that `predict` works through.

    Raises:
        ValueError: for sharded batches.
    """
    if isinstance(x, ShardedBatches):
        raise ValueError(
            "`x` of `predict` must give rows in the order of its results, received batches of tf_mtl.data.sharded, "
            "which interleave shards and may repeat rows. Pass a data set of batches of the rows."
        )
    return _stream(arrays(one_epoch("x", x, steps, "steps")), batch_size=batch_size)


def callback_list(callbacks: Any) -> list[keras.callbacks.Callback]:
    """Return the callbacks that `fit` was given: none, one, a list of them, or a Keras `CallbackList`."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return list(callbacks.callbacks)
    given = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
    return [callback for callback in given if callback is not None]


def with_epochs(callbacks: Any, model: keras.Model, balancing: Balancing, mixture: Mixture | None) -> Any:
    """Return the callbacks with what happens in an epoch before them, since they may save the model."""
    first: list[keras.callbacks.Callback] = [_Epochs(balancing)]
    if mixture is not None:
        first.append(_SourceShares(mixture))
    if isinstance(callbacks, keras.callbacks.CallbackList):
        given = [each for each in callbacks.callbacks if not isinstance(each, (_Epochs, _SourceShares))]
        callbacks.callbacks[:] = [*first, *given]  # the list may have served an earlier `fit`
        for callback in first:
            callback.set_model(model)
        return callbacks
    return [*first, *callback_list(callbacks)]


class _Epochs(keras.callbacks.Callback):
    """Tells the stream that an epoch begins, and a balancing method that it has ended."""

    def __init__(self, balancing):
        super().__init__()
        self.balancing = balancing

    def on_epoch_begin(self, epoch, logs=None):
        self.model._feed.training.begin_epoch()

    def on_epoch_end(self, epoch, logs=None):
        with self.model.distribute_strategy.scope():
            self.balancing.end_epoch()


class _SourceShares(keras.callbacks.Callback):
    """Logs the share of rows that a mixture drew from each of its sources in the epoch."""

    def __init__(self, mixture):
        super().__init__()
        self.mixture = mixture

    def on_epoch_end(self, epoch, logs=None):
        stream = self.model._feed.training
        shares = self.mixture.shares(stream.steps - stream.epoch_batches, stream.epoch_batches)
        logs.update({f"share_{source}": share for source, share in shares.items()})


def _stream(x: Any, y: Any = None, weight: Any = None, batch_size: int | None = None, shuffle: bool = False) -> Stream:
    """Return a stream of what `fit`, `evaluate` and `predict` take.

    Args:
        x: A data set of batches, with or without a check; inputs, as arrays; or a generator, a `PyDataset` or anything
            else that Keras takes.
        y: Labels, where `x` holds arrays.
        weight: Label weights, where `x` holds arrays.
        batch_size: The number of rows of a batch, for arrays; 32 by default, as in Keras.
        shuffle: Whether to shuffle the rows of arrays, in a new order in each pass.
    """
    if isinstance(x, CheckedDataset):
        return Stream(x.dataset, x.check)
    leaves = keras.tree.flatten((x, y, weight))
    if not isinstance(x, tf.data.Dataset) and all(isinstance(t, (np.ndarray, tf.Tensor, type(None))) for t in leaves):
        return ArrayStream((x, y, weight), batch_size or 32, shuffle)
    shuffle = shuffle and not isinstance(x, tf.data.Dataset)  # for which Keras warns that it ignores the argument
    adapter = get_data_adapter(x, y, weight, batch_size=batch_size, shuffle=shuffle)
    return Stream(x if isinstance(x, tf.data.Dataset) else adapter)


def _read(data, rules, strategy):
    """Data whose batches are checked; of sharded batches, the `Rows` that this worker reads."""
    x, y, weight = data
    index, workers = worker_index(strategy)
    if not isinstance(x, ShardedBatches) or workers == 1:
        return with_checks(data, rules)
    part, y, weight = with_checks((x.of_worker(index, workers), y, weight), rules)
    first = index * (x.batch_size // workers)
    return part.in_pipeline().map(lambda *batch: Rows(first, batch)), y, weight


def _zipped(x, balancing, rules, strategy):
    """Pair the batches of a data set with those that a balancing method learns from."""
    name = type(balancing).__name__
    if balancing.validation is None:
        raise ValueError(
            f"{name} learns from validation batches: pass {name}(validation=dataset), or set "
            "model.balancing.validation on a loaded model."
        )
    if not isinstance(x, (tf.data.Dataset, CheckedDataset)):
        raise ValueError(f"{name} needs `x` to be a tf.data.Dataset of batches, received {type(x).__name__}.")
    validation, _, _ = _read((balancing.validation, None, None), rules, strategy)
    x, validation = (each.in_pipeline() if isinstance(each, CheckedDataset) else each for each in (x, validation))
    return tf.data.Dataset.zip(x, validation.repeat())
