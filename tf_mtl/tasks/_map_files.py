"""Label maps in image files."""

import zlib

import tensorflow as tf

_GREY, _PALETTE, _GREY_WITH_ALPHA = 0, 3, 4  # the kinds of pixels in a PNG file's header
_AFTER_HEADER = 33  # where the chunks after a PNG file's header begin
_CHUNK = 12  # the bytes of a chunk beside its content: length, type, checksum


def decode_map(encoded: tf.Tensor, file: tf.Tensor) -> tf.Tensor:
    """Return the numbers of an image file [h, w], int32: grey values, or the indices of a palette.

    Args:
        encoded: The file's bytes: PNG with grey values of 1 to 16 bits or a palette, or BMP or GIF of grey values.
        file: The name of the picture, for the message.

    Raises:
        InvalidArgumentError: for a file of colours without a palette, or JPEG, which changes values.
    """

    def grey() -> tf.Tensor:
        is_jpeg = tf.strings.substr(encoded, 0, 2) == b"\xff\xd8"
        rule = "A label map must not be a JPEG file, which changes its values: save it as PNG. Its picture:"
        with tf.control_dependencies([tf.debugging.Assert(~is_jpeg, [rule, file])]):
            return _equal_channels(tf.io.decode_image(encoded, 3, expand_animations=False), file)

    is_png = tf.strings.substr(encoded, 0, 4) == b"\x89PNG"
    return tf.cond(is_png, lambda: _decode_png(encoded, file), grey)


def _equal_channels(pixels, file):
    rule = "The file of a label map must have grey values or a palette, but has other colours. Its picture:"
    is_grey = tf.reduce_all(pixels[..., :1] == pixels)
    with tf.control_dependencies([tf.debugging.Assert(is_grey, [rule, file])]):
        return tf.cast(pixels[..., 0], tf.int32)


def _decode_png(encoded, file):
    bits, kind = tf.unstack(tf.cast(_bytes(encoded, 24, 2), tf.int32), num=2)
    is_grey = (kind == _GREY) | (kind == _GREY_WITH_ALPHA)

    def few_bits():  # decoding scales them to 255
        return tf.cast(tf.io.decode_png(encoded, 1), tf.int32)[..., 0] * (2**bits - 1) // 255

    def many_bits():
        return tf.cast(tf.io.decode_png(encoded, 1, tf.uint16), tf.int32)[..., 0]

    branches = [
        (kind == _PALETTE, lambda: tf.cast(tf.io.decode_png(_with_plain_palette(encoded, bits), 3), tf.int32)[..., 0]),
        (is_grey & (bits == 16), many_bits),
        (is_grey, few_bits),
        (bits == 16, lambda: _equal_channels(tf.io.decode_png(encoded, 3, tf.uint16), file)),
    ]
    return tf.case(branches, default=lambda: _equal_channels(tf.io.decode_png(encoded, 3), file))


def _with_plain_palette(encoded, bits):
    """A PNG file whose palette holds the colour (i, i, i) at index i, so that decoding gives the indices."""

    def length_at(position):
        return tf.reduce_sum(tf.cast(_bytes(encoded, position, 4), tf.int32) * [2**24, 2**16, 2**8, 1])

    position = tf.while_loop(
        lambda position: tf.strings.substr(encoded, position + 4, 4) != b"PLTE",
        lambda position: [position + length_at(position) + _CHUNK],
        [tf.constant(_AFTER_HEADER)],
        maximum_iterations=tf.strings.length(encoded) // _CHUNK,  # of a damaged file
    )[0]
    before = tf.strings.substr(encoded, 0, position)
    after = tf.strings.substr(encoded, position + length_at(position) + _CHUNK, tf.strings.length(encoded))
    palette = tf.gather([_plain_palette(number) for number in range(9)], bits)
    return before + palette + after


def _plain_palette(bits: int) -> bytes:
    content = b"PLTE" + bytes(value for index in range(2**bits) for value in [index] * 3)
    return (len(content) - 4).to_bytes(4) + content + zlib.crc32(content).to_bytes(4)


def _bytes(encoded, begin, length):
    return tf.io.decode_raw(tf.strings.substr(encoded, begin, length), tf.uint8)
