"""Transferability scores derived again in NumPy float64, straight from their papers' formulas: slow and literal."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize


def log_evidence(f, y, alpha, beta):
    """log N(y; 0, I / beta + F F^T / alpha): the weights integrated out, as the n-dimensional Gaussian that it is."""
    n = len(y)
    covariance = np.eye(n) / beta + f @ f.T / alpha
    return -0.5 * (n * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1] + y @ np.linalg.solve(covariance, y))


def log_me_by_iteration(f, y, rounds=4000):
    """You et al. 2021, algorithm 1: alpha and beta iterated to their fixed point, through the posterior of w."""
    n, d = f.shape
    values = []
    for c in np.unique(y):
        t = (y == c).astype(float)
        alpha = beta = 1.0
        for _ in range(rounds):
            a = alpha * np.eye(d) + beta * f.T @ f
            m = beta * np.linalg.solve(a, f.T @ t)
            gamma = d - alpha * np.trace(np.linalg.inv(a))
            residual = np.sum((f @ m - t) ** 2)
            alpha, beta = gamma / (m @ m), (n - gamma) / residual
        a = alpha * np.eye(d) + beta * f.T @ f
        m = beta * np.linalg.solve(a, f.T @ t)
        residual = np.sum((f @ m - t) ** 2)
        evidence = n / 2 * np.log(beta) + d / 2 * np.log(alpha) - n / 2 * np.log(2 * np.pi)
        evidence -= beta / 2 * residual + alpha / 2 * (m @ m) + 0.5 * np.linalg.slogdet(a)[1]
        values.append(evidence / n)
    return float(np.mean(values))


def log_me_by_search(f, y):
    """The evidence maximised numerically over log alpha and log beta, from several starts."""
    values = []
    for c in np.unique(y):
        t = (y == c).astype(float)
        found = [
            minimize(
                lambda p, t=t: -log_evidence(f, t, np.exp(p[0]), np.exp(p[1])),
                start,
                method="Nelder-Mead",
                options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000},
            ).fun
            for start in ([0.0, 0.0], [3.0, 3.0], [-3.0, 2.0])
        ]
        values.append(-min(found) / len(y))
    return float(np.mean(values))


def h_score(f, y):
    """Bao et al. 2019: tr(cov(f)^-1 cov(E[f | y]))."""
    g = np.zeros_like(f)
    for c in np.unique(y):
        g[y == c] = f[y == c].mean(axis=0)
    return float(np.trace(np.linalg.inv(np.cov(f.T, bias=True)) @ np.cov(g.T, bias=True)))


def shrunk_h_score(f, y):
    """Ibrahim et al. 2022: the covariance replaced by Ledoit and Wolf's, cov(E[f | y]) multiplied by 1 - alpha."""
    n, d = f.shape
    x = f - f.mean(axis=0)
    s = x.T @ x / n
    mu = np.trace(s) / d
    spread = np.sum((s - mu * np.eye(d)) ** 2)
    noise = sum(np.sum((np.outer(row, row) - s) ** 2) for row in x) / n**2
    alpha = min(noise, spread) / spread
    g = np.zeros_like(x)
    for c in np.unique(y):
        g[y == c] = x[y == c].mean(axis=0)
    shrunk = (1 - alpha) * s + alpha * mu * np.eye(d)
    return float(np.trace(np.linalg.inv(shrunk) @ ((1 - alpha) * g.T @ g / n)))


def leep(theta, y):
    """Nguyen et al. 2020, by loops over rows, target and source classes."""
    n, sources = theta.shape
    joint = {(c, z): sum(theta[i, z] for i in range(n) if y[i] == c) / n for c in set(y) for z in range(sources)}
    marginal = {z: sum(joint[c, z] for c in set(y)) for z in range(sources)}
    total = 0.0
    for i in range(n):
        total += np.log(sum(joint[y[i], z] / marginal[z] * theta[i, z] for z in range(sources) if marginal[z] > 0))
    return total / n


def nce(z, y):
    """Tran et al. 2019: -H(Y | Z) = sum over (y, z) of P(y, z) log P(y | z)."""
    n, total = len(y), 0.0
    for a in set(y):
        for b in set(z):
            both, given = np.sum((y == a) & (z == b)), np.sum(z == b)
            if both:
                total += both / n * np.log(both / given)
    return total


def rate(x, distortion):
    n, d = x.shape
    return 0.5 * np.linalg.slogdet(np.eye(d) + x.T @ x / (n * distortion))[1]


def transrate(f, y, distortion):
    """Huang et al. 2022: R(Z) - sum over classes of n_c / n R(Z_c)."""
    x = f - f.mean(axis=0)
    return float(rate(x, distortion) - sum(np.mean(y == c) * rate(x[y == c], distortion) for c in np.unique(y)))


def mixture_posterior(x, weights, means, variances):
    """P(cluster | row) of a mixture with diagonal covariances."""
    logs = np.array(
        [
            np.log(w) - 0.5 * np.sum(np.log(2 * np.pi * v) + (x - m) ** 2 / v, axis=1)
            for w, m, v in zip(weights, means, variances, strict=True)
        ]
    ).T
    p = np.exp(logs - logs.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)
