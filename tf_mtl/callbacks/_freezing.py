"""Freeze and unfreeze layers while training goes on."""

from collections.abc import Callable, Mapping, Sequence

import keras

from tf_mtl._arguments import integer
from tf_mtl._names import nearest
from tf_mtl._optimizers.internals import unwrapped, without_slots

Layers = Sequence[str | keras.layers.Layer]


class Freezing(keras.callbacks.Callback):
    """Freezes layers by a schedule within one `fit`, as gradual unfreezing does.

    From the first step of an epoch on, the layers listed for it are frozen, and the others that the schedule names
    are not. Frozen variables do not move at all, neither by momentum nor by weight decay, and a frozen
    BatchNormalization keeps its statistics. Optimizer, metrics, history and balancing go on with the state that they
    have; a variable that is unfrozen again finds the momenta that it had. Setting `trainable` alone would change
    nothing: Keras reads it in `compile`.

    Layers that the schedule does not name stay as they are, and so do those that are frozen within a named layer that
    is not. Where all that the tasks share is frozen, gradient methods have nothing to balance, and each task's own
    layers learn by its own loss.

    Each change makes the training function anew, which takes the time of a first step. Runs that
    `tf_mtl.callbacks.Checkpoint` takes up again go on by the schedule. A `.keras` file of a model in which something is
    frozen loads without the optimizer's state, as Keras warns: it makes momenta for what is trained alone.

    Args:
        schedule: `{epoch: layers}`, with epochs from 0: what is frozen from this epoch on, until the next that is
            listed. Layers are given as a list of names, of layers at any depth, and layer objects; or as a function
            from the model to such a list.

    Raises:
        TypeError: if `schedule` is not such a dict.
        ValueError: for a negative epoch; in `fit`, for unknown names, epochs in which nothing would train, or an
            optimizer or balancing method that cannot have its variables changed.

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
            raise TypeError(
                f"`schedule` must be a dict {{epoch: layers to freeze from then on}}, received {schedule!r}."
            )
        for epoch, layers in schedule.items():
            integer("an epoch of schedule", epoch, 0)
            is_function = callable(layers) and not isinstance(layers, keras.layers.Layer)
            if not is_function and not isinstance(layers, (list, tuple)):
                raise TypeError(f"`schedule[{epoch}]` must be a list of layers or their names, received {layers!r}.")
        self.schedule = dict(sorted(schedule.items()))
        self._frozen_by_epoch = {}
        self._kept_frozen = []
        self._in_force = None

    @classmethod
    def gradually(cls, layers: Layers, every: int = 1) -> "Freezing":
        """Return the schedule that unfreezes one layer more, from the last to the first, every so many epochs.

        Args:
            layers: Layers or their names, from the inputs up; all are frozen at first, so only what follows trains.
            every: Epochs from one to the next.

        Example:

        >>> mtl.callbacks.Freezing.gradually(["embedding", "block_0", "block_1"], every=2).schedule
        {0: ['embedding', 'block_0', 'block_1'], 2: ['embedding', 'block_0'], 4: ['embedding'], 6: []}
        """
        layers = list(layers)
        every = integer("every", every, 1)
        return cls({every * count: layers[: len(layers) - count] for count in range(len(layers) + 1)})

    def set_model(self, model):
        """Find the layers, and unfreeze them, for the optimizer is about to make its variables."""
        super().set_model(model)
        self._frozen_by_epoch = {epoch: self._find(epoch, layers) for epoch, layers in self.schedule.items()}
        self._kept_frozen = [
            part
            for layer in self._named
            if layer.trainable
            for part in layer._flatten_layers(include_self=False)
            if not part.trainable and not any(part is named for named in self._named)
        ]
        self._freeze([])

    def on_train_begin(self, logs=None):
        """Check that variables can be frozen and unfrozen."""
        self._in_force = None
        optimizer, balancing = self.model.optimizer, self.model.balancing
        trainable = self.model.trainable_variables
        unknown = without_slots(optimizer, trainable)
        if unknown:
            raise ValueError(
                f"`Freezing` cannot unfreeze {unknown[0].path}: the optimizer was built when it was frozen, and has no "
                "slots for it. Compile the model with a new optimizer."
            )
        if any(part.use_ema for part in unwrapped(optimizer)):
            raise ValueError(
                "`Freezing` cannot be used with `use_ema=True`, where Keras takes averages for those of other "
                "variables once some are frozen. Make the optimizer without it."
            )
        if balancing.has_jacobian_state:
            raise ValueError(
                f"`Freezing` cannot be used with balancing='{type(balancing).__name__}', which keeps state for each "
                "shared variable that is trained. Use another balancing method."
            )
        for epoch, layers in self._frozen_by_epoch.items():
            if {id(v) for v in trainable} <= {id(v) for layer in layers for v in layer.variables}:
                raise ValueError(f"`schedule[{epoch}]` freezes all that the model trains. Leave some layers out of it.")

    def on_epoch_begin(self, epoch, logs=None):
        """Freeze what is due."""
        due = max((start for start in self._frozen_by_epoch if start <= epoch), default=None)
        layers = self._frozen_by_epoch.get(due, [])
        if layers != self._in_force:
            self._in_force = layers
            self._freeze(layers)
            self.model._refresh_trainable()

    @property
    def _named(self):
        return list({id(x): x for layers in self._frozen_by_epoch.values() for x in layers}.values())

    def _find(self, epoch, layers):
        known = self.model._flatten_layers(include_self=False)
        by_name: dict[str, list] = {}
        for layer in known:
            by_name.setdefault(layer.name, []).append(layer)
        found = []
        for layer in layers(self.model) if callable(layers) else layers:
            if isinstance(layer, keras.layers.Layer):
                found.append(layer)
            elif layer in by_name:
                found += by_name[layer]
            else:
                raise ValueError(
                    f"`schedule[{epoch}]` must name layers of the model, received {layer!r}; its layers are "
                    f"{[layer.name for layer in self.model.layers]}, and those within them.{nearest(layer, by_name)}"
                )
        return found

    def _freeze(self, layers):
        for layer in self._named:
            layer.trainable = True
        for layer in [*self._kept_frozen, *layers]:
            layer.trainable = False
