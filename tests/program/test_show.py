"""Does a program read like formulas, and always the same?"""

from __future__ import annotations

from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Law,
    Leaf,
    Operand,
    Scatter,
    Slice,
    Spectral,
)
from tpdyn.program.program import Mark, Parameter, Program, Source, View
from tpdyn.program.show import show_statement

N, ONE = Scaling.of(1, 1), Scaling.of(1)
ZERO = Scaling(())
SEVEN, FIVE, TWO = Scaling.of(7), Scaling.of(5), Scaling.of(2)


def two_layers(steps: int = 2) -> Program:
    """f = V tanh(W x), squared loss on a batch of 7, SGD with rates 0.1 n and 0.1/n, by hand."""
    b = Builder()
    b.at(phase="initialization", source=Source("/home/me/train.py", 3, "model = MLP(width)"))
    w = [b.leaf(Leaf("parameter", "fc1.weight", Law("normal", ZERO, ONE)), (N, FIVE))]
    v = [b.leaf(Leaf("parameter", "fc2.weight", Law("normal", ZERO, Scaling.of(1, -1))), (TWO, N))]
    dw, dv = [], []
    for step in range(steps):

        def at(phase: str, line: int, step: int = step) -> None:
            b.at(step=step, phase=phase, source=Source("/home/me/train.py", line, ""))

        at("forward", 7)
        if step == 0:
            x = b.leaf(Leaf("data", "x", Law("data")), (SEVEN, FIVE))
            y = b.leaf(Leaf("data", "y", Law("data")), (SEVEN, TWO))
        h = b.add(Contract((Operand(x, (0, 2)), Operand(w[-1], (1, 2)))), (SEVEN, N), name=f"fc1@{step}")
        a = b.add(Apply("tanh", (Operand(h, (0, 1)),)), (SEVEN, N), name=f"act@{step}")
        f = b.add(Contract((Operand(a, (0, 2)), Operand(v[-1], (1, 2)))), (SEVEN, TWO), name=f"fc2@{step}")
        e = b.add(Combine(((ONE, Operand(f, (0, 1))), (-ONE, Operand(y, (0, 1))))), (SEVEN, TWO))
        at("backward", 8)
        dv.append(b.add(Contract((Operand(e, (2, 0)), Operand(a, (2, 1)))), (TWO, N), name=f"d fc2.weight_{step}"))
        da = b.add(Contract((Operand(e, (0, 2)), Operand(v[-1], (2, 1)))), (SEVEN, N))
        slope = b.add(Apply("tanh'", (Operand(h, (0, 1)),)), (SEVEN, N))
        dh = b.add(Contract((Operand(da, (0, 1)), Operand(slope, (0, 1)))), (SEVEN, N))
        dw.append(b.add(Contract((Operand(dh, (2, 0)), Operand(x, (2, 1)))), (N, FIVE), name=f"d fc1.weight_{step}"))
        at("optimizer", 9)
        for name, versions, gradients, rate in (
            ("fc1.weight", w, dw, Scaling.of(-0.1, 1)),
            ("fc2.weight", v, dv, Scaling.of(-0.1, -1)),
        ):
            terms = ((ONE, Operand(versions[-1], (0, 1))), (rate, Operand(gradients[-1], (0, 1))))
            shape = (N, FIVE) if name == "fc1.weight" else (TWO, N)
            versions.append(b.add(Combine(terms), shape, name=f"{name}_{step + 1}"))
        b.marks.append(Mark("module", "fc2", step, View((f,), ((0,), (1,)))))
    for name, versions, gradients in (("fc1.weight", w, dw), ("fc2.weight", v, dv)):
        plain = tuple(View((at,), ((0,), (1,))) for at in versions)
        b.parameters.append(Parameter(name, plain, tuple(View((at,), ((0,), (1,))) for at in gradients)))
    return b.build(steps=steps)


