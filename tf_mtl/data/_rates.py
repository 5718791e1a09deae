"""The rates of a mixture: functions of the steps [K] and their epochs [K] that give rates [K, T]."""

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import tensorflow as tf

from tf_mtl._names import nearest
from tf_mtl.data._dynamic_rates import DynamicRates

Rates = Callable[[tf.Tensor, Callable[[], tf.Tensor]], tf.Tensor]
"""Called with steps and a function that gives their epochs, as an epoch's length may not be known or needed."""


def rates_of(
    rates: Any,
    temperature: float | None,
    cap: int | None,
    epochs: int | None,
    names: Sequence[str],
    sizes: Callable[[], list[int]],
) -> Rates:
    """Return the rates that `mix` was asked for.

    Raises:
        ValueError: for rates, a temperature, a cap or a number of epochs that cannot be had, or sizes not known.
    """
    by_size = isinstance(rates, str) and rates != "uniform"
    if temperature is not None and rates not in ("temperature", "proportional"):
        raise ValueError(
            "`temperature` goes with rates='temperature' or 'proportional', not with explicit rates; "
            f"received rates={rates!r}."
        )
    if cap is not None and not by_size:
        raise ValueError(f"`cap` limits the sizes that rates depend on, but rates={rates!r} depend on none.")
    if epochs is not None and rates != "annealed":
        raise ValueError(f"`epochs` goes with rates='annealed', received rates={rates!r}. Leave it out.")
    if isinstance(rates, Mapping):
        return _constant(explicit("rates", rates, names))
    if isinstance(rates, DynamicRates):
        _check_names("rates", rates.sources, names)
        order = [rates.sources.index(name) for name in names]
        return lambda steps, epochs_of: tf.gather(rates.probabilities(epochs_of()), order, axis=-1)
    if callable(rates):
        return _function(rates, names)
    if rates == "uniform":
        return _constant([1.0] * len(names))
    if rates == "temperature" and temperature is None:
        raise ValueError("rates='temperature' needs `temperature`, for instance 2.0.")
    if temperature is not None and not temperature >= 1:
        raise ValueError(f"`temperature` must be at least 1, received {temperature}.")
    if cap is not None and not cap >= 1:
        raise ValueError(f"`cap` must be at least 1 row, received {cap}.")
    exponents = {"proportional": 1.0 / (temperature or 1.0), "temperature": 1.0 / (temperature or 1.0), "sqrt": 0.5}
    if rates not in (*exponents, "annealed"):
        raise ValueError(
            "`rates` must be 'uniform', 'proportional', 'temperature', 'sqrt', 'annealed', a dict {source: rate}, a "
            f"function of the step that gives one, or a DynamicRates, received {rates!r}."
        )
    if rates == "annealed" and (not isinstance(epochs, Integral) or epochs < 2):
        raise ValueError(f"rates='annealed' needs `epochs`, the number of epochs and at least 2, received {epochs!r}.")
    rows = [min(rows, cap or rows) for rows in sizes()]
    return _annealed(rows, epochs) if rates == "annealed" else _constant([n ** exponents[rates] for n in rows])


def explicit(argument: str, rates: Mapping[str, float], names: Sequence[str]) -> list[float]:
    """Return the rates in the order of the sources, having checked them."""
    _check_names(argument, rates, names)
    found = [float(rates[name]) for name in names]
    if not min(found) >= 0 or not 0 < sum(found) < float("inf"):
        raise ValueError(f"`{argument}` must be finite, not negative, and not all 0, received {dict(rates)}.")
    return found


def _check_names(argument, given, names):
    for name in given:
        if name not in names:
            raise ValueError(
                f"`{argument}` must be keyed by source. Received the unknown key '{name}'; the sources are "
                f"{list(names)}.{nearest(name, names)}"
            )
    missing = [name for name in names if name not in given]
    if missing:
        raise ValueError(
            f"`{argument}` must have a rate for every source. Missing: {missing}; add 0.0 to leave one out."
        )


def _constant(rates):
    total = sum(rates)
    shares = tf.constant([[rate / total for rate in rates]], tf.float64)
    return lambda steps, epochs_of: tf.repeat(shares, tf.size(steps), axis=0)


def _annealed(rows, epochs):
    logs = tf.math.log(tf.constant(rows, tf.float64))

    def rates(steps, epochs_of):
        done = tf.minimum(tf.cast(epochs_of(), tf.float64) / (epochs - 1), 1.0)
        return tf.nn.softmax((1.0 - done)[:, None] * logs)

    return rates


def _function(function, names):
    def one(step):
        found = function(step)
        if not isinstance(found, Mapping):
            raise TypeError(f"`rates` must return a dict {{source: rate}}, received {type(found).__name__}.")
        _check_names("rates", found, names)
        return tf.stack([tf.cast(found[name], tf.float64) for name in names])

    def rates(steps, epochs_of):
        found = tf.map_fn(one, tf.cast(steps, tf.int64), fn_output_signature=tf.float64)
        fine = tf.reduce_all((found >= 0) & tf.math.is_finite(found), -1) & (tf.reduce_sum(found, -1) > 0)
        rule = "`rates` must return finite rates, not negative, and not all 0. At the steps, and the rates there:"
        wrong = [rule, tf.boolean_mask(steps, ~fine), tf.boolean_mask(found, ~fine)]
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(fine), wrong)]):
            return found / tf.reduce_sum(found, -1, keepdims=True)

    try:
        rates(tf.zeros([1], tf.int64), None)
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(error.message) from None
    return rates
