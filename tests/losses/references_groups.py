"""Several teachers, peers and a student by itself, in float64 NumPy.

`fixed` holds the student's signals where they are targets: its gradient is that of the
function with these held constant.
"""

import numpy as np

from tests.losses.references import kl, log_softmax, softmax
from tests.losses.references_learned import normalized, separable


def crossentropy(logits, y):
    return -np.take_along_axis(log_softmax(logits), y[..., None], -1)[..., 0]


def class_subset(t, s, classes, temperature):
    return kl(t, np.stack([s[..., c] for c in classes], -1), temperature)


def mean_teacher(t, s, temperature):
    return np.mean([kl(one, s, temperature) for one in t], axis=0)


def worst_teacher(t, s, temperature):
    return np.max([kl(one, s, temperature) for one in t], axis=0)


def confidence_features(t, s, y, weights, fixed):
    """The weights of the teachers come from their classifiers on the fixed features."""
    count = len(t)
    maps, classifiers = weights[:count], weights[count:]
    distances, losses = [], []
    for k in range(count):
        (kernel, bias), (head, shift) = maps[k], classifiers[k]
        distances.append(((t[k] - (s @ kernel + bias)) ** 2).mean(-1))
        losses.append(crossentropy((fixed @ kernel + bias) @ head + shift, y))
    odds = np.exp(np.array(losses) - np.max(losses, axis=0))
    shares = (1 - odds / odds.sum(0)) / (count - 1)
    return (shares * np.array(distances)).sum(0)


def mutual(s, fixed, temperature, teachers=None):
    everyone = range(len(s))
    sources = everyone if teachers is None else teachers
    total = 0.0
    for k in everyone:
        if teachers is None or k not in teachers:
            others = [j for j in sources if j != k]
            total = total + sum(kl(fixed[j], s[k], temperature) for j in others) / len(
                others
            )
    return total


def collaborative(s, y, fixed, combine, temperature):
    rows = []
    for i in range(len(fixed[0])):
        peers = np.array([z[i] for z in fixed])
        if combine == "mean":
            rows.append(peers.mean(0))
        elif combine == "best":
            best = np.argmin([crossentropy(z, y[i]) for z in peers])
            rows.append(peers[best])
        else:
            rows.append(np.min([z - z[y[i]] for z in peers], axis=0))
    return sum(kl(np.array(rows), z, temperature) for z in s)


def gated(s, y, weights, fixed, temperature):
    ((kernel, *norm),) = weights

    def ensemble(signals):
        x = signals["features"]
        x = x.reshape(len(x), -1, x.shape[-1]).mean(1)
        gates = softmax(np.maximum(normalized(x @ kernel, norm), 0))
        return sum(gates[:, k, None] * z for k, z in enumerate(signals["outputs"]))

    target = ensemble(fixed)
    taught = sum(kl(target, z, temperature) for z in s["outputs"])
    return taught + crossentropy(ensemble(s), y)


def exits(s, y, weights, fixed, temperature, alpha, feature_weight):
    deepest = fixed["stages"][-1]
    deepest = deepest.reshape(len(deepest), -1, deepest.shape[-1]).mean(1)
    shallow, total = s["stages"][:-1], 0.0
    for index, (x, w) in enumerate(zip(shallow, weights, strict=True)):
        for _ in range(len(shallow) - index):
            (depthwise, pointwise), w = w[:2], w[2:]
            x = np.maximum(normalized(separable(x, depthwise, pointwise, 2), w[:4]), 0)
            w = w[4:]
        x = x.reshape(len(x), -1, x.shape[-1]).mean(1)
        feature = x @ w[0] + w[1]
        logits = feature @ w[2] + w[3]
        # The method has no factor T².
        divergence = kl(fixed["output"], logits, temperature) / temperature**2
        total = total + (1 - alpha) * crossentropy(logits, y) + alpha * divergence
        total = total + feature_weight * ((feature - deepest) ** 2).sum(-1)
    return total


def pairs(s, keys, fixed, temperature):
    """Each learns from the next of the batch with its key, and then from the first."""
    count, values = len(s), np.zeros(s.shape[:-1])
    for i in range(count):
        for j in [(i + k) % count for k in range(1, count)]:
            if keys[i] == keys[j]:
                values[i] = kl(fixed[j], s[i], temperature)
                break
    return values


def last_batch(s, kept, temperature):
    values = np.zeros(s.shape[:-1])
    for number, old in kept.items():
        if number < len(s):
            values[number] = kl(old, s[number], temperature)
    return values


def data_free(s, fixed, one_hot, activation, information, temperature):
    p = softmax(s["teacher"]).mean(0)
    value = kl(fixed["teacher"], s["student"], temperature)
    surest = fixed["teacher"].argmax(-1)
    value = value + one_hot * crossentropy(s["teacher"], surest)
    value = value - activation * np.abs(s["features"]).mean(-1)
    return value + information * (p * np.log(p)).sum()
