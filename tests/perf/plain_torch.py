"""The task `mlp` as a plain PyTorch script with no harness: prints samples/s of each epoch, one line each."""

import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from bench.inputs import epoch_batches, initial_params, load_data
from bench.task import load_task

task = load_task("mlp")
torch.set_num_threads(1)
torch.set_num_interop_threads(1)
data = load_data(task)
images, labels = torch.tensor(data.train.images), torch.tensor(data.train.labels)
test_images, test_labels = data.test.images, data.test.labels
layers: list[nn.Module] = []
for weight, bias in initial_params(task, 0):
    linear = nn.Linear(*weight.shape)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(weight.T))
        linear.bias.copy_(torch.tensor(bias))
    layers += [linear, nn.ReLU()]
network = nn.Sequential(*layers[:-1])
del data
o = task.optimizer
optimizer = torch.optim.SGD(network.parameters(), lr=o.learning_rate, momentum=o.momentum)

for epoch in range(int(sys.argv[1])):
    batches = epoch_batches(task, 0, epoch)
    losses = []
    started = time.perf_counter()
    for rows in torch.tensor(batches):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images.index_select(0, rows)), labels.index_select(0, rows))
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    mean = torch.stack(losses).mean().item()
    seconds = time.perf_counter() - started
    with torch.no_grad():
        logits = network(torch.tensor(test_images)).numpy()
    accuracy = float(np.mean(logits.argmax(axis=1) == test_labels))
    print(batches.size / seconds, mean, accuracy, flush=True)
