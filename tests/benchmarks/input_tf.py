"""The peer of `input_pipeline.py` in tf.data: JPEGs decoded, cropped at random, flipped and RandAugmented by plain ops.

RandAugment has the operations, strengths and signs of this package's: those of one channel's values are tables of 256,
gathered; blends are computed in float32; what moves pixels is `ImageProjectiveTransformV3`, as in TensorFlow's own
models, nearest or bilinear. Its sharpness leaves the border alone, too.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow as tf

GREY = 128


def batches(folder: str, batch: int, threads: int, antialias: bool, method: str) -> Iterator[tuple]:
    """Endless batches of uint8 [B, 224, 224, 3] and labels."""
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    files = sorted(map(str, Path(folder).glob("*/*.jpg")))
    names = sorted({Path(file).parent.name for file in files})
    labels = [names.index(Path(file).parent.name) for file in files]

    def example(file: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.io.decode_jpeg(tf.io.read_file(file), 3)
        image = tf.image.resize(part(image), (224, 224), antialias=antialias)
        image = tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
        return augmented(tf.image.random_flip_left_right(image), 2, 0.9, method), label

    found = tf.data.Dataset.from_tensor_slices((files, labels)).shuffle(len(files)).repeat()
    found = found.map(example, num_parallel_calls=threads).batch(batch, drop_remainder=True)
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    return iter(found.prefetch(tf.data.AUTOTUNE).with_options(options))


def part(image: tf.Tensor) -> tf.Tensor:
    """A part of random area and aspect, as `random_resized_crop` takes."""
    begin, size, _ = tf.image.sample_distorted_bounding_box(
        tf.shape(image),
        tf.zeros([1, 0, 4]),
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        use_image_if_no_bounding_boxes=True,
    )
    return tf.ensure_shape(tf.slice(image, begin, size), (None, None, 3))


def augmented(image: tf.Tensor, n: int, strength: float, method: str) -> tf.Tensor:
    for _ in range(n):
        sign = tf.where(tf.random.uniform(()) < 0.5, 1.0, -1.0)
        which = tf.random.uniform((), maxval=14, dtype=tf.int32)
        image = tf.switch_case(which, [lambda op=op: op(image, sign) for op in operations(strength, method)])  # noqa: B023
        image.set_shape((224, 224, 3))
    return image


def operations(strength: float, method: str) -> list[Callable]:
    values = tf.range(256)
    share, side = 1 + 0.9 * strength, 224

    def factor(sign: tf.Tensor) -> tf.Tensor:
        return 1 + (share - 1) * sign

    def moved(numbers: Callable) -> Callable:
        return lambda image, sign: projected(image, numbers(sign), method)

    return [
        lambda image, sign: image,
        lambda image, sign: per_channel(image, autocontrast),
        lambda image, sign: per_channel(image, equalize),
        moved(lambda sign: rotation(math.radians(30 * strength) * sign, side)),
        lambda image, sign: looked_up(image, tf.where(values < round(256 * (1 - strength)), values, 255 - values)),
        lambda image, sign: blend(grey(image), image, factor(sign)),
        lambda image, sign: looked_up(image, tf.bitwise.bitwise_and(values, 256 - 2 ** round(4 * strength))),
        lambda image, sign: looked_up(image, blend(tf.floor(tf.reduce_mean(grey(image)) + 0.5), values, factor(sign))),
        lambda image, sign: looked_up(image, blend(0.0, values, factor(sign))),
        lambda image, sign: blend(smooth(image), image, factor(sign)),
        moved(lambda sign: [1, 0.3 * strength * sign, 0, 0, 1, 0, 0, 0]),
        moved(lambda sign: [1, 0, 0, 0.3 * strength * sign, 1, 0, 0, 0]),
        moved(lambda sign: [1, 0, 0.45 * strength * side * sign, 0, 1, 0, 0, 0]),
        moved(lambda sign: [1, 0, 0, 0, 1, 0.45 * strength * side * sign, 0, 0]),
    ]


def looked_up(image: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    return tf.gather(tf.cast(table, tf.uint8), tf.cast(image, tf.int32))


def per_channel(image: tf.Tensor, table: Callable) -> tf.Tensor:
    channels = tf.unstack(image, axis=-1)
    return tf.stack([looked_up(channel, table(channel)) for channel in channels], axis=-1)


def autocontrast(channel: tf.Tensor) -> tf.Tensor:
    low, high = (tf.cast(f(channel), tf.float32) for f in (tf.reduce_min, tf.reduce_max))
    scaled = (tf.range(256, dtype=tf.float32) - low) * 255 / tf.maximum(high - low, 1)
    return tf.where(high > low, tf.clip_by_value(scaled, 0, 255), tf.range(256, dtype=tf.float32))


def equalize(channel: tf.Tensor) -> tf.Tensor:
    counts = tf.math.bincount(tf.reshape(tf.cast(channel, tf.int32), [-1]), minlength=256, maxlength=256)
    step = (tf.size(channel) - tf.boolean_mask(counts, counts > 0)[-1]) // 255
    table = (tf.cumsum(counts, exclusive=True) + step // 2) // tf.maximum(step, 1)
    return tf.where(step > 0, tf.minimum(table, 255), tf.range(256))


def grey(image: tf.Tensor) -> tf.Tensor:
    return tf.round(tf.tensordot(tf.cast(image, tf.float32), [[0.299], [0.587], [0.114]], 1))


def smooth(image: tf.Tensor) -> tf.Tensor:
    kernel = tf.constant([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    kernel = tf.tile(kernel[:, :, None, None], (1, 1, 3, 1))
    inner = tf.nn.depthwise_conv2d(tf.cast(image, tf.float32)[None], kernel, (1, 1, 1, 1), "VALID")[0]
    inside = tf.pad(tf.ones_like(inner, tf.bool), ((1, 1), (1, 1), (0, 0)))
    return tf.where(inside, tf.pad(tf.round(inner), ((1, 1), (1, 1), (0, 0))), tf.cast(image, tf.float32))


def blend(anchor: tf.Tensor | float, image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    mixed = anchor + factor * (tf.cast(image, tf.float32) - anchor)
    return tf.cast(tf.clip_by_value(mixed, 0, 255), tf.uint8)


def rotation(angle: tf.Tensor, side: int) -> list:
    cos, sin, middle = tf.cos(angle), tf.sin(angle), (side - 1) / 2
    return [cos, -sin, middle * (1 - cos + sin), sin, cos, middle * (1 - sin - cos), 0, 0]


def projected(image: tf.Tensor, numbers: list, method: str) -> tf.Tensor:
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=tf.stack([tf.cast(number, tf.float32) for number in numbers])[None],
        output_shape=tf.shape(image)[:2],
        fill_value=float(GREY),
        interpolation=method,
        fill_mode="CONSTANT",
    )[0]
