"""Label maps in image files."""

import tensorflow as tf

_GREY, _PALETTE, _GREY_WITH_ALPHA = 0, 3, 4  # the kinds of pixels in a PNG file's header


def decode_map(encoded: tf.Tensor, file: tf.Tensor) -> tf.Tensor:
    """Return the numbers of an image file [h, w], int32: grey values, or the indices of a palette.

    Args:
        encoded: The file's bytes: PNG with grey values of 1 to 16 bits or a palette, or another file of grey values.
        file: The name of the picture, for the message.

    Raises:
        InvalidArgumentError: for a file of colours without a palette.
    """

    def grey() -> tf.Tensor:
        pixels = tf.io.decode_image(encoded, 3, expand_animations=False)
        rule = "The file of a label map must have grey values or a palette, but has other colours. Its picture:"
        is_grey = tf.reduce_all(pixels[..., :1] == pixels)
        with tf.control_dependencies([tf.debugging.Assert(is_grey, [rule, file])]):
            return tf.cast(pixels[..., 0], tf.int32)

    is_png = tf.strings.substr(encoded, 0, 4) == b"\x89PNG"
    return tf.cond(is_png, lambda: _decode_png(encoded, grey), grey)


def _decode_png(encoded, otherwise):
    bits, kind = tf.unstack(tf.cast(_bytes(encoded, 24, 2), tf.int32), num=2)
    is_grey = (kind == _GREY) | (kind == _GREY_WITH_ALPHA)

    def few_bits():  # decoding scales them to 255
        return tf.cast(tf.io.decode_png(encoded, 1), tf.int32) * (2**bits - 1) // 255

    def many_bits():
        return tf.cast(tf.io.decode_png(encoded, 1, tf.uint16), tf.int32)

    def indices():
        return _indices(encoded)

    branches = [(kind == _PALETTE, indices), (is_grey & (bits == 16), many_bits), (is_grey, few_bits)]
    return tf.case(branches, default=lambda: otherwise()[..., None])[..., 0]


def _indices(encoded):
    """The indices [h, w, 1] of pixels in the palette, whose colours decoding puts in their place."""
    before, after = tf.unstack(tf.strings.split(encoded, b"PLTE", 1)[:2], num=2)
    length = tf.reduce_sum(tf.cast(_bytes(before, -4, 4), tf.int32) * [2**24, 2**16, 2**8, 1])
    palette = tf.reshape(_bytes(after, 0, length), [-1, 3])
    pixels = tf.io.decode_png(encoded, 3)
    colours, places = tf.unique(_packed(tf.reshape(pixels, [-1, 3])))
    index = tf.argmax(colours[:, None] == _packed(palette), -1, tf.int32)
    return tf.reshape(tf.gather(index, places), tf.concat([tf.shape(pixels)[:2], [1]], 0))


def _packed(colours):
    return tf.reduce_sum(tf.cast(colours, tf.int32) * [2**16, 2**8, 1], -1)


def _bytes(encoded, begin, length):
    return tf.io.decode_raw(tf.strings.substr(encoded, begin, length), tf.uint8)
