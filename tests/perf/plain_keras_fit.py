"""The task `mlp` as a plain Keras script with no harness: prints samples/s of each epoch, one line each."""

import os
import sys
import time

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf

from bench.inputs import initial_params, load_data
from bench.task import load_task

task = load_task("mlp")
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
data = load_data(task)
rows = task.steps_per_epoch * task.batch_size  # whole batches, as the suite has it: a remainder would retrace
images, labels = data.train.images[:rows], data.train.labels[:rows]
params = initial_params(task, 0)
hidden = [keras.layers.Dense(weight.shape[1], activation="relu") for weight, _ in params[:-1]]
network = keras.Sequential([keras.Input((784,)), *hidden, keras.layers.Dense(10)])
network.set_weights([array for layer in params for array in layer])
o = task.optimizer
network.compile(
    optimizer=keras.optimizers.SGD(learning_rate=o.learning_rate, momentum=o.momentum),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    jit_compile=False,
)

for _ in range(int(sys.argv[1])):
    started = time.perf_counter()
    history = network.fit(images, labels, batch_size=task.batch_size, epochs=1, shuffle=True, verbose=0)
    seconds = time.perf_counter() - started
    logits = network(tf.constant(data.test.images)).numpy()
    accuracy = float(np.mean(logits.argmax(axis=1) == data.test.labels))
    print(rows / seconds, history.history["loss"][0], accuracy, flush=True)
