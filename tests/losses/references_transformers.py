"""The transformer methods in float64 NumPy, by plain loops."""

import numpy as np

from tests.losses.references import log_softmax


def relation_kl(t, s, heads):
    """One relation (of the queries, say), a loop over examples and heads."""
    values = np.zeros(len(t))
    for example in range(len(t)):
        for head in range(heads):
            logs = []
            for vectors in (t[example], s[example]):
                flat = vectors.reshape(len(vectors), -1)
                size = flat.shape[1] // heads
                part = flat[:, head * size : (head + 1) * size]
                logs.append(log_softmax(part @ part.T / np.sqrt(size)))
            p = np.exp(logs[0])
            values[example] += (p * (logs[0] - logs[1])).sum(1).mean() / heads
    return values


def minilm(t, s, heads):
    return np.mean([relation_kl(*pair, heads) for pair in zip(t, s, strict=True)], 0)


def margin_mse(t, s):
    values = np.zeros(len(t))
    for example in range(len(t)):
        gaps = [
            ((s[example, 0] - s[example, n]) - (t[example, 0] - t[example, n])) ** 2
            for n in range(1, t.shape[1])
        ]
        values[example] = np.mean(gaps)
    return values
