"""Tasks: each a named head with its loss, its metrics and the decoding of its output."""

from tf_mtl.tasks._base import Task as Task
from tf_mtl.tasks.binary_classification import BinaryClassification as BinaryClassification
from tf_mtl.tasks.classification import Classification as Classification
from tf_mtl.tasks.multi_label import MultiLabel as MultiLabel
from tf_mtl.tasks.regression import Regression as Regression
from tf_mtl.tasks.tagging import Tagging as Tagging
