# mypy: disable-error-code="import-not-found"
"""Tests of the matrices."""

from fractions import Fraction

import pytest
from matrix import Matrix, ShapeError, solve

A = Matrix([[1, 2], [3, 4]])
B = Matrix([[0, 1], [5, -2]])
WIDE = Matrix([[1, 2, 3], [4, 5, 6]])
C = Matrix([[2, 0, 1], [1, 3, 2], [1, 1, 4]])


def test_shape() -> None:
    """Rows first."""
    assert WIDE.shape == (2, 3)
    assert Matrix([[7]]).shape == (1, 1)


def test_odd_shapes_are_refused() -> None:
    """No numbers, and rows of different lengths."""
    shapes: list[list[list[int]]] = [[], [[]], [[1, 2], [3]], [[1], [2, 3]]]
    for rows in shapes:
        with pytest.raises(ShapeError):
            Matrix(rows)


def test_equality() -> None:
    """Of numbers; equal ones have the same hash."""
    assert Matrix([[1, 2], [3, 4]]) == A and A != B
    assert A != [[1, 2], [3, 4]]
    assert len({A, Matrix([[1, 2], [3, 4]]), B}) == 2


def test_the_rows_are_copied() -> None:
    """A later change of what was given is not seen."""
    rows = [[1, 2], [3, 4]]
    made = Matrix(rows)
    rows[0][0] = 9
    assert made == A


def test_sums() -> None:
    """Place by place, of equal shapes only."""
    assert A + B == Matrix([[1, 3], [8, 2]])
    assert A - B == Matrix([[1, 1], [-2, 6]])
    assert A - A == Matrix([[0, 0], [0, 0]])
    with pytest.raises(ShapeError):
        _ = A + WIDE


def test_scale() -> None:
    """Fractions stay exact."""
    assert A.scale(3) == Matrix([[3, 6], [9, 12]])
    assert A.scale(Fraction(1, 3)).rows[0][1] == Fraction(2, 3)


def test_products() -> None:
    """Their order matters, and so do the shapes."""
    assert A @ B == Matrix([[10, -3], [20, -5]])
    assert B @ A == Matrix([[3, 4], [-1, 2]])
    assert A @ WIDE == Matrix([[9, 12, 15], [19, 26, 33]])
    with pytest.raises(ShapeError):
        _ = WIDE @ A


def test_identity() -> None:
    """Changes nothing in a product."""
    assert Matrix.identity(2) == Matrix([[1, 0], [0, 1]])
    assert C @ Matrix.identity(3) == C == Matrix.identity(3) @ C


def test_transpose() -> None:
    """Twice is nothing."""
    assert WIDE.transpose() == Matrix([[1, 4], [2, 5], [3, 6]])
    assert WIDE.transpose().transpose() == WIDE


def test_minors() -> None:
    """A row and a column less."""
    assert C.minor(0, 0) == Matrix([[3, 2], [1, 4]])
    assert C.minor(1, 2) == Matrix([[2, 0], [1, 1]])
    assert C.minor(2, 1) == Matrix([[2, 1], [1, 2]])


def test_determinants() -> None:
    """Also where rows have to change places."""
    assert A.determinant() == -2
    assert C.determinant() == 18
    assert B.determinant() == -5
    assert Matrix([[0, 1, 0], [0, 0, 1], [1, 0, 0]]).determinant() == 1
    assert Matrix([[1, 2], [2, 4]]).determinant() == 0
    with pytest.raises(ShapeError):
        WIDE.determinant()


def test_a_determinant_leaves_the_matrix_alone() -> None:
    """Its rows are the same afterwards."""
    before = [row[:] for row in C.rows]
    C.determinant()
    assert C.rows == before


def test_inverses() -> None:
    """Give the identity on both sides."""
    for m in (A, B, C, Matrix([[4]])):
        size = m.shape[0]
        assert m @ m.inverse() == Matrix.identity(size) == m.inverse() @ m
    assert Matrix([[4]]).inverse() == Matrix([[Fraction(1, 4)]])
    with pytest.raises(ZeroDivisionError):
        Matrix([[1, 2], [2, 4]]).inverse()


def test_powers() -> None:
    """Negative ones invert, the zeroth is the identity."""
    assert A**0 == Matrix.identity(2)
    assert A**1 == A
    assert A**5 == A @ A @ A @ A @ A
    assert A**-2 == (A @ A).inverse()
    with pytest.raises(ShapeError):
        _ = WIDE**2


def test_solving() -> None:
    """Exactly."""
    assert solve(C, [5, 13, 15]) == [1, 2, 3]
    assert solve(A, [1, 0]) == [-2, Fraction(3, 2)]
