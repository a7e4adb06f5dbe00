"""What is measured, in PyTorch: each class makes itself ready once and then runs units of work."""

import torch

from model import Transformer


def _random_tokens(shape, *dims):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, shape["vocab"], dims, generator=generator)


def _compiled(function, variant, dynamic=False):
    """The function compiled if the variant says so.

    With the compiler's default options: automatic tuning, frozen weights and the C++ wrapper gained nothing here.
    """
    return torch.compile(function, dynamic=dynamic) if "compile" in variant else function


def _autocast(variant):
    return torch.autocast("cpu", torch.bfloat16, enabled="bf16" in variant)


class TrainStep:
    """Forward over all iterations, backward, AdamW (fused)."""

    def __init__(self, shape, variant):
        torch.manual_seed(1)
        self.variant = variant
        self.model = Transformer(shape, shape["width"], sdpa="sdpa" in variant)
        self.tokens = _random_tokens(shape, shape["batch"], shape["width"])
        self.targets = _random_tokens(shape, shape["iterations"], shape["batch"], shape["width"])
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-4, weight_decay=0.01, fused=True)
        self.loss = _compiled(self.model.looped_loss, variant)

    def warm_up(self):
        """Before the clock of each turn: the other side has had the caches."""
        self.run()

    def run(self):
        """One step; gives the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        with _autocast(self.variant):
            loss = self.loss(self.tokens, self.targets)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def check(self, loss):
        """That the loss is a sensible number."""
        value = loss.item()
        assert 0.0 < value < 20.0, f"loss {value}"
        return {"loss": value}


class LoopedGeneration:
    """All iterations of the looped model, the greedy tokens of each read out."""

    def __init__(self, shape, variant):
        torch.manual_seed(1)
        self.shape, self.variant = shape, variant
        self.model = Transformer(shape, shape["width"], sdpa="sdpa" in variant).eval()
        self.tokens = _random_tokens(shape, shape["batch"], shape["width"])
        self.step = _compiled(self.model.pass_and_read, variant)

    def warm_up(self):
        self._write(2)

    def run(self):
        return self._write(self.shape["iterations"])

    @torch.no_grad()
    def _write(self, iterations):
        with _autocast(self.variant):
            state, columns = self.model.embedding(self.tokens), []
            for _ in range(iterations):
                state, greedy = self.step(state)
                columns.append(greedy)
        return torch.stack(columns).numpy()

    def check(self, columns):
        expected = (self.shape["iterations"], self.shape["batch"], self.shape["width"])
        assert columns.shape == expected, f"{columns.shape} where {expected} is right"
        return {"columns": list(columns.shape)}


class ArGeneration:
    """Greedy continuation of prompts, token by token, with preallocated caches of keys and values."""

    def __init__(self, shape, variant):
        torch.manual_seed(1)
        self.shape, self.variant = shape, variant
        columns = shape["width"] + shape["new_tokens"]
        self.model = Transformer(shape, columns, sdpa="sdpa" in variant).eval()
        self.tokens = _random_tokens(shape, shape["batch"], shape["width"])
        heads = shape["heads"]
        dtype = torch.bfloat16 if "bf16" in variant else torch.float32
        size = (shape["layers"], shape["batch"], heads, columns, shape["d_model"] // heads)
        self.keys, self.values = torch.zeros(size, dtype=dtype), torch.zeros(size, dtype=dtype)
        self.step = _compiled(self.model.append, variant, dynamic=True)

    def warm_up(self):
        self._write(min(8, self.shape["new_tokens"]))

    def run(self):
        return self._write(self.shape["new_tokens"])

    @torch.no_grad()
    def _write(self, new_tokens):
        with _autocast(self.variant):
            keys, values = self.keys.unbind(0), self.values.unbind(0)
            tokens = [self.model.read_prompt(self.tokens, keys, values)]
            for at in range(self.shape["width"], self.shape["width"] + new_tokens - 1):
                tokens.append(self.step(tokens[-1], keys, values, at))
        return torch.cat(tokens, dim=1).numpy()

    def check(self, tokens):
        expected = (self.shape["batch"], self.shape["new_tokens"])
        assert tokens.shape == expected, f"{tokens.shape} where {expected} is right"
        return {"tokens": list(tokens.shape)}


KINDS = {"train_step": TrainStep, "looped_generation": LoopedGeneration, "ar_generation": ArGeneration}
