"""Which inputs an output depends on, row by row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._keys import TOKEN_IDS
from tf_mtl._model import MultiTaskModel
from tf_mtl._names import check_names, nearest
from tf_mtl._optional_inputs import OptionalInputs
from tf_mtl._raw_inputs import RawInputs, as_tensors, model_specs
from tf_mtl.analysis._path import Path
from tf_mtl.text import TextPreprocessor


@dataclass(frozen=True)
class Attribution:
    """What each value of the inputs contributes to an output of B rows.

    Attributes:
        values: The contributions, `{input: array}`, each in the shape of the input, [B, ...].
        outputs: The output at the inputs, [B].
        baselines: The output at the baseline, [B].
        tokens: The tokens that `values["token_ids"]` belongs to, strings [B, S], if a preprocessor of texts was passed.
    """

    values: dict[str, np.ndarray]
    outputs: np.ndarray
    baselines: np.ndarray
    tokens: np.ndarray | None = None

    @property
    def gaps(self) -> np.ndarray:
        """The part of `outputs - baselines` that `values` do not sum up to, [B]; more steps bring it closer to 0."""
        sums = sum(each.reshape(len(each), -1).sum(1) for each in self.values.values())
        return self.outputs - self.baselines - sums


def attribution(
    model: MultiTaskModel,
    inputs: Any,
    task: str,
    output: str | int | Sequence[str | int] | None = None,
    baseline: Any = None,
    steps: int = 50,
    preprocessor: Callable[[Any], Any] | None = None,
) -> Attribution:
    r"""Return how much each input contributes to one number of a task's output, by integrated gradients.

    $$(x_i - x'_i) \frac{1}{m} \sum_{k=1}^m \frac{\partial F(x' + \alpha_k (x - x'))}{\partial x_i},
    \qquad \alpha_k = \frac{k - 1/2}{m}$$

    for the output $F$ that the head returns (logits where the task has logits, in inference mode), inputs $x$, a
    baseline $x'$ and $m$ steps, each with a forward and a backward pass. The contributions sum to $F(x) - F(x')$, up to
    the error of the sum over steps, `gaps`. All rows are computed at one time.

    Inputs of integers, such as token ids and categorical columns, are replaced by the outputs of the layers that embed
    them (`keras.layers.Embedding` and its subclasses, nested ones too, and `tf_mtl.encoders.TabularEncoder`), whose
    baseline is the zero vector; an id's contribution is the sum over its vector. Embeddings of positions belong to the
    baseline. Inputs that are neither floats nor embedded, such as masks, remain as they are, and have no entry.

    Args:
        model: The model.
        inputs: Inputs of B rows, as `model.answer` takes them.
        task: The task's name.
        output: Which number of the task's output: the name or index of a class. For outputs with positions,
            [B, W, C], a position, or a tuple of position and class. If the class is left out, it is the one with the
            largest output in each row.
        baseline: The baseline of float inputs, in the structure of the model's inputs; entries of a dict may be left
            out. Arrays are broadcast to the inputs. 0 by default.
        steps: The number of steps m.
        preprocessor: What turns raw inputs into the model's, as `model.answer` takes it.

    Returns:
        An `Attribution`. Its keys are the names of the model's inputs (`inputs` for a single, unnamed one), or that of
        the embedding layer if the ids that it embeds are not those of exactly one input.

    Raises:
        ValueError: for an unknown task, class or input, an output that is not one number, a number of steps below one,
            or a model without inputs of this kind.

    Example:

    >>> tasks = [mtl.tasks.Classification("topic", labels=["news", "sport"])]
    >>> trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([4]))
    >>> model = mtl.build_model(keras.Input((3,), name="x"), trunk, tasks)
    >>> result = mtl.analysis.attribution(model, np.ones((2, 3)), "topic", output="sport")
    >>> result.values["x"].shape, bool(np.abs(result.gaps).max() < 1e-3)
    ((2, 3), True)

    Reference: Sundararajan, Taly & Yan, "Axiomatic attribution for deep networks", ICML 2017.
    """
    check_names("task", [task], model.task_names, required=False)
    steps, specs = integer("steps", steps, 1), model_specs(model)
    if preprocessor is None:
        tensors = as_tensors(inputs, specs)
    else:
        raw = RawInputs.of(preprocessor, specs)
        tensors = raw.prepare(as_tensors(inputs, raw.specs))
    forward = OptionalInputs(model.input, model.output[task])
    labels = next((each.labels for each in model.tasks if each.name == task), ())
    chosen = _Chosen.of(forward(tensors, training=False), output, labels)
    path = Path(model, lambda point: chosen.of_output(forward(point, training=False)), specs, tensors, baseline)
    sums: dict[str, Any] = {}
    for step in range(steps):
        for name, contribution in path.at((step + 0.5) / steps).contributions.items():
            sums[name] = sums.get(name, 0.0) + contribution / steps
    if not sums:
        raise ValueError(
            "`model` must have float inputs, or layers that embed integers, received a model with the inputs "
            f"{keras.tree.flatten(specs)}."
        )
    tokens = None
    if isinstance(preprocessor, TextPreprocessor) and TOKEN_IDS in sums:
        tokens = preprocessor.tokens(np.asarray(tensors[TOKEN_IDS]))
    return Attribution(sums, path.at(1.0).output, path.at(0.0).output, tokens)


class _Chosen(NamedTuple):
    """One number of each row of a task's output.

    Attributes:
        positions: Indices of the axes after the first.
        classes: The index on the last axis for each row, [B]; None if `positions` includes it.
    """

    positions: tuple[int, ...]
    classes: tf.Tensor | None

    @classmethod
    def of(cls, values, output, labels):
        """What `output` names in a task's output for some rows, [B, ...]."""
        given = () if output is None else tuple(output) if isinstance(output, (list, tuple)) else (output,)
        positions = tuple(_index(each, labels) for each in given)
        sizes = values.shape[1:].as_list()
        if len(sizes) - len(positions) not in (0, 1) or any(i >= n for i, n in zip(positions, sizes, strict=False)):
            raise ValueError(
                "`output` must be the index of one number in each row's output, or of all its axes but the last, "
                f"received {output!r} for the shape {sizes}."
            )
        rest = values[(slice(None), *positions)]
        return cls(positions, tf.argmax(rest, -1) if len(rest.shape) == 2 else None)

    def of_output(self, values):
        """The number in each row of the output, [B]."""
        rest = values[(slice(None), *self.positions)]
        return rest if self.classes is None else tf.gather(rest, self.classes, batch_dims=1)


def _index(entry, labels):
    if not isinstance(entry, str):
        return integer("output", entry, 0)
    if entry not in labels:
        raise ValueError(
            f"`output` must name a class of the task, one of {list(labels)}, received '{entry}'."
            f"{nearest(entry, labels)}"
        )
    return list(labels).index(entry)
