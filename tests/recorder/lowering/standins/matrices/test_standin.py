"""Mirrors tpdyn/recorder/lowering/standins/matrices: functions of matrices, however they are written, and what is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tpdyn.program.instructions import Combine, Eigenvalues, Leaf, Spectral
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.lowered import Lowered
from tpdyn.recorder.lowering import LoweringError, lower
from tpdyn.recorder.lowering.evaluate import evaluate

Update = Callable[[Tensor], Tensor]


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def lowered(update: Update) -> Lowered:
    """Two steps of a perceptron whose weights move by what `update` makes of their gradients; compared with the live run."""

    def train(width: int) -> None:
        model = nn.Sequential(nn.Linear(4, width, bias=False), nn.Tanh(), nn.Linear(width, 3, bias=False))
        x, y = torch.randn(5, 4), torch.randint(3, (5,))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            with torch.no_grad():
                for p in model.parameters():
                    assert p.grad is not None
                    p.grad.copy_(update(p.grad))
            optimizer.step()

    made = lower(record_tape(train, 7, 2, 0))
    values = evaluate(made)
    for position, live in made.live.items():
        assert float((values[position] - live).abs().max()) <= 1e-9 * max(float(live.abs().max()), 1e-3)
    return made


def count(made: Lowered, kind: type) -> int:
    return sum(isinstance(statement.instruction, kind) for statement in made.statements)


def arrays(made: Lowered) -> list[str]:
    """The constant arrays that are left."""
    leaves = [statement.instruction for statement in made.statements if isinstance(statement.instruction, Leaf)]
    return [leaf.name for leaf in leaves if leaf.law.kind == "array"]


def square(g: Tensor) -> Tensor:
    return g @ g.T + 1e-3 * torch.eye(g.shape[0])


def added_to_its_transpose(a: Tensor) -> Tensor:
    return a + a.T


def root(w: Tensor) -> Tensor:
    return w.clamp_min(1e-9) ** -0.25


FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "diag": lambda w, v: v @ torch.diag(w) @ v.T,
    "diag_embed on the right": lambda w, v: v @ (torch.diag_embed(w) @ v.mT),
    "columns": lambda w, v: (v * w) @ v.T,
    "columns, in place": lambda w, v: v.mul(w.unsqueeze(0)).matmul(v.t()),
    "columns, divided": lambda w, v: (v / (1 / w)) @ v.T,
    "rows": lambda w, v: v @ (w[:, None] * v.T),
    "both halves": lambda w, v: (v * w.sqrt()) @ (v * w.sqrt()).T,
    "a number beside": lambda w, v: (2 * v * w) @ v.T / 2,
    "einsum": lambda w, v: torch.einsum("ik,k,jk->ij", v, w, v),
    "einsum of two": lambda w, v: torch.einsum("ik,jk->ij", v * w, v),
    "multi_dot": lambda w, v: torch.linalg.multi_dot([v, w.diag(), v.T]),
    "two diagonals": lambda w, v: v @ w.sqrt().diag() @ w.sqrt().diag() @ v.T,
    "a number in a diagonal": lambda w, v: v @ (0.5 * w.diag() * 2) @ v.T,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_function_of_a_matrix_is_one_instruction_however_it_is_written(form: str) -> None:
    def update(g: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(square(g))
        return FORMS[form](root(values), vectors) @ g

    made = lowered(update)
    assert count(made, Spectral) == count(made, Eigenvalues) == 4  # two weights, two steps
    assert arrays(made) == []  # no identity matrix is left


SQUARES: dict[str, Update] = {
    "added in place": lambda g: (1e-3 * torch.eye(g.shape[0])).add_(g @ g.T),
    "added by addmm": lambda g: torch.addmm(torch.eye(g.shape[0]), g, g.T, beta=1e-3, alpha=0.5),
    "averaged": lambda g: (1e-3 * torch.eye(g.shape[0])).lerp_(g @ g.T, 0.1),
    "decayed": lambda g: torch.eye(g.shape[0]).mul_(0.9).add_(g @ g.T, alpha=0.1),
    "subtracted": lambda g: g @ g.T - -1e-3 * torch.eye(g.shape[0]),
    "turned around": lambda g: (torch.eye(g.shape[0]) + g @ g.T).T / 2,
    "in proportion to the trace": lambda g: g @ g.T + 0.1 * torch.eye(g.shape[0]) * torch.trace(g @ g.T) / len(g),
    "of a multiple": lambda g: (2 * g) @ g.T + torch.eye(g.shape[0]),
    "squared": lambda g: torch.linalg.matrix_power(g @ g.T + torch.eye(g.shape[0]), 2),
    "symmetric by hand": lambda g: torch.eye(g.shape[0]) + added_to_its_transpose(g @ g.T.abs()),
}


@pytest.mark.parametrize("form", SQUARES)
def test_an_identity_in_a_symmetric_matrix_moves_its_eigenvalues(form: str) -> None:
    def update(g: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(SQUARES[form](g))
        return (vectors * (values + 0.01).reciprocal()) @ vectors.T @ g

    made = lowered(update)
    assert count(made, Spectral) == 4
    assert arrays(made) == []


def test_a_small_identity_guards_and_a_large_one_is_part_of_the_function() -> None:
    for size, guards in ((1e-3, True), (1.0, False)):

        def update(g: Tensor, size: float = size) -> Tensor:
            return torch.linalg.inv(g @ g.T + size * torch.eye(g.shape[0])) @ g

        made = lowered(update)
        combines = [s.instruction for s in made.statements if isinstance(s.instruction, Combine)]
        assert any(combine.epsilon for combine in combines) is guards


INVERSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "inv": lambda s, g: torch.linalg.inv(s) @ g,
    "inverse": lambda s, g: s.inverse() @ g,
    "solve": lambda s, g: torch.linalg.solve(s, g),
    "solve from the right": lambda s, g: torch.linalg.solve(s, g.T, left=False).T,
    "solve for several at once": lambda s, g: torch.linalg.solve(s, torch.stack([g, 2 * g]))[1],
    "solve for several from the right": lambda s, g: torch.linalg.solve(s, torch.stack([g.T, g.T]), left=False)[0].T,
    "a column": lambda s, g: torch.linalg.solve(s, g[:, 0])[:, None] * g,
    "cholesky_solve": lambda s, g: torch.cholesky_solve(g, torch.linalg.cholesky(s)),
    "cholesky_solve for several": lambda s, g: torch.cholesky_solve(torch.stack([g, g]), torch.linalg.cholesky(s))[0],
    "cholesky_inverse": lambda s, g: torch.cholesky_inverse(torch.linalg.cholesky(s)) @ g,
    "matrix_power": lambda s, g: torch.linalg.matrix_power(s, -1) @ g,
}


@pytest.mark.parametrize("form", INVERSES)
def test_the_inverse_of_a_symmetric_matrix_is_a_function_of_it(form: str) -> None:
    def update(g: Tensor) -> Tensor:
        return INVERSES[form](square(g), g)

    assert count(lowered(update), Spectral) == 4


def test_a_triangular_matrix_of_fixed_numbers_is_solved_by_its_inverse() -> None:
    """The factor of a policy's covariance, which is a setting: `MultivariateNormal(mean, variance * I).log_prob(action)`."""

    def update(gradient: Tensor) -> Tensor:
        factor = torch.eye(3) + torch.ones(3, 3).tril() / 2
        if len(gradient) != 3:
            return gradient
        return torch.linalg.solve_triangular(factor[None], gradient[None], upper=False)[0]

    lowered(update)
    with pytest.raises(LoweringError, match="triangular matrix that is not made of fixed numbers"):
        lowered(lambda g: torch.linalg.solve_triangular(g.tril()[:3, :3], g[:3], upper=False) if len(g) == 3 else g)


