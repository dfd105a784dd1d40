"""GPT-2 of Hugging Face transformers, from its config with random weights, trained on characters. Knows nothing of tpdyn.

tpdyn check examples/hf_gpt2.py --width-arg=--n-embd --widths 32,48,64,128

Needs transformers: pip install transformers
"""

import argparse

import torch
from transformers import GPT2Config, GPT2LMHeadModel, get_cosine_schedule_with_warmup, set_seed

TEXT = (
    "it is a truth universally acknowledged, that a single network in possession of a good width must be in want of a "
    "learning rate. however little known the feelings or views of such a network may be on its first entering a cluster, "
    "this truth is so well fixed in the minds of the surrounding engineers, that it is considered the rightful property "
    "of some one or other of their sweeps. "
) * 20


def batches(text: str, context: int, batch: int):
    characters = sorted(set(text))
    tokens = torch.tensor([characters.index(character) for character in text])
    while True:
        starts = torch.randint(len(tokens) - context, (batch,))
        yield torch.stack([tokens[start : start + context] for start in starts.tolist()])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-embd", type=int, default=64)
    parser.add_argument("--n-head", type=int, default=4)
    parser.add_argument("--n-layer", type=int, default=2)
    parser.add_argument("--context", type=int, default=20)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    if arguments.seed is not None:
        set_seed(arguments.seed)

    config = GPT2Config(
        vocab_size=len(set(TEXT)),
        n_positions=arguments.context,
        n_embd=arguments.n_embd,
        n_head=arguments.n_head,
        n_layer=arguments.n_layer,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.lr, weight_decay=0.01)
    schedule = get_cosine_schedule_with_warmup(optimizer, 0, arguments.steps)
    data = batches(TEXT, arguments.context, arguments.batch)
    for step in range(arguments.steps):
        tokens = next(data)
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            print(f"step {step:4d}  loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
