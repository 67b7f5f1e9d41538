"""Every loss once more, in float64 NumPy, written from the papers' formulas.

Nothing here uses the library: an error in one of the two shows as a difference.
"""

import numpy as np


def softmax(x):
    x = np.asarray(x, "float64")
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def log_softmax(x):
    x = np.asarray(x, "float64")
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def kl(t, s, temperature=1.0):
    lp, lq = log_softmax(t / temperature), log_softmax(s / temperature)
    return temperature**2 * (np.exp(lp) * (lp - lq)).sum(-1)


def reverse_kl(t, s, temperature=1.0):
    return kl(s, t, temperature)


def _kl_of(p, q):
    return np.where(p > 0, p * (np.log(p) - np.log(q)), 0.0).sum(-1)


def jsd(t, s, temperature=1.0, beta=0.5):
    p, q = softmax(t / temperature), softmax(s / temperature)
    m = beta * p + (1 - beta) * q
    return temperature**2 * (beta * _kl_of(p, m) + (1 - beta) * _kl_of(q, m))


def skew(t, s, temperature=1.0, alpha=0.1):
    p, q = softmax(t / temperature), softmax(s / temperature)
    return temperature**2 * _kl_of(p, alpha * p + (1 - alpha) * q)


def skew_reverse(t, s, temperature=1.0, alpha=0.1):
    p, q = softmax(t / temperature), softmax(s / temperature)
    return temperature**2 * _kl_of(q, (1 - alpha) * p + alpha * q)


def total_variation(t, s, temperature=1.0):
    return 0.5 * np.abs(softmax(t / temperature) - softmax(s / temperature)).sum(-1)


def crossentropy(t, s, temperature=1.0):
    p = softmax(t / temperature)
    return -(temperature**2) * (p * log_softmax(s / temperature)).sum(-1)


def binary_kl(t, s, temperature=1.0):
    p, q = 1 / (1 + np.exp(-t / temperature)), 1 / (1 + np.exp(-s / temperature))
    each = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    return temperature**2 * each.sum(-1)


def mse_of_tempered(t, s, temperature=1.0):
    return ((t / temperature - s / temperature) ** 2).mean(-1)


def standardize(x):
    return (x - x.mean(-1, keepdims=True)) / (x.std(-1, ddof=1, keepdims=True) + 1e-7)


def hard_label(t, s):
    picked = np.take_along_axis(log_softmax(s), t.argmax(-1)[..., None], -1)
    return -picked[..., 0]


def mse(t, s):
    return ((t - s) ** 2).mean(-1)


def cosine(t, s):
    norm = np.linalg.norm(t, axis=-1) * np.linalg.norm(s, axis=-1)
    return -(t * s).sum(-1) / norm


def pool(x, size):
    """Average pooling by a plain loop over the output pixels."""
    b, h, w, c = x.shape
    out = np.zeros((b, *size, c))
    for i in range(size[0]):
        for j in range(size[1]):
            rows = slice(i * h // size[0], -(-(i + 1) * h // size[0]))
            columns = slice(j * w // size[1], -(-(j + 1) * w // size[1]))
            out[:, i, j] = x[:, rows, columns].mean((1, 2))
    return out


def smaller(t, s):
    size = (min(t.shape[1], s.shape[1]), min(t.shape[2], s.shape[2]))
    return pool(t, size), pool(s, size)


def resized_mse(t, s):
    return mse(*smaller(t, s))


def attention_transfer(t, s):
    maps = []
    for f in smaller(t, s):
        a = (f**2).mean(-1).reshape(len(f), -1)
        maps.append(a / np.linalg.norm(a, axis=1, keepdims=True))
    return ((maps[0] - maps[1]) ** 2).mean(1)


def attention_kl(t, s, averaged=False, epsilon=1e-8):
    if averaged:
        t, s = t.mean(1, keepdims=True), s.mean(1, keepdims=True)
    each = (t * (np.log(t + epsilon) - np.log(s + epsilon))).sum(-1)
    return each.mean(1)


def attention_mse(t, s):
    return ((t - s) ** 2).mean(-1).mean(1)
