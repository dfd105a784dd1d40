"""An existing loop, recorded at the one width it has."""

import torch

import tpdyn


def test_the_block_is_left_after_the_wanted_steps_and_leaves_a_program_that_runs() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, rounds = torch.randn(4, 5), 0
    with tpdyn.recording(steps=2) as recorder:
        for _ in range(9):
            rounds += 1
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    assert rounds == 2
    assert recorder.program.steps == 2
    assert {p.name for p in recorder.program.parameters} == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert "tanh(" in recorder.program.show()
