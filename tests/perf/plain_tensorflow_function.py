"""The task `mlp` as a plain TensorFlow script with no harness: prints samples/s of each epoch, one line each."""

import sys
import time

import keras
import numpy as np
import tensorflow as tf

from bench.inputs import epoch_batches, initial_params, load_data
from bench.task import load_task

task = load_task("mlp")
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
data = load_data(task)
images, labels = tf.constant(data.train.images), tf.constant(data.train.labels)
test_images, test_labels = data.test.images, data.test.labels
params = initial_params(task, 0)
hidden = [keras.layers.Dense(weight.shape[1], activation="relu") for weight, _ in params[:-1]]
network = keras.Sequential([keras.Input((784,)), *hidden, keras.layers.Dense(10)])
network.set_weights([array for layer in params for array in layer])
del data
o = task.optimizer
optimizer = keras.optimizers.SGD(learning_rate=o.learning_rate, momentum=o.momentum)
optimizer.build(network.trainable_variables)


@tf.function
def step(rows: tf.Tensor) -> tf.Tensor:
    x, y = tf.gather(images, rows), tf.gather(labels, rows)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, network(x, training=True)))
    optimizer.apply(tape.gradient(loss, network.trainable_variables))
    return loss


for epoch in range(int(sys.argv[1])):
    batches = epoch_batches(task, 0, epoch)
    started = time.perf_counter()
    losses = [step(rows) for rows in tf.unstack(tf.constant(batches))]
    mean = float(tf.reduce_mean(tf.stack(losses)))
    seconds = time.perf_counter() - started
    accuracy = float(np.mean(network(tf.constant(test_images)).numpy().argmax(axis=1) == test_labels))
    print(batches.size / seconds, mean, accuracy, flush=True)
