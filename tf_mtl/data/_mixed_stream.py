"""The elements of a mixture, from any step on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf

from tf_mtl.data._augmented import Augment, augmented
from tf_mtl.data._batch_by_length import grouped_batches, pad_to_one_length
from tf_mtl.data._mixture import SourceSequence
from tf_mtl.data._passes import can_start_anywhere, repeated
from tf_mtl.data._sources import LabelSpec, fill_missing_tasks, standardize_weights


@dataclass(frozen=True)
class MixedStream:
    """What `mix` has settled about the elements of a mixture.

    Attributes:
        sources: The sources, in the order of the mixture's.
        specs: The label specs of all tasks.
        sequence: Which source each row or batch comes from.
        batch_size: The number of rows of a batch; None for rows.
        homogeneous: Whether all rows of a batch are of one source.
        boundaries: Lengths by which rows are grouped; None without.
        shuffle_buffer: The number of rows from which the next one of a source is drawn; None for the source's order.
        seed: Seed of the orders.
        augment: Changes rows at random; None for none. See `mix`.
    """

    sources: Sequence[tf.data.Dataset]
    specs: Mapping[str, LabelSpec]
    sequence: SourceSequence
    batch_size: int | None
    homogeneous: bool
    boundaries: Sequence[int] | None
    shuffle_buffer: int | None
    seed: int
    augment: Augment | None

    def dataset(self, first_step: int = 0) -> tf.data.Dataset:
        """Return the elements from a step on; without reading earlier ones where sources can start anywhere."""
        seeks = self.boundaries is None and all(map(can_start_anywhere, self.sources))
        step = first_step if seeks else 0
        drawn = self.sequence.counts(0, step) * (self.batch_size if self.homogeneous else 1)
        parts = [
            repeated(source, self.shuffle_buffer, self.seed + 1 + index, int(rows))
            for index, (source, rows) in enumerate(zip(self.sources, drawn, strict=True))
        ]
        if self.augment is not None:
            parts = [
                augmented(part, self.augment, self.seed + 1 + index, int(drawn[index]))
                for index, part in enumerate(parts)
            ]
        parts = [standardize_weights(part, self.specs) for part in parts]
        stream = self._mixed(parts, self.sequence.indices(step).unbatch())
        if self.batch_size is not None:
            stream = pad_to_one_length(stream)
        if not self.sequence.known_ahead:
            options = tf.data.Options()
            options.experimental_optimization.inject_prefetch = False  # nothing may be drawn before its rates are set
            options.experimental_optimization.map_parallelization = False
            stream = stream.with_options(options)
        return stream.skip(first_step - step) if first_step > step else stream

    def _mixed(self, parts, indices):
        size = self.batch_size
        if size is not None and self.homogeneous:
            parts = [grouped_batches(part, size, self.boundaries, drop_remainder=True) for part in parts]
            parts = [fill_missing_tasks(part, self.specs, size) for part in parts]
            return tf.data.Dataset.choose_from_datasets(parts, indices)
        parts = [fill_missing_tasks(part, self.specs) for part in parts]
        rows = tf.data.Dataset.choose_from_datasets(parts, indices)
        return rows if size is None else grouped_batches(rows, size, self.boundaries, drop_remainder=True)
