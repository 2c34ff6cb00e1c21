"""Inference distance: how uncertain the difference of two rewards is, given which responses were compared.

    d(a, b) = variance of the inferred r(a) - r(b) = effective resistance between a and b,  an edge's resistance its variance

"Reward generalization in RLHF: a topological perspective" (arXiv 2402.10184) defines it on the induced Bayesian network, whose
nodes are responses and whose edges are comparisons and the inductive bias of the model. That it is the effective resistance
is ours, and exact for Gaussian comparisons: in series variances add, in parallel their inverses do. It is a metric, and one
more comparison never makes it larger. Responses that nothing joins are infinitely far apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..types import Floats

Edge = tuple[int, int, float]


def inference_distances(n: int, edges: Sequence[Edge]) -> Floats:
    """``(n, n)`` float64, the distance of each pair; infinite where no chain of edges joins it.

    Args:
        n: responses, numbered from 0.
        edges: ``(first, second, variance)``; several between two responses count together.

    Raises:
        ValueError: a response that is none, an edge from one to itself, or a variance that is not positive and finite.
    """
    laplacian = np.zeros((n, n))
    for a, b, variance in edges:
        if not (0 <= a < n and 0 <= b < n) or a == b or not 0 < variance < math.inf:
            raise ValueError(
                f"the edge ({a}, {b}, {variance}) is none: allowed are two different responses of 0 to {n - 1} and "
                "a variance above 0"
            )
        laplacian[a, a] += 1 / variance
        laplacian[b, b] += 1 / variance
        laplacian[a, b] -= 1 / variance
        laplacian[b, a] -= 1 / variance
    out = np.full((n, n), math.inf)
    for part in _parts(n, edges):
        inverse = np.linalg.pinv(laplacian[np.ix_(part, part)], hermitian=True)
        own = np.diag(inverse)
        out[np.ix_(part, part)] = np.maximum(own[:, None] + own[None] - 2 * inverse, 0.0)
    np.fill_diagonal(out, 0.0)
    return out


def inference_distance(n: int, edges: Sequence[Edge], a: int, b: int) -> float:
    """The distance of two responses; arguments as of ``inference_distances``.

    Raises:
        ValueError: as there, or ``a`` or ``b`` is no response.
    """
    if not (0 <= a < n and 0 <= b < n):
        raise ValueError(f"responses are 0 to {n - 1}, not {a} and {b}")
    return float(inference_distances(n, edges)[a, b])


def mean_distance(n: int, edges: Sequence[Edge]) -> float:
    """The mean over all pairs: what a set of comparisons leaves open, to compare a tree's with a chain's.

    Raises:
        ValueError: as ``inference_distances``, or less than two responses.
    """
    if n < 2:
        raise ValueError(f"n is {n}; allowed: a whole number from 2")
    return float(inference_distances(n, edges)[np.triu_indices(n, 1)].mean())


def tree_edges(
    leaves: Sequence[Any], preferences: Sequence[Any], bias: float = 1.0, noise: float = 1.0
) -> tuple[int, list[Edge]]:
    """The graph of a prefix tree: its comparisons, and edges of inductive bias from each prefix to the next.

    Args:
        leaves: of ``PrefixTree.grow``, which have a ``path``; they are the first nodes, inner prefixes follow.
        preferences: with ``first`` and ``second``.
        bias: variance from a prefix to the next longer one; infinite: comparisons alone.
        noise: variance of a comparison.

    Returns:
        The number of nodes, and the edges.
    """
    nodes: dict[tuple[int, ...], int] = {leaf.path: k for k, leaf in enumerate(leaves)}
    edges: list[Edge] = [(p.first, p.second, noise) for p in preferences]
    if math.isinf(bias):
        return len(nodes), edges
    for path in list(nodes):
        while path:
            above = path[:-1]
            known = above in nodes
            edges.append((nodes[path], nodes.setdefault(above, len(nodes)), bias))
            if known:
                break
            path = above
    return len(nodes), edges


def _parts(n: int, edges: Sequence[Edge]) -> list[list[int]]:
    """The responses that edges join, part by part."""
    root = list(range(n))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for a, b, _ in edges:
        root[find(a)] = find(b)
    out: dict[int, list[int]] = {}
    for i in range(n):
        out.setdefault(find(i), []).append(i)
    return list(out.values())
