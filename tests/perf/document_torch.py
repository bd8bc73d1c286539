"""The task `mlp` as the classic tutorial of PyTorch writes it, DataLoader and all: prints samples/s of each epoch.

    python -m tests.perf.document_torch EPOCHS

One line an epoch, as plain_torch prints it: samples/s, mean loss, accuracy. The tutorial's own initial values and
shuffling, so the accuracy is near that of the suite, not the same. It shows that torch-eager is no slower than what a
reader of the tutorial would run.
"""

import sys
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from bench.inputs import load_data
from bench.task import load_task


def main(epochs: int) -> None:
    """Train and print."""
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    torch.manual_seed(0)
    task = load_task("mlp")
    data = load_data(task)
    train = TensorDataset(torch.tensor(data.train.images), torch.tensor(data.train.labels))
    test_images, test_labels = torch.tensor(data.test.images), torch.tensor(data.test.labels)
    loader = DataLoader(train, batch_size=task.batch_size, shuffle=True)

    pixels, first, second, classes = task.layers
    model = nn.Sequential(
        nn.Linear(pixels, first),
        nn.ReLU(),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.Linear(second, classes),
    )
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=task.optimizer.learning_rate, momentum=task.optimizer.momentum)

    for _ in range(epochs):
        total = 0.0
        started = time.perf_counter()
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item()
        seconds = time.perf_counter() - started
        model.eval()
        with torch.no_grad():
            accuracy = (model(test_images).argmax(dim=1) == test_labels).double().mean().item()
        print(len(train) / seconds, total / len(loader), accuracy, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
