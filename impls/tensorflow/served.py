"""What exported.py beside this file saved -> a function from images to logits. Imports nothing until it is asked."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

os.environ["KERAS_BACKEND"] = "tensorflow"  # read at the import of keras; a user may have set another
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read at the import: hints on CPU instructions are no news

Images = NDArray[np.float32]  # (n, pixels), on the host
Logits = NDArray[np.float32]  # (n, classes), on the host

# What serving imports, and nothing else: see bench.studies.exported.
IMPORTS: dict[str, tuple[str, ...]] = {
    "tensorflow-function": ("tensorflow", "keras"),
    "tensorflow-savedmodel": ("tensorflow",),
    "tensorflow-tflite": ("ai_edge_litert.interpreter",),
}


def load(name: str, folder: Path, threads: int) -> Callable[[Images], Logits]:
    """What was saved for `name`, ready to answer, in a process with so many threads."""
    if name == "tensorflow-tflite":
        return _litert(folder / "network.tflite", threads)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    match name:
        case "tensorflow-function":
            import keras

            network = tf.function(keras.models.load_model(folder / "network.keras"))
        case "tensorflow-savedmodel":
            signature = tf.saved_model.load(str(folder)).signatures["serving_default"]

            def network(images: tf.Tensor) -> tf.Tensor:
                return signature(images=images)["output_0"]

    def answer(images: Images) -> Logits:
        return network(tf.constant(images)).numpy()

    return answer


def _litert(path: Path, threads: int) -> Callable[[Images], Logits]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=threads)
    signature = interpreter.get_signature_runner()
    (given,), (returned,) = signature.get_input_details(), signature.get_output_details()

    def answer(images: Images) -> Logits:
        return signature(**{given: images})[returned]

    return answer
