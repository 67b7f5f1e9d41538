"""Relations within a batch in float64 NumPy, by loops over pairs and triplets."""

import math

import numpy as np


def flat(x):
    return x.reshape(len(x), -1)


def similarity(t, s):
    grams = []
    for f in (flat(t), flat(s)):
        g = np.array([[a @ b for b in f] for a in f])
        grams.append(g / np.linalg.norm(g, axis=1, keepdims=True))
    return ((grams[0] - grams[1]) ** 2).sum(1) / len(t)


def huber(a, b):
    gap = abs(a - b)
    return 0.5 * gap**2 if gap < 1 else gap - 0.5


def relational(t, s, distance_weight=25.0, angle_weight=50.0):
    count = len(t)
    scaled, cosines = [], []
    for f in (flat(t), flat(s)):
        d = np.array([[np.linalg.norm(a - b) for b in f] for a in f])
        scaled.append(d / d[d > 0].mean() if (d > 0).any() else d)
        c = np.zeros((count,) * 3)
        for i, j, k in np.ndindex(count, count, count):
            if i not in (j, k):
                a, b = f[j] - f[i], f[k] - f[i]
                c[i, j, k] = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        cosines.append(c)
    values = np.zeros(count)
    for i, j in np.ndindex(count, count):
        values[i] += distance_weight * huber(scaled[0][i, j], scaled[1][i, j]) / count
        for k in range(count):
            angle = huber(cosines[0][i, j, k], cosines[1][i, j, k])
            values[i] += angle_weight * angle / count**2
    return values


def cosine_matrix(f):
    unit = f / np.linalg.norm(f, axis=1, keepdims=True)
    return unit @ unit.T


def probabilistic(t, s, epsilon=1e-7):
    p, q = [(1 + cosine_matrix(flat(x))) / 2 for x in (t, s)]
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    return (p * np.log((p + epsilon) / (q + epsilon))).mean(1)


def congruence(t, s, gamma=0.4):
    kernels = []
    for x in (t, s):
        c = cosine_matrix(flat(x))
        kernels.append(
            math.exp(-2 * gamma) * (1 + 2 * gamma * c + (2 * gamma * c) ** 2 / 2)
        )
    return ((kernels[0] - kernels[1]) ** 2).mean(1)


def channel_wise(t, s, temperature=4.0):
    values = np.zeros(len(t))
    for example in range(len(t)):
        for c in range(t.shape[-1]):
            logs = []
            for f in (t, s):
                x = f[example, ..., c].ravel() / temperature
                logs.append(x - x.max() - np.log(np.exp(x - x.max()).sum()))
            gap = np.exp(logs[0]) * (logs[0] - logs[1])
            values[example] += temperature**2 * gap.sum() / t.shape[-1]
    return values


def neuron_selectivity(t, s):
    values = np.zeros(len(t))
    for example in range(len(t)):
        maps = []
        for f in (t, s):
            x = f[example].reshape(-1, f.shape[-1]).T
            maps.append([c / np.linalg.norm(c) for c in x])
        kernels = [
            np.mean([(a @ b) ** 2 for a in first for b in second])
            for first, second in ((maps[0], maps[0]), (maps[1], maps[1]), maps)
        ]
        values[example] = kernels[0] + kernels[1] - 2 * kernels[2]
    return values


def standardized(x):
    axes = tuple(range(x.ndim - 1))
    return (x - x.mean(axes)) / x.std(axes, ddof=1)


def pearson(t, s):
    return ((standardized(t) - standardized(s)) ** 2).mean(-1) / 2


def information(t, s, alpha=1.01):
    count, width = t.shape
    total = sum(
        abs(1 - np.corrcoef(t[:, d], s[:, d])[0, 1]) ** (2 * alpha)
        for d in range(width)
    )
    grams = [cosine_matrix(x) for x in (t, s)]
    student, joint = grams[1] / np.trace(grams[1]), grams[0] * grams[1]
    joint = joint / np.trace(joint)
    mutual = np.log2((student**2).sum()) - np.log2((joint**2).sum())
    return np.full(count, 2 * np.log2(total + 1e-6) + mutual)
