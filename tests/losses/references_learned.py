"""Losses that own layers, in float64 NumPy; convolutions by loops over positions."""

import numpy as np

from tests.losses.references import log_softmax, pool, softmax

EPSILON = 1e-3  # of Keras's batch normalisation


def huber(gap):
    gap = np.abs(gap)
    return np.where(gap < 1, 0.5 * gap**2, gap - 0.5)


def normalized(x, weights):
    gamma, beta, mean, variance = weights
    return gamma * (x - mean) / np.sqrt(variance + EPSILON) + beta


def patches(x, stride):
    """Yield each place of the output of a 3×3 convolution, and what it sees."""
    sizes = [-(-n // stride) for n in x.shape[1:3]]
    pads = [(0, 0)]
    for n, out in zip(x.shape[1:3], sizes, strict=True):
        pad = max((out - 1) * stride + 3 - n, 0)
        pads.append((pad // 2, pad - pad // 2))
    padded = np.pad(x, [*pads, (0, 0)])
    for i, j in np.ndindex(*sizes):
        top, left = i * stride, j * stride
        yield (i, j), sizes, padded[:, top : top + 3, left : left + 3]


def convolved(x, kernel, bias=0.0):
    out = None
    for (i, j), sizes, patch in patches(x, 1):
        if out is None:
            out = np.zeros((len(x), *sizes, kernel.shape[-1]))
        out[:, i, j] = np.einsum("bxyc,xycd->bd", patch, kernel)
    return out + bias


def separable(x, depthwise, pointwise, stride):
    out = None
    for (i, j), sizes, patch in patches(x, stride):
        if out is None:
            out = np.zeros((len(x), *sizes, x.shape[-1]))
        out[:, i, j] = np.einsum("bxyc,xyc->bc", patch, depthwise[..., 0])
    return out @ pointwise[0, 0]


def variational(t, s, weights):
    *projector, (a,) = weights
    if projector:
        kernel, bias = projector[0]
        s = s @ kernel + bias
    variance = np.log1p(np.exp(a)) + 1e-5
    return 0.5 * ((s - t) ** 2 / variance + np.log(variance)).mean(-1)


def simple_recipe(t, s, weights, power=4.0):
    if weights:
        kernel, bias = weights[0]
        s = s @ kernel + bias
    z = []
    for x in (s, t):
        x = x.reshape(-1, x.shape[-1])
        spread = x.std(0, ddof=1) if len(x) > 1 else np.ones(x.shape[-1])
        z.append((x - x.mean(0)) / spread)
    total = (np.abs(z[0] - z[1]) ** power).sum()
    return np.full(len(t), np.log(total + 1e-6))


def orthogonal(t, s, weights):
    ((a,),) = weights
    skew, one = a - a.T, np.eye(len(a))
    matrix = np.linalg.inv(one + skew) @ (one - skew)
    made = s @ matrix[: s.shape[-1], : t.shape[-1]]
    spread = np.sqrt(t.var(-1, keepdims=True) + 1e-5)
    return huber(made - (t - t.mean(-1, keepdims=True)) / spread).mean(-1)


def masked_generation(t, s, weights):
    *projector, (first, first_bias, second, second_bias) = weights
    if projector:
        kernel, bias = projector[0]
        s = s @ kernel + bias
    made = convolved(np.maximum(convolved(s, first, first_bias), 0), second)
    return ((made + second_bias - t) ** 2).sum((1, 2, 3))


def overhaul(t, s, weights):
    levels, value = len(t), 0.0
    for level in range(levels):
        (kernel,), norm = weights[2 * level : 2 * level + 2]
        total, count = weights[2 * levels + level]
        made = normalized(s[level] @ kernel, norm)
        wanted = np.maximum(t[level], total / count)
        gap = (made - wanted) ** 2
        gap[(made <= wanted) & (wanted <= 0)] = 0
        value = value + gap.sum((1, 2, 3)) / 2 ** (levels - 1 - level)
    return value


def review(t, s, weights):
    above, total = None, 0.0
    for level in reversed(range(len(t))):
        entry, *w = weights[level]
        x = normalized(s[level] @ entry, w[:4])
        w = w[4:]
        if above is not None:
            (gates, bias), w = w[:2], w[2:]
            rows, columns = (
                np.arange(n) * m // n
                for n, m in zip(x.shape[1:3], above.shape[1:3], strict=True)
            )
            above = above[:, rows][:, :, columns]
            gate = np.concatenate([x, above], -1) @ gates + bias
            gate = 1 / (1 + np.exp(-gate))
            x = gate[..., :1] * x + gate[..., 1:] * above
        above = x
        gap = normalized(convolved(x, w[0]), w[1:]) - t[level]
        value, weight, sum_of_weights = (gap**2).mean((1, 2, 3)), 1.0, 1.0
        for size in (4, 2, 1):
            if size < gap.shape[1]:
                weight /= 2
                pooled = pool(gap, (size, size))
                value = value + weight * (pooled**2).mean((1, 2, 3))
                sum_of_weights += weight
        total = total + value / sum_of_weights
    return total


def one_for_all(t, s, y, weights, epsilon=1.0, temperature=1.0):
    answers, count = [s["output"]], len(weights)
    for place, (x, w) in enumerate(zip(s["stages"], weights, strict=True)):
        for _ in range(count - 1 - place):
            (depthwise, pointwise), w = w[:2], w[2:]
            x = np.maximum(normalized(separable(x, depthwise, pointwise, 2), w[:4]), 0)
            w = w[4:]
        x = x.reshape(len(x), -1, x.shape[-1]).mean(1)
        answers.append(x @ w[0] + w[1])
    one = np.eye(t.shape[-1])[y]
    share = (softmax(t / temperature) + one) ** epsilon - one
    return sum(-(share * log_softmax(a / temperature)).sum(-1) for a in answers)


def contrastive(t, s, weights, others, temperature):
    """Return both directions of the loss, `others` being the numbers drawn."""
    maps, (t_bank, s_bank, t_z, s_z) = weights[:2], weights[2]
    unit = []
    for x, (kernel, bias) in zip((t, s), maps, strict=True):
        v = x.reshape(len(x), -1) @ kernel + bias
        unit.append(v / np.linalg.norm(v, axis=-1, keepdims=True))
    total, noise = 0.0, len(others) / len(t_bank)
    for v, bank, z in zip(unit, (s_bank, t_bank), (t_z, s_z), strict=True):
        for i in range(len(v)):
            hit = np.exp(v[i] @ bank[i] / temperature) / z
            missed = np.exp(bank[others] @ v[i] / temperature) / z
            value = -np.log(hit / (hit + noise))
            value -= np.log(noise / (missed + noise)).sum()
            total = total + value * np.eye(len(v))[i]
    return total
