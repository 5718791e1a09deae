"""Freeze and unfreeze layers during training."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from tf_mtl._arguments import integer
from tf_mtl._names import nearest
from tf_mtl._optimizers.internals import unwrapped, without_slots

Layers = Sequence[str | keras.layers.Layer]


class Freezing(keras.callbacks.Callback):
    """Freezes layers by a schedule within one `fit`, as gradual unfreezing does.

    At the first step of an epoch in the schedule, the layers listed for it are frozen, and all other layers that the
    schedule names are unfrozen. Frozen variables do not change at all, neither by momentum nor by weight decay, and a
    frozen BatchNormalization keeps its statistics. Optimizer, metrics, history and balancing keep their state; a
    variable that is unfrozen again has its earlier momenta. Setting `trainable` alone would have no effect, since Keras
    reads it in `compile`.

    Layers that the schedule does not name are unchanged, and so are frozen layers within a named layer that is not
    frozen itself. If everything that the tasks share is frozen, gradient methods have nothing to balance, and each
    task's own layers learn from its own loss.

    Each change retraces the training function, which takes the time of a first step. Runs that resume with
    `tf_mtl.callbacks.Checkpoint` continue the schedule. A `.keras` file of a model with frozen layers loads without the
    optimizer's state, as Keras warns, since a loaded optimizer has momenta for trainable variables only.

    Args:
        schedule: `{epoch: layers}`, with epochs from 0: the layers frozen from this epoch until the next one in the
            schedule. Layers are a list of layer objects and of names of layers at any depth, or a function from the
            model to such a list.

    Raises:
        TypeError: if `schedule` is not such a dict.
        ValueError: for a negative epoch; in `fit`, for unknown names, epochs in which nothing would train, or an
            optimizer or balancing method that does not support freezing.

    Example:

    >>> trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    >>> model = mtl.build_model(keras.Input((4,)), trunk, [mtl.tasks.Regression(name) for name in ("a", "b")])
    >>> model.compile("adam")
    >>> kernel = model.get_layer("mlp_encoder").weights[0]
    >>> before = kernel.numpy()
    >>> freezing = mtl.callbacks.Freezing({0: ["mlp_encoder"], 2: []})
    >>> data = np.eye(4), {"a": np.ones(4), "b": np.ones(4)}
    >>> _ = model.fit(*data, epochs=2, callbacks=[freezing], verbose=0)
    >>> bool((kernel.numpy() == before).all())
    True

    Reference: Howard & Ruder, "Universal Language Model Fine-tuning for Text Classification", ACL 2018.
    """

    def __init__(self, schedule: Mapping[int, Layers | Callable[[keras.Model], Layers]]):
        super().__init__()
        if not isinstance(schedule, Mapping) or not schedule:
            raise TypeError(f"`schedule` must be a dict {{epoch: layers frozen from then on}}, received {schedule!r}.")
        for epoch, layers in schedule.items():
            integer("an epoch of schedule", epoch, 0)
            is_function = callable(layers) and not isinstance(layers, keras.layers.Layer)
            if not is_function and not isinstance(layers, (list, tuple)):
                raise TypeError(f"`schedule[{epoch}]` must be a list of layers or their names, received {layers!r}.")
        self.schedule = dict(sorted(schedule.items()))
        self._frozen_by_epoch: dict[int, list[keras.layers.Layer]] = {}
        self._always_frozen: list[keras.layers.Layer] = []
        self._frozen: list[keras.layers.Layer] | None = None

    @classmethod
    def gradually(cls, layers: Layers, every: int = 1) -> "Freezing":
        """Return a callback that unfreezes one more layer every few epochs, from the last to the first.

        Args:
            layers: Layers or their names, from the inputs to the outputs. All of them are frozen at first.
            every: The number of epochs between two layers.

        Example:

        >>> mtl.callbacks.Freezing.gradually(["embedding", "block_0", "block_1"], every=2).schedule
        {0: ['embedding', 'block_0', 'block_1'], 2: ['embedding', 'block_0'], 4: ['embedding'], 6: []}
        """
        layers = list(layers)
        every = integer("every", every, 1)
        return cls({every * count: layers[: len(layers) - count] for count in range(len(layers) + 1)})

    def set_model(self, model: keras.Model) -> None:
        """Find the layers, and unfreeze them before the optimizer creates its variables."""
        super().set_model(model)
        self._frozen_by_epoch = {epoch: self._find(epoch, layers) for epoch, layers in self.schedule.items()}
        self._always_frozen = [
            part
            for layer in self._named
            if layer.trainable
            for part in layer._flatten_layers(include_self=False)
            if not part.trainable and not any(part is named for named in self._named)
        ]
        self._freeze([])

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check that the optimizer and the balancing method support freezing."""
        self._frozen = None
        optimizer, balancing = self.model.optimizer, self.model.balancing
        trainable = self.model.trainable_variables
        missing = without_slots(optimizer, trainable)
        if missing:
            raise ValueError(
                f"`Freezing` cannot unfreeze {missing[0].path}: the optimizer was built when it was frozen, and has no "
                "slots for it. Compile the model with a new optimizer."
            )
        if any(part.use_ema for part in unwrapped(optimizer)):
            raise ValueError(
                "`Freezing` does not support optimizers with `use_ema=True`, since Keras assigns averages to the wrong "
                "variables once some are frozen. Use an optimizer without it."
            )
        if balancing.has_jacobian_state:
            raise ValueError(
                f"`Freezing` does not support balancing='{type(balancing).__name__}', which has state for each trained "
                "shared variable. Use another balancing method."
            )
        for epoch, layers in self._frozen_by_epoch.items():
            if {id(v) for v in trainable} <= {id(v) for layer in layers for v in layer.variables}:
                raise ValueError(f"`schedule[{epoch}]` freezes all that the model trains. Leave out some layers.")

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Freeze and unfreeze the layers that the schedule lists for the epoch."""
        starts = [start for start in self._frozen_by_epoch if start <= epoch]
        layers = self._frozen_by_epoch[max(starts)] if starts else []
        if layers != self._frozen:
            self._frozen = layers
            self._freeze(layers)
            self.model._refresh_trainable()

    @property
    def _named(self):
        return list({id(x): x for layers in self._frozen_by_epoch.values() for x in layers}.values())

    def _find(self, epoch, layers):
        by_name: dict[str, list[keras.layers.Layer]] = {}
        for layer in self.model._flatten_layers(include_self=False):
            by_name.setdefault(layer.name, []).append(layer)
        matches = []
        for layer in layers(self.model) if callable(layers) else layers:
            if isinstance(layer, keras.layers.Layer):
                matches.append(layer)
            elif layer in by_name:
                matches += by_name[layer]
            else:
                raise ValueError(
                    f"`schedule[{epoch}]` must name layers of the model, received {layer!r}. The layers are "
                    f"{[layer.name for layer in self.model.layers]} and those within them.{nearest(layer, by_name)}"
                )
        return matches

    def _freeze(self, layers):
        for layer in self._named:
            layer.trainable = True
        for layer in [*self._always_frozen, *layers]:
            layer.trainable = False
