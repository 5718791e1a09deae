"""The optimizers of the recipes on texts, and of those on tables."""

import keras


def adamw(learning_rate: float, steps: int, clipnorm: float | None = None) -> keras.optimizers.Optimizer:
    """Return AdamW whose learning rate increases for a tenth of the steps and then decreases along a cosine.

    Args:
        learning_rate: The highest of the schedule.
        steps: The number of steps.
        clipnorm: The largest norm of a variable's gradient; None for no limit.
    """
    warmup_steps = max(1, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=learning_rate, warmup_steps=warmup_steps
    )
    return keras.optimizers.AdamW(schedule, weight_decay=0.01, clipnorm=clipnorm)


def adamw_on_kernels(
    model: keras.Model, learning_rate: float, steps: int, weight_decay: float
) -> keras.optimizers.Optimizer:
    """Return AdamW with a cosine schedule, and weight decay of kernels and embeddings only."""
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=weight_decay)
    decayed = ("kernel", "embeddings")
    optimizer.exclude_from_weight_decay([v for v in model.trainable_variables if v.name not in decayed])
    return optimizer
