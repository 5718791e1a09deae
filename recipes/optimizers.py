"""The optimizer of the text recipes."""

import keras


def adamw(learning_rate: float, steps: int) -> keras.optimizers.Optimizer:
    """Return AdamW whose learning rate increases for a tenth of the steps and then decreases along a cosine."""
    warmup_steps = max(1, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=learning_rate, warmup_steps=warmup_steps
    )
    return keras.optimizers.AdamW(schedule, weight_decay=0.01)