GOLDEN = """\
-- initialization
fc1.weight ~ normal(0 +- 1)      [n, 5]   # train.py:3
fc2.weight ~ normal(0 +- n^-1)   [2, n]

-- step 0, forward
x : data                       [7, 5]   # train.py:7
y : data                       [7, 2]
fc1@0 = x fc1.weight^T         [7, n]
act@0 = tanh(fc1@0)            [7, n]
fc2@0 = act@0 fc2.weight^T     [7, 2]
v7 = fc2@0 - y                 [7, 2]

-- step 0, backward
d fc2.weight_0 = v7^T act@0              [2, n]   # train.py:8
v11 = (v7 fc2.weight) * tanh'(fc1@0)     [7, n]
d fc1.weight_0 = v11^T x                 [n, 5]

-- step 0, optimizer
fc1.weight_1 = fc1.weight - 0.1*n * d fc1.weight_0      [n, 5]   # train.py:9
fc2.weight_1 = fc2.weight - 0.1*n^-1 * d fc2.weight_0   [2, n]

-- step 1, forward
fc1@1 = x fc1.weight_1^T       [7, n]   # train.py:7
act@1 = tanh(fc1@1)            [7, n]
fc2@1 = act@1 fc2.weight_1^T   [7, 2]
v18 = fc2@1 - y                [7, 2]

-- step 1, backward
d fc2.weight_1 = v18^T act@1             [2, n]   # train.py:8
v22 = (v18 fc2.weight_1) * tanh'(fc1@1)  [7, n]
d fc1.weight_1 = v22^T x                 [n, 5]

-- step 1, optimizer
fc1.weight_2 = fc1.weight_1 - 0.1*n * d fc1.weight_1      [n, 5]   # train.py:9
fc2.weight_2 = fc2.weight_1 - 0.1*n^-1 * d fc2.weight_1   [2, n]"""


def _words(text: str) -> list[list[str]]:
    """Lines without the padding of columns."""
    return [line.split() for line in text.splitlines()]


def test_a_two_layer_network_after_two_steps_of_sgd_reads_like_a_paper() -> None:
    assert _words(two_layers().show()) == _words(GOLDEN)


def test_steps_and_phases_can_be_chosen() -> None:
    text = two_layers().show(step=1, phases=("optimizer",))
    assert [line.split(" = ")[0] for line in text.splitlines()[1:]] == ["fc1.weight_2", "fc2.weight_2"]


def test_dims_stand_in_one_column() -> None:
    for block in two_layers().show().split("\n\n"):
        columns = {line.index("   [") for line in block.splitlines()[1:]}
        assert len({line.rindex("   [") for line in block.splitlines()[1:]}) == 1, columns


def _one(build: object) -> str:
    """The text of the last statement of `build`, given `x, y : [n], A, B : [n, n], T : [7, 5, n], wide : [2*n], k : [7] int`."""
    b = Builder()
    names = {"x": (N,), "y": (N,), "A": (N, N), "B": (N, N), "T": (SEVEN, FIVE, N), "wide": (Scaling.of(2, 1),)}
    at = {name: b.leaf(Leaf("data", name, Law("data")), shape) for name, shape in names.items()}
    at["k"] = b.leaf(Leaf("data", "k", Law("index")), (SEVEN,), type="int")
    build(b, at)  # type: ignore[operator]
    program = b.build()
    return show_statement(program, len(program) - 1)


def test_products_of_vectors_and_matrices_need_no_indices() -> None:
    def contract(first: str, a: tuple[int, ...], second: str, c: tuple[int, ...], rank: int) -> str:
        return _one(
            lambda b, at: b.add(Contract((Operand(at[first], a), Operand(at[second], c))), (N,) * rank, name="r")
        ).split("   ")[0]

    assert contract("A", (0, 1), "x", (1,), 1) == "r = A x"
    assert contract("x", (1,), "A", (1, 0), 1) == "r = A^T x"
    assert contract("x", (0,), "y", (0,), 0) == "r = x . y"
    assert contract("x", (0,), "y", (1,), 2) == "r = outer(x, y)"
    assert contract("x", (1,), "y", (0,), 2) == "r = outer(y, x)"
    assert contract("x", (0,), "y", (0,), 1) == "r = x * y"
    assert contract("A", (0, 1), "y", (1,), 2) == "r = A * y"
    assert contract("A", (0, 1), "y", (0,), 2) == "r[i,j] = A[i,j] y[i]"
    assert contract("A", (0, 2), "B", (2, 1), 2) == "r = A B"
    assert contract("A", (2, 1), "B", (2, 0), 2) == "r = B^T A"
    assert contract("A", (1, 2), "B", (0, 2), 2) == "r = B A^T"
    assert contract("A", (0, 1), "B", (0, 1), 0) == "r = sum_i,j A[i,j] B[i,j]"


def test_means_and_higher_products_show_their_sums() -> None:
    mean = _one(lambda b, at: b.add(Contract((Operand(at["x"], (0,)),), Scaling.of(1, -1)), (), name="m"))
    assert mean == "m = n^-1 * sum_i x[i]   []"
    product = _one(
        lambda b, at: b.add(
            Contract((Operand(at["T"], (0, 1, 3)), Operand(at["A"], (2, 3)))), (SEVEN, FIVE, N), name="r"
        )
    )
    assert product == "r[i,j,k] = sum_l T[i,j,l] A[k,l]   [7, 5, n]"