def test_singular_values_of_a_sum_of_squares_are_its_eigenvalues_in_the_other_order() -> None:
    def update(g: Tensor) -> Tensor:
        u, s, vh = torch.linalg.svd(square(g))
        return (u * root(s)) @ vh @ g

    made = lowered(update)
    assert all(
        statement.instruction.descending
        for statement in made.statements
        if isinstance(statement.instruction, Eigenvalues | Spectral)
    )


def test_products_with_identity_matrices_are_relabellings() -> None:
    """Powers of `2 I - A`, of diagonal matrices, and an identity on either side leave no array behind."""

    def update(g: Tensor) -> Tensor:
        eye = torch.eye(g.shape[0])
        x, y = 2 * eye - g @ g.T, eye
        for _ in range(2):
            y = x @ y @ (3 * eye - y)
        scaled = torch.diag(g[:, 0]) @ (2 * eye) @ torch.diag(g[:, 1]) @ (g @ g.T)
        return torch.diag(g[:, 1]) @ (eye @ g) + scaled @ g + F.linear(g.T, y).T * torch.trace(y)

    assert arrays(lowered(update)) == []


def test_the_diagonal_of_an_identity_matrix_is_kept_apart_where_its_entries_are_read() -> None:
    def update(g: Tensor) -> Tensor:
        damped = g @ g.T + torch.eye(g.shape[0])
        turned = torch.diag(g[:, 0]) @ damped @ g
        return (damped * damped) @ g + torch.diag(g[:, 0]).sum() * turned + (g @ g.T * torch.eye(g.shape[0])) @ g

    assert arrays(lowered(update)) == []


