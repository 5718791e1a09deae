"""The optimizer of the text recipes."""

import keras


def adamw(learning_rate: float, steps: int) -> keras.optimizers.Optimizer:
    """Return AdamW whose learning rate rises for a tenth of the steps and then falls along a cosine."""
    warmup = max(1, steps // 10)
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=learning_rate, warmup_steps=warmup)
    return keras.optimizers.AdamW(rate, weight_decay=0.01)
