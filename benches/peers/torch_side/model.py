"""The block of RELAY's models in PyTorch: pre-norm layers, RoPE (rotate-half), exact GELU, no bias in attention.

Written to be fast in PyTorch: queries, keys and values come from one product, and attention is either spelled out or
PyTorch's own `scaled_dot_product_attention`.
"""

import torch
import torch.nn.functional as F
from torch import nn


def rope_tables(width, head_dim, base=10000.0):
    """Cosines and sines `[width, head_dim]`."""
    half = head_dim // 2
    wavelengths = base ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(width, dtype=torch.float64)[:, None] * wavelengths[None, :]
    angles = torch.cat([angles, angles], dim=1)
    return angles.cos().float(), angles.sin().float()


def rotate(x, cos, sin):
    """Rotary embedding of `[..., head_dim]`."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin


class Layer(nn.Module):
    """`x1 = x + attention(norm(x))`, then `x1 + mlp(norm(x1))`."""

    def __init__(self, d_model, heads, sdpa):
        super().__init__()
        self.heads, self.head_dim, self.sdpa = heads, d_model // heads, sdpa
        self.norm_attention = nn.LayerNorm(d_model)
        self.query_key_value = nn.Linear(d_model, 3 * d_model, bias=False)
        self.output = nn.Linear(d_model, d_model, bias=False)
        self.norm_mlp = nn.LayerNorm(d_model)
        self.up = nn.Linear(d_model, 4 * d_model)
        self.down = nn.Linear(4 * d_model, d_model)

    def split(self, x):
        """Queries, keys and values `[batch, heads, width, head_dim]`."""
        batch, width, _ = x.shape
        x = self.query_key_value(self.norm_attention(x))
        return x.view(batch, width, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)

    def attend(self, query, key, value, causal):
        """Attention; only a square one may be causal."""
        if self.sdpa:
            return F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        scores = query @ key.transpose(-1, -2) * self.head_dim**-0.5
        if causal:
            width = query.shape[2]
            hidden = torch.ones(width, width, dtype=torch.bool, device=query.device).triu(1)
            scores = scores.masked_fill(hidden, float("-inf"))
        return scores.softmax(-1) @ value

    def finish(self, x, attention):
        """Output product and perceptron."""
        x = x + self.output(attention.transpose(1, 2).reshape(x.shape))
        return x + self.down(F.gelu(self.up(self.norm_mlp(x))))

    def forward(self, x, cos, sin, causal=False):
        query, key, value = self.split(x)
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        return self.finish(x, self.attend(query, key, value, causal))

    def read_prompt(self, x, cos, sin, keys, values):
        """A causal pass that fills the caches."""
        query, key, value = self.split(x)
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        width = x.shape[1]
        keys[:, :, :width], values[:, :, :width] = key, value
        return self.finish(x, self.attend(query, key, value, True))

    def append_static(self, x, cos, sin, keys, values, at, seen):
        """One new column, at place `at` on the device, with the whole of the caches read and hidden where not `seen`."""
        query, key, value = self.split(x)
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        keys.index_copy_(2, at, key)
        values.index_copy_(2, at, value)
        if self.sdpa:
            return self.finish(x, F.scaled_dot_product_attention(query, keys, values, attn_mask=seen))
        scores = (query @ keys.transpose(-1, -2) * self.head_dim**-0.5).masked_fill(~seen, float("-inf"))
        return self.finish(x, scores.softmax(-1) @ values)

    def append(self, x, cos, sin, keys, values, at):
        """One new column, at place `at`, that sees all before it."""
        query, key, value = self.split(x)
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        keys[:, :, at : at + 1], values[:, :, at : at + 1] = key, value
        return self.finish(x, self.attend(query, keys[:, :, : at + 1], values[:, :, : at + 1], False))


class Transformer(nn.Module):
    """Embedding, layers, final norm and one head: looped or causal by what is called."""

    def __init__(self, shape, width, sdpa):
        super().__init__()
        d_model, heads = shape["d_model"], shape["heads"]
        self.embedding = nn.Embedding(shape["vocab"], d_model)
        self.layers = nn.ModuleList(Layer(d_model, heads, sdpa) for _ in range(shape["layers"]))
        self.norm_final = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, shape["vocab"])
        cos, sin = rope_tables(width, d_model // heads)
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)
        nn.init.normal_(self.embedding.weight, std=0.5)

    def iterate(self, state):
        """One pass of the block over `[batch, width, d_model]`."""
        width = state.shape[1]
        for layer in self.layers:
            state = layer(state, self.cos[:width], self.sin[:width])
        return state

    def readout(self, state):
        """Logits of every column."""
        return self.head(self.norm_final(state))

    def looped_loss(self, tokens, targets):
        """Mean cross-entropy over all iterations and columns; `targets` is `[iterations, batch, width]`."""
        state, total = self.embedding(tokens), 0.0
        for target in targets.unbind(0):
            state, loss = self.iteration_loss(state, target)
            total = total + loss
        return total / targets.shape[0]

    def iteration_loss(self, state, target):
        """One iteration, and the mean cross-entropy of its columns."""
        state = self.iterate(state)
        logits = self.readout(state)
        return state, F.cross_entropy(logits.flatten(0, 1).float(), target.flatten())

    def causal_loss(self, tokens, targets):
        """Mean cross-entropy of `targets`, the next tokens of the last columns of `tokens`."""
        state, width = self.embedding(tokens), tokens.shape[1]
        for layer in self.layers:
            state = layer(state, self.cos[:width], self.sin[:width], causal=True)
        logits = self.readout(state[:, -targets.shape[1] :])
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

    def pass_and_read(self, state):
        """One iteration, and the most probable token of every column."""
        state = self.iterate(state)
        return state, self.readout(state).argmax(-1)

    def read_prompt(self, tokens, keys, values):
        """Fills the caches; the most probable next tokens `[batch, 1]`."""
        x, width = self.embedding(tokens), tokens.shape[1]
        for layer, key, value in zip(self.layers, keys, values):
            x = layer.read_prompt(x, self.cos[:width], self.sin[:width], key, value)
        return self.readout(x[:, -1:]).argmax(-1)

    def append(self, tokens, keys, values, at):
        """Adds a column of tokens `[batch, 1]` at place `at`; the most probable next ones."""
        x = self.embedding(tokens)
        for layer, key, value in zip(self.layers, keys, values):
            x = layer.append(x, self.cos[at : at + 1], self.sin[at : at + 1], key, value, at)
        return self.readout(x).argmax(-1)

    def append_static(self, tokens, keys, values, at):
        """As `append`, with `at` a tensor, so that every column is the same work for the device; `at` moves on."""
        x = self.embedding(tokens)
        cos, sin = self.cos.index_select(0, at), self.sin.index_select(0, at)
        seen = (torch.arange(keys[0].shape[2], device=at.device) <= at).view(1, 1, 1, -1)
        for layer, key, value in zip(self.layers, keys, values):
            x = layer.append_static(x, cos, sin, key, value, at, seen)
        greedy = self.readout(x).argmax(-1)
        at.add_(1)
        return greedy