def test_the_other_instructions() -> None:
    combine = _one(
        lambda b, at: b.add(
            Combine(
                ((ONE + Scaling.of(-0.01, -1), Operand(at["x"], (0,))), (-TWO, Operand(at["y"], (0,)))), Scaling.of(-3)
            ),
            (N,),
            name="r",
        )
    )
    assert combine == "r = (1 - 0.01*n^-1) * x - 2 * y - 3   [n]"
    assert _one(lambda b, at: b.add(Combine(()), (N,), name="z")) == "z = 0   [n]"
    softmax = _one(lambda b, at: b.add(Apply("softmax", (Operand(at["A"], (1, 0)),), along=1), (N, N), name="r"))
    assert softmax == "r[i,j] = softmax(A[j,i]; along axis 1)   [n, n]"
    clamp = _one(lambda b, at: b.add(Apply("clamp", (Operand(at["x"], (0,)),), (-ONE, ONE)), (N,), name="r"))
    assert clamp == "r = clamp(x; -1, 1)   [n]"
    gather = _one(
        lambda b, at: b.add(Gather(Operand(at["T"], (0, 2, 1)), Operand(at["k"], (0,)), 2), (SEVEN, N), name="r")
    )
    assert gather == "r[i,j] = T[i,k[i],j]   [7, n]"
    scatter = _one(
        lambda b, at: b.add(
            Scatter(Operand(at["k"], (1,)), Operand(at["k"], (1,)), 0),
            (FIVE,),
            name="r",
            type="int",
        )
    )
    assert scatter == "r[i] = sum_j [i = k[j]] k[j]   [5] int"
    cut = _one(lambda b, at: b.add(Slice.of(Operand(at["T"], (0, 1, 2)), 1, 4, -2, 2), (SEVEN, TWO, N), name="r"))
    assert cut == "r[i,j,k] = T[i,4-2j,k]   [7, 2, n]"
    half = _one(lambda b, at: b.add(Slice(Operand(at["wide"], (0,)), 0, N, 1, N), (N,), name="r"))
    assert half == "r[i] = wide[n+i]   [n]"
    row = _one(lambda b, at: b.add(Slice.of(Operand(at["T"], (0, 2, 1)), 2, 3, 1, 1), (SEVEN, N), name="r"))
    assert row == "r[i,j] = T[i,3,j]   [7, n]"
    joined = _one(
        lambda b, at: b.add(Concat((Operand(at["T"], (0, 1, 2)), None), (FIVE, TWO), 1), (SEVEN, SEVEN, N), name="r")
    )
    assert joined == "r = concat(T, zeros(2); axis 1)   [7, 7, n]"


def test_eigenvalues_and_functions_of_matrices() -> None:
    spectrum = _one(
        lambda b, at: b.add(Eigenvalues(Operand(at["A"], (1, 2)), (1,), (2,), 0, True), (N,), name="r"),
    )
    assert spectrum == "r = eigenvalues(A; descending)   [n]"
    root = _one(
        lambda b, at: b.add(Spectral(Operand(at["x"], (2,)), Operand(at["A"], (0, 1)), (0,), (1,), 2), (N, N), name="r")
    )
    assert root == "r = spectral(x; A)   [n, n]"
    turned = _one(
        lambda b, at: b.add(Spectral(Operand(at["x"], (2,)), Operand(at["A"], (1, 0)), (0,), (1,), 2), (N, N), name="r")
    )
    assert turned == "r[i,j] = spectral(x[k]; A[j,i]; rows i)   [n, n]"


def test_a_value_that_is_read_twice_keeps_a_line_of_its_own() -> None:
    b = Builder()
    x = b.leaf(Leaf("data", "x", Law("data")), (N,))
    h = b.add(Apply("tanh", (Operand(x, (0,)),)), (N,))
    b.add(Contract((Operand(h, (0,)), Operand(h, (0,)))), (N,), name="r")
    assert [line.split("   ")[0] for line in b.build().show().splitlines()[1:]] == [
        "x : data",
        "v1 = tanh(x)",
        "r = v1 * v1",
    ]


def test_an_ill_formed_statement_is_shown_all_the_same() -> None:
    b = Builder()
    b.add(Contract((Operand(5, (0,)),)), (N,), name="r")
    program = Program(tuple(b.statements))
    assert "r = Contract" in show_statement(program, 0)