def test_a_factor_with_more_dims_makes_an_array_of_an_identity_matrix() -> None:
    def update(g: Tensor) -> Tensor:
        return (torch.eye(g.shape[0]) * g.abs().sum().reshape(1, 1, 1))[0] @ g

    assert arrays(lowered(update))


REFUSED: dict[str, tuple[Update, str]] = {
    "rotated gradients": (lambda g: torch.linalg.eigh(square(g))[1].T @ g, "eigenbasis"),
    "signs": (lambda g: torch.linalg.eigh(square(g))[1].sign() @ g, "eigenbasis"),
    "weights along the coordinates": (
        lambda g: (torch.linalg.eigh(square(g))[1] * g[:, :1]) @ torch.linalg.eigh(square(g))[1].T @ g,
        "eigenbasis",
    ),
    "eigenvectors of two matrices": (
        lambda g: torch.linalg.eigh(square(g))[1] @ torch.linalg.eigh(square(g.sign()))[1].T @ g,
        "eigenbasis",
    ),
    "one eigenvector": (lambda g: torch.linalg.eigh(square(g))[1][:, -1:] * g, "eigenbasis"),
    "the polar factor": (lambda g: torch.linalg.svd(g, full_matrices=False)[0] @ g[: g.shape[1]], "of low rank"),
    "a matrix that is not symmetric": (lambda g: torch.linalg.inv(g[:3, :3] + torch.eye(3)).sum() * g, "not symmetric"),
    "singular values with signs": (
        lambda g: torch.linalg.svd(torch.eye(g.shape[0]) - g @ g.T)[0] @ g,
        "may have negative eigenvalues",
    ),
    "singular values of a negative square": (
        lambda g: torch.linalg.svd((-1 * g) @ g.T)[0] @ g,
        "may have negative eigenvalues",
    ),
    "rounded": (lambda g: (1.5 * torch.eye(g.shape[0]) + g @ g.T).long().double() @ g, "is rounded to"),
    "a Cholesky factor": (lambda g: torch.linalg.cholesky(square(g)) @ g, "Cholesky factor depends on the order"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_is_no_function_of_a_matrix_is_refused_with_its_line(form: str) -> None:
    update, why = REFUSED[form]
    with pytest.raises(LoweringError, match=why) as refused:
        lowered(update)
    assert "test_standin.py" in str(refused.value)
