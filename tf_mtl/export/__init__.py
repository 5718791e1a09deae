"""Export a trained model for serving."""

from tf_mtl.export.check import check as check
from tf_mtl.export.saved_model import saved_model as saved_model
