"""Played models in place of vLLM's: same module names, fused outputs, slices per rank."""

import torch

LAYERS, HIDDEN, INNER, HEADS, KEYS, SIZE, VOCABULARY = 2, 8, 12, 4, 2, 4, 20
WIDTHS = {"attn_qkv": (HEADS + 2 * KEYS) * SIZE, "attn_out": HIDDEN, "mlp_pre": INNER, "mlp_up": INNER, "mlp_hidden": INNER}
WIDTHS |= {"mlp_out": HIDDEN, "resid": HIDDEN, "embed": HIDDEN}
SITES = tuple(WIDTHS)


def activation(site: str, layer: int, token_ids, positions) -> torch.Tensor:
    """What a model has at a site: a table of tokens, moved a little by the position."""
    table = torch.randn(VOCABULARY, WIDTHS[site], generator=torch.Generator().manual_seed(100 * layer + SITES.index(site)))
    return table.to(token_ids.device)[token_ids] + 0.1 * positions[:, None]


class Played(torch.nn.Module):
    """A module that gives what it is told to."""

    def __init__(self, **facts):
        super().__init__()
        self.output = None
        vars(self).update(facts)

    def forward(self, _):
        return self.output


class PlayedLlama(torch.nn.Module):
    """One rank's part of a Llama as vLLM builds it; `spoilt` replaces outputs of modules, None leaves a module out."""

    def __init__(self, rank=0, n_ranks=1, spoilt=None):
        super().__init__()
        self.rank, self.n_ranks, self.spoilt = rank, n_ranks, spoilt or {}
        self.model = torch.nn.Module()
        self.model.embed_tokens = Played(embedding_dim=HIDDEN)
        self.model.layers = torch.nn.ModuleList()
        for _ in range(LAYERS):
            block = Played()
            block.self_attn, block.mlp = torch.nn.Module(), torch.nn.Module()
            block.self_attn.qkv_proj = Played(total_num_heads=HEADS, total_num_kv_heads=KEYS, head_size=SIZE)
            block.self_attn.o_proj = Played(output_size=HIDDEN)
            block.mlp.gate_up_proj = Played(output_sizes=[INNER, INNER])
            block.mlp.down_proj = Played(input_size=INNER, output_size=HIDDEN)
            self.model.layers.append(block)

    def own(self, value, n_parts=None):
        """This rank's share of some columns; neighbouring ranks share one where there are fewer parts than ranks."""
        n_parts = min(n_parts or self.n_ranks, self.n_ranks)
        return value.chunk(n_parts, dim=1)[self.rank * n_parts // self.n_ranks]

    def play(self, path, output, argument=None):
        output = self.spoilt.get(path, output)
        if output is not None:
            module = self.get_submodule(path)
            module.output = output
            module(argument)

    def forward(self, input_ids, positions):
        def at(site, layer):
            return activation(site, layer, input_ids, positions)

        self.play("model.embed_tokens", at("embed", 0))
        for layer in range(LAYERS):
            block = f"model.layers.{layer}"
            q, k, v = at("attn_qkv", layer).split([HEADS * SIZE, KEYS * SIZE, KEYS * SIZE], dim=1)
            qkv = torch.cat([self.own(q), self.own(k, KEYS), self.own(v, KEYS)], dim=1)
            self.play(f"{block}.self_attn.qkv_proj", (qkv, None))
            self.play(f"{block}.self_attn.o_proj", (at("attn_out", layer), None))
            gate_up = torch.cat([self.own(at("mlp_pre", layer)), self.own(at("mlp_up", layer))], dim=1)
            self.play(f"{block}.mlp.gate_up_proj", (gate_up, None))
            self.play(f"{block}.mlp.down_proj", (at("mlp_out", layer), None), self.own(at("mlp_hidden", layer)))
            hidden, residual = torch.full((len(input_ids), HIDDEN), 3.0, device=input_ids.device), at("resid", layer) - 3.0
            self.play(block, (hidden, residual))
            # vLLM's next block overwrites both
            hidden.fill_(torch.nan)
            residual.fill_(torch.nan)
        return torch.nn.functional.one_hot(input_ids, VOCABULARY).float()

    def compute_logits(self, hidden):
        return 2.0 * hidden if self.rank == 0 else None
