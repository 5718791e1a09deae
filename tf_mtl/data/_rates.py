"""The rates of a mixture as schedules: functions of the step that give the probability of each source."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._names import nearest
from tf_mtl.data._dynamic_rates import DynamicRates

RateSchedule = Callable[[tf.Tensor, Callable[[], tf.Tensor]], tf.Tensor]
"""Takes steps [K] and a function that returns their epochs [K], and returns the probabilities [K, T] of the sources.

The epochs come from a function because the length of an epoch may be unknown where it is not needed.
"""


def rate_schedule(
    rates: Any,
    temperature: float | None,
    cap: int | None,
    epochs: int | None,
    sources: Sequence[str],
    row_counts: Callable[[], list[int]],
) -> RateSchedule:
    """Return the schedule of the rates that `mix` received.

    Args:
        rates: The rates; see `tf_mtl.data.mix`, as for `temperature`, `cap` and `epochs`.
        temperature: The temperature.
        cap: The cap.
        epochs: The number of epochs.
        sources: The names of the sources.
        row_counts: Returns the number of rows of each source, or raises if it is unknown.

    Raises:
        ValueError: for invalid rates, temperatures, caps or numbers of epochs, and for rates that depend on an unknown
            number of rows.
    """
    by_size = isinstance(rates, str) and rates != "uniform"
    if temperature is not None and rates not in ("temperature", "proportional"):
        raise ValueError(
            "`temperature` is only for rates='temperature' and rates='proportional'; received it with "
            f"rates={rates!r}. Omit it, or change `rates`."
        )
    if cap is not None and not by_size:
        raise ValueError(
            f"`cap` limits the sizes that rates depend on, but rates={rates!r} do not depend on sizes. Omit `cap`, or "
            "change `rates`."
        )
    if epochs is not None and rates != "annealed":
        raise ValueError(f"`epochs` is only for rates='annealed', received it with rates={rates!r}. Omit it.")
    if isinstance(rates, Mapping):
        return _constant_schedule(_rates_in_order(rates, sources))
    if isinstance(rates, DynamicRates):
        _check_names(rates.sources, sources)
        order = [rates.sources.index(name) for name in sources]
        return lambda steps, get_epochs: tf.gather(rates.probabilities(get_epochs()), order, axis=-1)
    if callable(rates):
        return _function_schedule(rates, sources)
    if rates == "uniform":
        return _constant_schedule([1.0] * len(sources))
    if rates == "temperature" and temperature is None:
        raise ValueError("rates='temperature' needs `temperature`, received None. Pass it, for instance 2.0.")
    if temperature is not None and not temperature >= 1:
        raise ValueError(f"`temperature` must be at least 1, received {temperature}.")
    cap = integer("cap", cap, 1, none=True)
    exponents = {"proportional": 1.0 / (temperature or 1.0), "temperature": 1.0 / (temperature or 1.0), "sqrt": 0.5}
    if rates not in (*exponents, "annealed"):
        raise ValueError(
            "`rates` must be 'uniform', 'proportional', 'temperature', 'sqrt', 'annealed', a dict {source: rate}, a "
            f"function of the step that returns one, or a DynamicRates; received {rates!r}."
        )
    if rates == "annealed" and epochs is None:
        raise ValueError("rates='annealed' needs `epochs`, received None. Pass the number of epochs.")
    epochs = integer("epochs", epochs, 2, none=True)
    sizes = [min(rows, cap or rows) for rows in row_counts()]
    if epochs is not None:  # annealed
        return _annealed_schedule(sizes, epochs)
    return _constant_schedule([size ** exponents[rates] for size in sizes])


def _rates_in_order(rates: Mapping[str, float], sources: Sequence[str]) -> list[float]:
    """Return the rates in the order of the sources, after checking them."""
    _check_names(rates, sources)
    values = [float(rates[name]) for name in sources]
    if not min(values) >= 0 or not 0 < sum(values) < float("inf"):
        raise ValueError(f"`rates` must be finite, not negative, and not all 0, received {dict(rates)}.")
    return values


def _check_names(names: Collection[str], sources: Sequence[str]) -> None:
    for name in names:
        if name not in sources:
            raise ValueError(
                f"`rates` must be keyed by source. Received the unknown key '{name}'; the sources are "
                f"{list(sources)}.{nearest(name, sources)}"
            )
    missing = [name for name in sources if name not in names]
    if missing:
        raise ValueError(f"`rates` must have a rate for every source. Missing: {missing}. Add 0.0 to exclude a source.")


def _constant_schedule(rates: Sequence[float]) -> RateSchedule:
    total = sum(rates)
    probabilities = tf.constant([[rate / total for rate in rates]], tf.float64)
    return lambda steps, get_epochs: tf.repeat(probabilities, tf.size(steps), axis=0)


def _annealed_schedule(sizes: Sequence[int], epochs: int) -> RateSchedule:
    log_sizes = tf.math.log(tf.constant(sizes, tf.float64))

    def schedule(steps, get_epochs):
        progress = tf.minimum(tf.cast(get_epochs(), tf.float64) / (epochs - 1), 1.0)
        return tf.nn.softmax((1.0 - progress)[:, None] * log_sizes)

    return schedule


def _function_schedule(function: Callable[[tf.Tensor], Mapping[str, float]], sources: Sequence[str]) -> RateSchedule:
    def rates_at(step):
        rates = function(step)
        if not isinstance(rates, Mapping):
            raise TypeError(f"`rates` must return a dict {{source: rate}}, received {type(rates).__name__}.")
        _check_names(rates, sources)
        return tf.stack([tf.cast(rates[name], tf.float64) for name in sources])

    def schedule(steps, get_epochs):
        rates = tf.map_fn(rates_at, tf.cast(steps, tf.int64), fn_output_signature=tf.float64)
        is_valid = tf.reduce_all((rates >= 0) & tf.math.is_finite(rates), -1) & (tf.reduce_sum(rates, -1) > 0)
        rule = "`rates` must return finite rates, not negative, and not all 0. Received, as steps and their rates:"
        message = [rule, tf.boolean_mask(steps, ~is_valid), tf.boolean_mask(rates, ~is_valid)]
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(is_valid), message)]):
            return rates / tf.reduce_sum(rates, -1, keepdims=True)

    try:
        schedule(tf.zeros([1], tf.int64), None)
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(error.message) from None
    return schedule
