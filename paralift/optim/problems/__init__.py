"""Problems f + r: sums over samples that are split over ranks, and a regulariser."""

from paralift.optim.problems.analytic import AnalyticLasso
from paralift.optim.problems.composite import CompositeProblem
from paralift.optim.problems.linear import LeastSquares, LinearModel, Logistic, Multinomial

__all__ = ["AnalyticLasso", "CompositeProblem", "LeastSquares", "LinearModel", "Logistic", "Multinomial"]
