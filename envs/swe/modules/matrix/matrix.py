"""Small matrices of exact fractions."""

from collections.abc import Iterable, Sequence
from fractions import Fraction

Number = int | Fraction


class ShapeError(ValueError):
    """The shapes do not fit."""


class Matrix:
    """Rows of numbers, all of one length; never changed once made."""

    def __init__(self, rows: Iterable[Iterable[Number]]) -> None:
        self.rows = [[Fraction(x) for x in row] for row in rows]
        if not self.rows or not self.rows[0]:
            raise ShapeError("a matrix needs a number")
        if any(len(row) != len(self.rows[0]) for row in self.rows):
            raise ShapeError("the rows differ in length")

    @classmethod
    def identity(cls, size: int) -> "Matrix":
        """Ones from the upper left to the lower right, else zeros."""
        return cls([[int(i == j) for j in range(size)] for i in range(size)])

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and of columns."""
        return len(self.rows), len(self.rows[0])

    def __eq__(self, other: object) -> bool:
        """Whether shapes and numbers are the same."""
        return isinstance(other, Matrix) and self.rows == other.rows

    def __hash__(self) -> int:
        """Equal matrices have the same."""
        return hash(tuple(tuple(row) for row in self.rows))

    def __add__(self, other: "Matrix") -> "Matrix":
        """Place by place."""
        if self.shape != other.shape:
            raise ShapeError("only equal shapes can be added")
        return Matrix([[x + y for x, y in zip(a, b)] for a, b in zip(self.rows, other.rows)])

    def scale(self, factor: Number) -> "Matrix":
        """Every number times a factor."""
        return Matrix([[factor * x for x in row] for row in self.rows])

    def __sub__(self, other: "Matrix") -> "Matrix":
        """Place by place."""
        return self + other.scale(-1)

    def __matmul__(self, other: "Matrix") -> "Matrix":
        """The product: rows of the first times columns of the second."""
        if self.shape[1] != other.shape[0]:
            raise ShapeError("columns of the first are not rows of the second")
        columns = other.transpose().rows
        return Matrix([[sum(x * y for x, y in zip(row, column)) for column in columns] for row in self.rows])

    def __pow__(self, exponent: int) -> "Matrix":
        """Repeated product, by squaring; negative exponents invert."""
        base = self if exponent >= 0 else self.inverse()
        exponent = abs(exponent)
        result = Matrix.identity(self._size())
        while exponent:
            if exponent % 2 == 1:
                result = result @ base
            base = base @ base
            exponent //= 2
        return result

    def transpose(self) -> "Matrix":
        """Rows become columns."""
        return Matrix([list(column) for column in zip(*self.rows)])

    def minor(self, i: int, j: int) -> "Matrix":
        """Without row ``i`` and column ``j``."""
        return Matrix([row[:j] + row[j + 1 :] for k, row in enumerate(self.rows) if k != i])

    def determinant(self) -> Fraction:
        """By elimination, with exact numbers."""
        size, rows, result = self._size(), [row[:] for row in self.rows], Fraction(1)
        for i in range(size):
            pivot = next((k for k in range(i, size) if rows[k][i] != 0), None)
            if pivot is None:
                return Fraction(0)
            if pivot != i:
                rows[i], rows[pivot] = rows[pivot], rows[i]
                result = -result
            result *= rows[i][i]
            for k in range(i + 1, size):
                factor = rows[k][i] / rows[i][i]
                rows[k] = [x - factor * y for x, y in zip(rows[k], rows[i])]
        return result

    def inverse(self) -> "Matrix":
        """What gives the identity when multiplied with this."""
        size, whole = self._size(), self.determinant()
        if whole == 0:
            raise ZeroDivisionError("the matrix has no inverse")
        if size == 1:
            return Matrix([[1 / whole]])
        signed = [[(-1) ** (i + j) * self.minor(i, j).determinant() for i in range(size)] for j in range(size)]
        return Matrix(signed).scale(1 / whole)

    def _size(self) -> int:
        rows, columns = self.shape
        if rows != columns:
            raise ShapeError("only square matrices have this")
        return rows


def solve(matrix: Matrix, right: Sequence[Number]) -> list[Fraction]:
    """The numbers ``x`` with ``matrix @ x = right``."""
    product = matrix.inverse() @ Matrix([[x] for x in right])
    return [row[0] for row in product.rows]
