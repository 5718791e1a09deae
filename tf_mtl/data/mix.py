"""Draw one stream of rows from data sets that each label some of the tasks."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from tf_mtl._names import check_names


def mix(
    sources: Mapping[str, tf.data.Dataset],
    rates: str | Mapping[str, float] = "proportional",
    temperature: float | None = None,
    seed: int | None = None,
) -> tf.data.Dataset:
    r"""Mix rows of several data sets, each repeated without end, at given rates.

    A row has labels for all tasks of all sources; those its own source lacks are zeros of weight 0. Batch the result
    and give `fit` its `steps_per_epoch`. Shuffle each source before mixing.

    Args:
        sources: `{name: data set}` of unbatched rows (x, {task: y}) or (x, {task: y}, {task: weight}). Inputs x must
            have the same names, dtypes and shapes everywhere; tasks may differ.
        rates: "uniform"; "proportional", $p_i \propto n_i$ with $n_i$ the rows of source i; "temperature",
            $p_i \propto n_i^{1/\tau}$ (Devlin 2018 for multilingual BERT; Raffel et al. 2020); or `{name: rate}`.
        temperature: $\tau$, at least 1: 1 is proportional, infinity uniform. Given with "proportional" it makes that
            "temperature".
        seed: Seed of the draws; the same seed gives the same stream.

    Returns:
        An endless data set of (x, {task: y}, {task: weight}).

    Raises:
        TypeError: if a source's elements are not rows with a dict of labels.
        ValueError: for inputs or labels that differ between sources (the message names the field), unknown rates,
            and an empty source or one of unknown size where rates depend on it.

    Example:

    >>> a = tf.data.Dataset.from_tensor_slices((np.zeros((8, 2)), {"topic": np.arange(8)}))
    >>> b = tf.data.Dataset.from_tensor_slices((np.ones((2, 2)), {"stars": np.ones(2)}))
    >>> rows = mtl.data.mix({"a": a, "b": b}, rates="uniform", seed=0).take(100)
    >>> 35 < sum(int(weight["stars"]) for x, y, weight in rows) < 65
    True
    """
    if not sources:
        raise ValueError("`sources` must hold at least one data set, received none.")
    labels = _label_specs(sources)
    weights = [spec for source in sources.values() for spec in (source.element_spec[2:] or [{}])]
    per_label = {task for spec in weights for task in spec if spec[task].shape.rank}
    probabilities = _probabilities(sources, rates, temperature)
    return tf.data.Dataset.sample_from_datasets(
        [_complete(source, labels, per_label).repeat() for source in sources.values()],
        weights=[probabilities[name] for name in sources],
        seed=seed,
        stop_on_empty_dataset=True,
        rerandomize_each_iteration=seed is None,
    )


def _label_specs(sources):
    """Return {task: spec} over all sources, having checked that inputs and labels agree."""
    labels, owner, first = {}, {}, next(iter(sources))
    for name, source in sources.items():
        element = source.element_spec
        if not isinstance(element, tuple) or not all(isinstance(part, Mapping) for part in element[1:] or [None]):
            raise TypeError(
                f"Source '{name}' must give rows (x, {{task: y}}) or (x, {{task: y}}, {{task: weight}}), "
                f"received {element}."
            )
        if int(source.cardinality()) == 0:
            raise ValueError(f"Source '{name}' is empty: it must give at least one row.")
        _check_same(name, first, _fields(element[0]), _fields(sources[first].element_spec[0]))
        for task, spec in element[1].items():
            if task in labels and not _agree(spec, labels[task]):
                raise ValueError(
                    f"Sources '{owner[task]}' and '{name}' differ in the labels of task '{task}': {labels[task]} "
                    f"and {spec}. Cast or reshape one of them."
                )
            labels.setdefault(task, spec)
            owner.setdefault(task, name)
    return labels


def _fields(x):
    return {"/".join(map(str, path)) or "x": spec for path, spec in keras.tree.flatten_with_path(x)}


def _check_same(name, first, fields, expected):
    for field in sorted({*fields, *expected}):
        if field not in fields or field not in expected:
            holder, other = (first, name) if field not in fields else (name, first)
            raise ValueError(
                f"The inputs of source '{holder}' have the field '{field}', which those of '{other}' lack. "
                "Give all sources the same inputs."
            )
        if not _agree(fields[field], expected[field]):
            raise ValueError(
                f"Sources '{first}' and '{name}' differ in the input field '{field}': {expected[field]} and "
                f"{fields[field]}. Cast, pad or reshape one of them."
            )


def _agree(one, other):
    return one.dtype == other.dtype and one.shape.is_compatible_with(other.shape)


def _complete(source, labels, per_label):
    """Give every row labels and weights for all tasks; weights of the tasks in `per_label` have the labels' shape."""

    def complete(*row):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(row)
        full_y, full_weight = {}, {}
        for task, spec in labels.items():
            labelled = task in y
            full_y[task] = y[task] if labelled else tf.zeros([size or 0 for size in spec.shape], spec.dtype)
            ones = tf.ones(tf.shape(full_y[task])) if task in per_label else tf.ones([])
            given = (weight or {}).get(task, 1.0)
            full_weight[task] = ones * tf.cast(given, tf.float32) if labelled else tf.zeros_like(ones)
        return x, full_y, full_weight

    return source.map(complete, num_parallel_calls=tf.data.AUTOTUNE)


def _probabilities(sources, rates, temperature):
    if isinstance(rates, Mapping):
        if temperature is not None:
            raise ValueError("`temperature` goes with rates='temperature' or 'proportional', not with explicit rates.")
        check_names("rates", rates, sources)
        total = sum(rates.values())
        if min(rates.values()) < 0 or not total > 0:
            raise ValueError(f"`rates` must not be negative, and not all 0, received {dict(rates)}.")
        return {name: rate / total for name, rate in rates.items()}
    if rates not in ("uniform", "proportional", "temperature"):
        raise ValueError(
            f"`rates` must be 'uniform', 'proportional', 'temperature' or a dict {{source: rate}}, received {rates!r}."
        )
    if rates == "uniform":
        return dict.fromkeys(sources, 1 / len(sources))
    if rates == "temperature" and temperature is None:
        raise ValueError("rates='temperature' needs `temperature`, for instance 2.0.")
    temperature = 1.0 if temperature is None else temperature
    if not temperature >= 1:
        raise ValueError(f"`temperature` must be at least 1, received {temperature}.")
    sizes = {name: _size(name, source) ** (1 / temperature) for name, source in sources.items()}
    return {name: size / sum(sizes.values()) for name, size in sizes.items()}


def _size(name, source):
    size = int(source.cardinality())
    if size <= 0:
        kind = "endless" if size == tf.data.INFINITE_CARDINALITY else "of unknown size"
        raise ValueError(
            f"Source '{name}' is {kind}, but its rate depends on its number of rows. Use rates='uniform' or "
            "{source: rate}, or apply tf.data.experimental.assert_cardinality(rows)."
        )
    return size
