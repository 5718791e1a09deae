"""Load TensorFlow without its start-up messages: import this module before any other that imports TensorFlow.

TensorFlow's C++ libraries write to the stderr of the process while they are loaded, before TF_CPP_MIN_LOG_LEVEL takes
effect. These messages are dropped; all else that is written meanwhile appears, and so do later warnings and errors.
Set TF_CPP_MIN_LOG_LEVEL=0 to see every message.
"""

import contextlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator

START_UP_MESSAGE = re.compile(rb"[IWE]0000 |WARNING: All log messages before absl::InitializeLog")


@contextlib.contextmanager
def without_start_up_messages() -> Iterator[None]:
    """Drop TensorFlow's start-up messages from what is written to stderr, also by C++."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            written.seek(0)
            os.write(2, b"".join(line for line in written if not START_UP_MESSAGE.match(line)))


def is_not_about_retracing(record: logging.LogRecord) -> bool:
    """Return False for TensorFlow's warning that functions are traced often, as they are with several models."""
    return "tf.function retracing" not in record.getMessage()


is_quiet = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") != "0"
with without_start_up_messages() if is_quiet else contextlib.nullcontext():
    import tensorflow as tf

    tf.config.list_physical_devices()  # which looks for GPUs, and complains if it finds none

tf.get_logger().addFilter(is_not_about_retracing)
