"""The transformer methods in float64 NumPy, by plain loops."""

import numpy as np

from tests.losses.references import cosine, kl, log_softmax


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


def hidden_states(t, s, weights):
    total = 0.0
    for teacher, student, (kernel, bias) in zip(t, s, weights, strict=True):
        total = total + ((student @ kernel + bias - teacher) ** 2).mean(-1)
    return total


def tinybert(t, s, weights):
    attention = ((t["attention"][0] - s["attention"][0]) ** 2).mean((1, 3))
    states = hidden_states(t["states"], s["states"], weights[:1])
    return (
        attention
        + states
        + hidden_states(t["embeddings"], s["embeddings"], weights[1:])
    )


def distilbert(t, s, temperature, logits_weight, cosine_weight):
    divergence = kl(t["logits"], s["logits"], temperature)
    distance = 1 + cosine(t["hidden"], s["hidden"])
    return logits_weight * divergence + cosine_weight * distance
