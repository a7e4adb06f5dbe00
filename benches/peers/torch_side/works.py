"""What is measured, in PyTorch: each class makes itself ready once and then runs units of work.

A variant's name holds what it is: `compile`d as a whole or by the `block`, attention by `sdpa`, products in `bf16` or
`tf32`, launches recorded as a `graph` of the device, `static` caches that are read as a whole.
"""

import torch

from model import Transformer


DEVICE = torch.device("cpu")


def use(device):
    """Measures on this device from now on."""
    global DEVICE
    DEVICE = torch.device(device)


def _random_tokens(shape, *dims):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, shape["vocab"], dims, generator=generator).to(DEVICE)


def _compiled(function, variant, dynamic=False):
    """The function compiled with the compiler's default options, if the variant says so."""
    return torch.compile(function, dynamic=dynamic) if "compile" in variant else function


def _autocast(variant):
    torch.set_float32_matmul_precision("high" if "tf32" in variant else "highest")
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled="bf16" in variant)


def _recorded(work):
    """A graph of work on the device, and where it leaves its result."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()
    return graph, result


def wait():
    """Until the device has done what it was given."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


class TrainStep:
    """Forward over all iterations, backward, AdamW (fused)."""

    def __init__(self, shape, variant):
        torch.manual_seed(1)
        self.shape, self.variant = shape, variant
        columns, targets = self.sizes(shape)
        self.model = Transformer(shape, columns, sdpa="sdpa" in variant).to(DEVICE)
        self.tokens = _random_tokens(shape, shape["batch"], columns)
        self.targets = _random_tokens(shape, *targets)
        options = {"lr": 5e-4, "weight_decay": 0.01, "fused": True, "capturable": DEVICE.type == "cuda"}
        self.optimizer = torch.optim.AdamW(self.model.parameters(), **options)
        self.loss = self.compiled_loss()
        self.graph = _recorded(self._step) if "graph" in variant else None

    def sizes(self, shape):
        """Columns of the input, and the sizes of the targets."""
        return shape["width"], (shape["iterations"], shape["batch"], shape["width"])

    def compiled_loss(self):
        """The loss of tokens and targets."""
        if "block" not in self.variant:
            return _compiled(self.model.looped_loss, self.variant)
        # The compiler's time grows with the iterations when it gets all of them.
        self.model.iteration_loss = _compiled(self.model.iteration_loss, self.variant)
        return self.model.looped_loss

    def warm_up(self):
        """Before the clock of each turn: the other side has had the caches."""
        self.run()

    def run(self):
        """One step; gives the loss."""
        if not self.graph:
            return self._step()
        graph, loss = self.graph
        graph.replay()
        return loss

    def _step(self):
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


class ArTrainStep(TrainStep):
    """The same of the auto-regressive model: forward over texts, backward, AdamW (fused)."""

    def sizes(self, shape):
        new_tokens = shape["new_tokens"]
        return shape["width"] + new_tokens - 1, (shape["batch"], new_tokens)

    def compiled_loss(self):
        return _compiled(self.model.causal_loss, self.variant)


class LoopedGeneration:
    """All iterations of the looped model, the greedy tokens of each read out."""

    def __init__(self, shape, variant):
        torch.manual_seed(1)
        self.shape, self.variant = shape, variant
        self.model = Transformer(shape, shape["width"], sdpa="sdpa" in variant).eval().to(DEVICE)
        self.tokens = _random_tokens(shape, shape["batch"], shape["width"])
        self.step = _compiled(self.model.pass_and_read, variant)
        whole = lambda: self._write(shape["iterations"])
        self.graph = _recorded(whole) if "graph" in variant else None

    def warm_up(self):
        self.run() if self.graph else self._write(2)

    def run(self):
        if not self.graph:
            return self._write(self.shape["iterations"]).cpu().numpy()
        graph, columns = self.graph
        graph.replay()
        return columns.cpu().numpy()

    @torch.inference_mode()
    def _write(self, iterations):
        with _autocast(self.variant):
            state, columns = self.model.embedding(self.tokens), []
            for _ in range(iterations):
                state, greedy = self.step(state)
                columns.append(greedy)
        return torch.stack(columns)

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
        self.model = Transformer(shape, columns, sdpa="sdpa" in variant).eval().to(DEVICE)
        self.tokens = _random_tokens(shape, shape["batch"], shape["width"])
        heads = shape["heads"]
        dtype = torch.bfloat16 if "bf16" in variant else torch.float32
        size = (shape["layers"], shape["batch"], heads, columns, shape["d_model"] // heads)
        self.keys, self.values = (torch.zeros(size, dtype=dtype, device=DEVICE) for _ in range(2))
        if "static" in variant:
            # Casts of the weights at every token would weigh much.
            self.model = self.model.to(dtype)
            self.at, self.token = torch.zeros(1, dtype=torch.long, device=DEVICE), self.tokens[:, :1].clone()
            self.step = _compiled(self.model.append_static, variant)
            self.graph = _recorded(self._next)
        else:
            # Only the place changes from column to column: the compiler finds that out, and keeps the other sizes fixed.
            self.step = _compiled(self.model.append, variant, dynamic=None)

    @torch.inference_mode()
    def _next(self):
        keys, values = self.keys.unbind(0), self.values.unbind(0)
        self.token.copy_(self.step(self.token, keys, values, self.at))
        return self.token

    @torch.inference_mode()
    def _write_recorded(self, new_tokens):
        graph, token = self.graph
        keys, values = self.keys.unbind(0), self.values.unbind(0)
        token.copy_(self.model.read_prompt(self.tokens, keys, values))
        self.at.fill_(self.shape["width"])
        tokens = [token.clone()]
        for _ in range(new_tokens - 1):
            graph.replay()
            tokens.append(token.clone())
        return torch.cat(tokens, dim=1).cpu().numpy()

    def warm_up(self):
        self._write(min(8, self.shape["new_tokens"]))

    def run(self):
        return self._write(self.shape["new_tokens"])

    @torch.inference_mode()
    def _write(self, new_tokens):
        if "static" in self.variant:
            return self._write_recorded(new_tokens)
        with _autocast(self.variant):
            keys, values = self.keys.unbind(0), self.values.unbind(0)
            tokens = [self.model.read_prompt(self.tokens, keys, values)]
            for at in range(self.shape["width"], self.shape["width"] + new_tokens - 1):
                tokens.append(self.step(tokens[-1], keys, values, at))
        return torch.cat(tokens, dim=1).cpu().numpy()

    def check(self, tokens):
        expected = (self.shape["batch"], self.shape["new_tokens"])
        assert tokens.shape == expected, f"{tokens.shape} where {expected} is right"
        return {"tokens": list(tokens.shape)}


KINDS = {
    "train_step": TrainStep,
    "ar_train_step": ArTrainStep,
    "looped_generation": LoopedGeneration,
    "ar_generation": ArGeneration,
}
