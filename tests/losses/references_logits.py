"""The methods on logits in float64 NumPy, by plain loops over examples and classes."""

import numpy as np

from tests.losses.references import kl, log_softmax, reverse_kl, softmax


def rows(t, s, y):
    """Flatten tokens; return the shape to come back to, and one row at a time."""
    classes = t.shape[-1]
    flat = t.reshape(-1, classes), s.reshape(-1, classes), y.reshape(-1)
    return y.shape, list(zip(*flat, strict=True))


def kl_of(p, q):
    return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def symmetric(t, s, temperature, weight):
    forward, reverse = kl(t, s, temperature), reverse_kl(t, s, temperature)
    return weight * forward + (1 - weight) * reverse


def adaptive_weight(t, s, temperature, alpha):
    weights = []
    for p, q in zip(softmax(t / temperature), softmax(s / temperature), strict=True):
        mass, head, tail = 0.0, 0.0, 0.0
        for place, c in enumerate(sorted(range(len(p)), key=lambda c: -p[c])):
            mass += p[c]
            if place == 0 or mass <= alpha:
                head += abs(p[c] - q[c])
            else:
                tail += abs(p[c] - q[c])
        weights.append(head / (head + tail))
    return np.array(weights)


def decoupled(t, s, y, alpha, beta, temperature):
    shape, each = rows(t, s, y)
    values = []
    for t_row, s_row, label in each:
        p, q = softmax(t_row / temperature), softmax(s_row / temperature)
        target = kl_of((p[label], 1 - p[label]), (q[label], 1 - q[label]))
        others = kl_of(
            np.delete(p, label) / (1 - p[label]), np.delete(q, label) / (1 - q[label])
        )
        values.append(temperature**2 * (alpha * target + beta * others))
    return np.reshape(values, shape)


def normalized(t, s, y, gamma, temperature):
    shape, each = rows(t, s, y)
    values = []
    for t_row, s_row, label in each:
        value = -softmax(t_row)[label] * log_softmax(s_row)[label]
        p = softmax(np.delete(t_row, label) / temperature)
        log_q = log_softmax(np.delete(s_row, label) / temperature)
        values.append(value - gamma * temperature**2 * (p * log_q).sum())
    return np.reshape(values, shape)


def refined(t, s, y, alpha, beta, temperature, confidence_temperature):
    shape, each = rows(t, s, y)
    values = []
    for t_row, s_row, label in each:
        top = softmax(t_row / confidence_temperature).max()
        own = softmax(s_row / confidence_temperature)[label]
        value = (
            alpha * confidence_temperature**2 * kl_of((top, 1 - top), (own, 1 - own))
        )
        below = [c for c in range(len(t_row)) if t_row[c] < t_row[label]]
        if below:
            value += beta * kl(t_row[below], s_row[below], temperature)
        values.append(value)
    return np.reshape(values, shape)


def transformed_teacher(t, s, gamma, weighted=False):
    powers = softmax(t) ** gamma
    total = powers.sum(-1, keepdims=True)
    target = powers / total
    value = (target * (np.log(target) - log_softmax(s))).sum(-1)
    return total[..., 0] * value if weighted else value


def pearson(x, y):
    x, y = x - x.mean(), y - y.mean()
    return (x * y).sum() / (np.sqrt((x**2).sum() * (y**2).sum()) + 1e-8)


def correlation(t, s, beta, gamma, temperature):
    p, q = softmax(t / temperature), softmax(s / temperature)
    within = [1 - pearson(p[i], q[i]) for i in range(len(p))]
    across = [1 - pearson(p[:, c], q[:, c]) for c in range(p.shape[1])]
    across = np.mean(across) if len(p) > 1 else 0.0
    return temperature**2 * (beta * np.array(within) + gamma * across)


def multi_level(t, s, temperatures):
    values = np.zeros(len(t))
    for temperature in temperatures:
        p, q = softmax(t / temperature), softmax(s / temperature)
        values += kl(t, s, temperature)
        for i in range(len(p)):
            for j in range(len(p)):
                values[i] += (p[i] @ p[j] - q[i] @ q[j]) ** 2
        classes = p.shape[1]
        for c in range(classes):
            for d in range(classes):
                gap = p[:, c] @ p[:, d] - q[:, c] @ q[:, d]
                values += gap**2 / classes
    return values


def virtual_teacher(s, y, correct, temperature):
    shape, each = rows(s, s, y)
    values = []
    for _, row, label in each:
        u = np.full(len(row), (1 - correct) / (len(row) - 1))
        u[label] = correct
        values.append(kl_of(softmax(u / temperature), softmax(row)))
    return np.reshape(values, shape)


def confidence(t, s, y, temperature):
    """Several teachers; one that is wrong about the label counts less."""
    loss = np.array([-log_softmax(z)[np.arange(len(y)), y] for z in t])
    odds = np.exp(loss - loss.max(0))
    weights = (1 - odds / odds.sum(0)) / (len(t) - 1)
    return sum(w * kl(z, s, temperature) for w, z in zip(weights, t, strict=True))
