"""A trained tensorflow-eager -> the files that serve it, in TensorFlow's formats. served.py beside it reads them."""

from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import tensorflow as tf

from bench.contract import Refusal
from impls.tensorflow import mlp
from impls.tensorflow.mlp import Trainer, build, configure

__all__ = ["SERVED", "build", "configure", "save", "versions"]

SERVED = "impls.tensorflow.served"


def versions() -> Mapping[str, str]:
    """The framework, and what exports and serves beside it."""
    others = ("ai_edge_litert",)
    return {**mlp.versions(), **{name: version(name) for name in others if find_spec(name)}}


def save(name: str, trainer: Trainer, folder: Path) -> None:
    """Write what serving `name` needs into the empty folder; all formats take any number of images at once."""
    network = trainer.network
    images = tf.TensorSpec((None, trainer.images.shape[1]), trainer.images.dtype, name="images")
    match name:
        case "tensorflow-function":
            network.save(folder / "network.keras")
        case "tensorflow-savedmodel":
            # Not network.export(), which writes each weight twice (Keras 3.15: as `variables` and `_all_variables`).
            tf.saved_model.save(network, str(folder), signatures=tf.function(network, input_signature=[images]))
        case "tensorflow-tflite":
            # Not from such a function or its SavedModel: their variables are converted without values (NaN answers).
            converter = tf.lite.TFLiteConverter.from_keras_model(network)
            (folder / "network.tflite").write_bytes(converter.convert())
        case _:
            raise Refusal(f"{name} is no format of TensorFlow's; see impls/tensorflow/exported.py")
