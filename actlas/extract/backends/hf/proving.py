"""Proves the sites of one loaded model on a few tokens: each is computed out of others, or put into another run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers.activations import ACT2FN

from actlas.errors import NotFiniteValues
from actlas.extract.backends.hf import identities
from actlas.extract.backends.hf.hooks import present
from actlas.extract.backends.hf.identities import IMPOSSIBLE, distance
from actlas.extract.backends.hf.recording import Recorded, Texts, record, replaced
from actlas.extract.backends.taps import TapKey, has_module
from actlas.extract.sites.families import Family, known_sites
from actlas.extract.sites.proofs import Proof, limit_of, worst_by_site
from actlas.extract.sites.resolve import SiteMap, site_map
from actlas.extract.sites.streams import setting
from actlas.names import CapturePoint

#: Tokens of a text, and the one whose queries and keys are changed.
_LENGTH, _CHANGED = 6, 3
#: What queries are made as large as, so that they choose among keys whatever a model's weights are like; and the most.
_CHOOSING, _LARGEST = 30.0, 1000.0
#: Site, layer, name of the proof, figure.
Figure = tuple[str, int, str, float]


@dataclass(frozen=True)
class Prover:
    """The sites of one model.

    Attributes:
        model: The model, with its head if it has one.
        base: The model without its head.
        family: Which family it is of.
        places: Every site of the family that the model has.
        layers: Paths of its blocks.
        prefix: Path of the base model inside the model, with a dot behind it; empty for the model itself.
        compute_dtype: What it computes in.
        pad_id: Fills texts up.
        device: Where it is.
    """

    model: Any
    base: Any
    family: Family
    places: SiteMap
    layers: tuple[str, ...]
    prefix: str
    compute_dtype: str
    pad_id: int
    device: torch.device

    @classmethod
    def of(
        cls,
        model: Any,
        architecture: str,
        family: Family,
        compute_dtype: str,
        pad_id: int,
        device: torch.device,
        *,
        has_head: bool,
        site_modules: Mapping[str, str] | None = None,
    ) -> Prover:
        """The prover of a loaded model; sites that it does not have are passed over, sites named by hand are not."""
        n_layers = int(model.config.get_text_config().num_hidden_layers)
        by_hand = site_modules or {}
        sites = [*known_sites(family), *(site for site in by_hand if site not in known_sites(family))]
        places = present(site_map(architecture, n_layers, sites, by_hand, has_head=has_head), model)
        there = {
            site: points
            for site, points in places.points.items()
            if site in by_hand or all(has_module(model, path) for point in points for path in point.modules)
        }
        prefix = f"{family.prefix}." if has_head else ""
        layers = tuple(f"{prefix}{family.layers_path}.{layer}" for layer in range(n_layers))
        places = SiteMap(there, places.layouts, places.takes_first)
        return cls(model, model.base_model, family, places, layers, prefix, compute_dtype, pad_id, device)

    @property
    def _config(self) -> Any:
        return self.model.config.get_text_config()

    def prove(self, *, is_full: bool = True) -> list[Proof]:
        """Every proof that the sites of the model allow.

        Args:
            is_full: Also run texts alone and padded on either side, which costs a pass for each.

        Returns:
            For every site and proof the layer in which it holds least.

        Raises:
            NotFiniteValues: If the model gives NaN or infinity, of which nothing can be proved.
        """
        first = self._record(self._texts(), self._keys())
        for (path, side), values in first.values.items():
            if not bool(values[first.texts.mask.bool()].isfinite().all()):
                raise NotFiniteValues(
                    f"the {side} of {path} is NaN or infinite for some tokens of the vocabulary; nothing is proved"
                )
        figures = [*self._counts(first)]
        if all(map(first.has, self._points())):
            figures += [*self._widths(first), *self._embedding(first)]
            there = self.places.points.keys()
            if {"mlp_pre", "mlp_hidden", "mlp_out"} <= there:
                figures += self._mlp(first)
            if {"attn_out", "mlp_out"} <= there:
                figures += self._streams(first)
            if {"attn_qkv", "attn_out"} <= there:
                figures += [*self._values(first), *self._replays(first)]
            if is_full:
                figures += self._paddings()
        n_layers = len(self.layers)
        return worst_by_site(
            Proof(site, name, layer, figure, limit_of(name, self.compute_dtype, n_layers))
            for site, layer, name, figure in figures
        )

    def widths(self) -> dict[TapKey, int]:
        """How wide the values of every module and side are that a site is read from, in the order in which they run."""
        keys = dict.fromkeys((path, point.side) for point in self._points() for path in point.modules)
        recorded = self._record(self._texts(), keys)
        return {key: values.shape[-1] for key, values in recorded.values.items()}

    def _points(self) -> Iterator[CapturePoint]:
        return (point for points in self.places.points.values() for point in points)

    def _lists(self, lengths: tuple[int, ...], seed: int) -> list[list[int]]:
        """Token ids from all over the vocabulary, none of which fills up texts."""
        generator = torch.Generator().manual_seed(seed)
        n_tokens = int(self._config.vocab_size)
        drawn = [torch.randint(n_tokens - 1, (length,), generator=generator) for length in lengths]
        return [(ids + (ids >= self.pad_id)).tolist() for ids in drawn]

    def _texts(self, seed: int = 0) -> Texts:
        return Texts.of(self._lists((_LENGTH, _LENGTH, _LENGTH, 1), seed), self.pad_id, self.device)

    def _record(self, texts: Texts, keys: dict[TapKey, None]) -> Recorded:
        return record(
            self.model, keys, self.places.takes_first, texts, lambda texts: texts.run(self.base, self.family.rules.embedding)
        )

    def _keys(self) -> dict[TapKey, None]:
        """Everything that is read: sites, what blocks take, and what else is added to the stream."""
        rules = self.family.rules
        keys = dict.fromkeys((path, point.side) for point in self._points() for path in point.modules)
        keys |= dict.fromkeys((path, "input") for path in self.layers)
        beside = [f"{self.prefix}{path}" for path in rules.embedding.added]
        beside += [f"{layer}.{path}" for layer in self.layers for path in rules.stream_of(self._config).added]
        return keys | dict.fromkeys((path, "output") for path in beside if has_module(self.model, path))

    def _module(self, path: str) -> Any:
        """A module by its path; None where the model has none."""
        return self.model.get_submodule(path) if has_module(self.model, path) else None

    def _map_of(self, site: str, layer: int) -> Any:
        """The module whose output is a site."""
        return self.model.get_submodule(self.places.points[site][layer].modules[0])

    # -- counts ----------------------------------------------------------------------------------------------------------------

    def _counts(self, first: Recorded) -> Iterator[Figure]:
        n_blocks = len(self.model.get_submodule(f"{self.prefix}{self.family.layers_path}"))
        for site, points in self.places.points.items():
            if site != "embed":
                yield site, len(points) - 1, "layers", float(abs(n_blocks - len(points)))
            for point in points:
                times = [first.n_reached[path, point.side] for path in point.modules]
                yield site, point.layer, "once", float(max(abs(n - 1) for n in times))

    def _widths(self, first: Recorded) -> Iterator[Figure]:
        for point in self._points():
            expected = self._width(point)
            if expected is not None:
                yield point.site, point.layer, "width", float(abs(first.point(point).shape[-1] - expected))

    def _width(self, point: CapturePoint) -> int | None:
        """How many neurons a site has, by the configuration and by the weights that take them."""
        config, rules, site = self._config, self.family.rules, point.site
        if site in ("mlp_pre", "mlp_up", "mlp_hidden"):
            return _takes(self._map_of("mlp_out", point.layer)) if "mlp_out" in self.places.points else None
        if site in ("attn_out", "mlp_out", "resid"):
            return int(config.hidden_size)
        if site == "embed":
            return int(self.model.get_input_embeddings().weight.shape[1])
        if site != "attn_qkv" or "attn_out" not in self.places.points:
            return None
        n_heads = int(config.num_attention_heads)
        if rules.heads == "latent":
            query = config.qk_nope_head_dim + config.qk_rope_head_dim
            return int(n_heads * query + config.kv_lora_rank + config.qk_rope_head_dim)
        return (n_heads + 2 * rules.n_key_heads(config)) * (_takes(self._map_of("attn_out", point.layer)) // n_heads)

    # -- identities within one run ---------------------------------------------------------------------------------------------

    def _mlp(self, first: Recorded) -> Iterator[Figure]:
        points = self.places.points
        activation = self._activation()
        for layer in range(len(self.layers)):
            hidden = first.point(points["mlp_hidden"][layer])
            pre = first.point(points["mlp_pre"][layer])
            up = first.point(points["mlp_up"][layer]) if "mlp_up" in points else None
            figure = IMPOSSIBLE
            if up is None or up.shape == pre.shape:
                figure = distance(hidden, *identities.gated(activation, pre, up))
            for site in ("mlp_pre", "mlp_up", "mlp_hidden"):
                if site in points:
                    yield site, layer, "activation", figure
            expected = identities.linear(self._map_of("mlp_out", layer), hidden)
            figure = IMPOSSIBLE if expected is None else distance(first.point(points["mlp_out"][layer]), *expected)
            for site in ("mlp_hidden", "mlp_out"):
                yield site, layer, "down", figure

    def _activation(self) -> Callable[[torch.Tensor], torch.Tensor]:
        name = self.family.rules.activation
        function: Callable[[torch.Tensor], torch.Tensor] = ACT2FN[
            name.removeprefix("=") if name.startswith("=") else setting(self._config, name)
        ]
        return function

    def _streams(self, first: Recorded) -> Iterator[Figure]:
        resid = self.places.points["resid"]
        for layer in range(len(self.layers)):
            got = first.point(resid[layer])
            figure = distance(got, *self._next(first, layer))
            for site in ("attn_out", "mlp_out", "resid"):
                yield site, layer, "stream", figure
            if layer + 1 < len(self.layers):
                yield "resid", layer, "chain", distance(first.at(self.layers[layer + 1], "input"), got)

    def _next(self, first: Recorded, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The stream behind a block, and the sizes of what it is a sum of."""
        stream, path = self.family.rules.stream_of(self._config), self.layers[layer]

        def through(norm: str, values: torch.Tensor) -> torch.Tensor:
            module = self._module(f"{path}.{norm}") if norm else None
            result: torch.Tensor = values if module is None else module(values)
            return result

        factor = setting(self._config, stream.multiplier) if stream.multiplier else 1.0
        attn, mlp = (first.point(self.places.points[site][layer]) for site in ("attn_out", "mlp_out"))
        attn, mlp = through(stream.attn_norm, attn) * factor, through(stream.mlp_norm, mlp) * factor
        before = through(stream.start, first.at(path, "input"))
        if attn.shape != before.shape or mlp.shape != before.shape:
            return before[..., :0], before[..., :0]
        terms = [through(stream.middle, before + attn)] if stream.middle else [before, attn]
        terms.append(mlp)
        terms += [first.at(f"{path}.{name}") for name in stream.added if (f"{path}.{name}", "output") in first.values]
        if stream.end:
            expected = through(stream.end, terms[0] + terms[1])
            return expected, expected
        expected, sizes = identities.total(terms)
        block = self.model.get_submodule(path)
        scale = getattr(block, stream.scale) if stream.scale else torch.ones(1, device=self.device)
        return expected * scale, sizes * scale.abs()

    def _embedding(self, first: Recorded) -> Iterator[Figure]:
        rule = self.family.rules.embedding
        (point,) = self.places.points["embed"]
        embed, weight = first.point(point), self.model.get_input_embeddings().weight
        rows = weight.detach()[first.texts.token_ids[first.texts.mask.bool()]]
        is_scaled = rule.scale == "root" or bool(rule.scale and setting(self._config, rule.scale))
        yield "embed", 0, "rows", distance(embed, rows.to(torch.float64) * (rows.shape[-1] ** 0.5 if is_scaled else 1.0))
        values = embed * setting(self._config, rule.factor) if rule.factor else embed
        through = self._module(f"{self.prefix}{rule.through}")
        values = values if through is None else through(values)
        added = [f"{self.prefix}{path}" for path in rule.added]
        terms = [values, *(first.at(path) for path in added if (path, "output") in first.values)]
        expected, sizes = identities.total(terms)
        if (norm := self._module(f"{self.prefix}{rule.norm}")) is not None:
            expected = norm(expected.to(values.dtype))
            # it makes what is small as large as what is large
            sizes = expected.abs() + norm.weight.detach().abs()
        yield "embed", 0, "start", distance(first.at(self.layers[0], "input"), expected, sizes)

    def _values(self, first: Recorded) -> Iterator[Figure]:
        config, rules = self._config, self.family.rules
        if rules.heads == "latent":
            return
        n_heads, mask = int(config.num_attention_heads), first.texts.mask.bool()
        sees_itself = mask.clone()
        # a text of one token, and where tokens do not see later ones, the first of every text
        sees_itself[:, 1:] = False
        if not self.family.is_causal:
            sees_itself[mask.sum(1) > 1] = False
        clip = setting(config, rules.clip)
        for layer in range(len(self.layers)):
            qkv, out = (first.whole(self.places.points[site][layer])[sees_itself] for site in ("attn_qkv", "attn_out"))
            module = self._map_of("attn_out", layer)
            values = identities.values_of(qkv, rules.heads, n_heads, rules.n_key_heads(config), _takes(module) // n_heads)
            expected = None
            if values is not None:
                expected = identities.linear(module, values if clip is None else values.clamp(-clip, clip))
            figure = IMPOSSIBLE if expected is None else distance(out, *expected)
            for site in ("attn_qkv", "attn_out"):
                yield site, layer, "values", figure

    # -- replacing queries, keys and values in another run ---------------------------------------------------------------------

    def _replays(self, first: Recorded) -> Iterator[Figure]:
        """What was read under `attn_qkv`, set in a run on other tokens: as it was, with other queries, with other keys."""
        points = self.places.points
        new = {}
        for point in points["attn_qkv"]:
            changed = self._changed(first.whole(point), point.layer)
            widths = [first.values[path, point.side].shape[-1] for path in point.modules]
            for path, values in zip(point.modules, torch.split(changed, widths, dim=-1), strict=True):
                new[path, point.side] = values
        # what the output projection takes changes even where its weights are zero, as some begin training
        taken = {point.layer: (point.modules[0], "input") for point in points["attn_out"]}
        outs = dict.fromkeys([*taken.values(), *((path, each.side) for each in points["attn_out"] for path in each.modules)])
        with replaced(self.model, new):
            again = self._record(self._texts(seed=1), outs)
        for point in points["attn_out"]:
            old, out = first.whole(point), again.whole(point)
            same = torch.cat([out[0], out[-1:, 0]]), torch.cat([old[0], old[-1:, 0]])
            for site in ("attn_qkv", "attn_out"):
                yield site, point.layer, "replay", distance(*same)
            seen = again.values[taken[point.layer]]
            yield "attn_qkv", point.layer, "queries", _spread(seen[1] - seen[0], slice(_CHANGED, _CHANGED + 1))
            if self.family.is_causal:
                yield "attn_qkv", point.layer, "keys", _spread(seen[2] - seen[0], slice(_CHANGED, None))

    def _changed(self, qkv: torch.Tensor, layer: int) -> torch.Tensor:
        """Of the first text in place of all: as it was; with other queries at one token; with other keys and values there."""
        config, rules = self._config, self.family.rules
        n_heads, width = int(config.num_attention_heads), qkv.shape[-1]
        query_width = _takes(self._map_of("attn_out", layer)) // n_heads
        if rules.heads == "latent":
            query_width = config.qk_nope_head_dim + config.qk_rope_head_dim
        is_query = identities.is_query(rules.heads, n_heads, rules.n_key_heads(config), query_width, width).to(qkv.device)
        changed = qkv.clone()
        changed[1], changed[2] = qkv[0], qkv[0]
        other = qkv[1, _CHANGED]
        sizes = [float(qkv[0][:, part].float().square().mean().sqrt()) for part in (is_query, ~is_query)]
        larger = min(_LARGEST, _CHOOSING / max(sizes[1], 1e-9)) / max(sizes[0], 1e-9)
        changed[1, _CHANGED] = torch.where(is_query, (other.float() * larger).to(qkv.dtype), qkv[0, _CHANGED])
        changed[2, _CHANGED] = torch.where(is_query, qkv[0, _CHANGED], other)
        return changed

    # -- runs alone, together, and padded --------------------------------------------------------------------------------------

    def _paddings(self) -> Iterator[Figure]:
        keys = dict.fromkeys((path, point.side) for point in self._points() for path in point.modules)
        lists = self._lists((_LENGTH, 4, 2, 1), seed=2)
        alone = [self._record(Texts.of([ids], self.pad_id, self.device), keys) for ids in lists]
        for side in ("right", "left"):
            together = self._record(Texts.of(lists, self.pad_id, self.device, side=side), keys)
            for point in self._points():
                expected = torch.cat([each.point(point) for each in alone])
                yield point.site, point.layer, side, _typical(together.point(point), expected)


def _takes(module: Any) -> int:
    """How many neurons a linear map takes; 0 for what is none."""
    weight = getattr(module, "weight", None)
    if weight is None or weight.ndim != 2:
        return 0
    return int(weight.shape[0] if hasattr(module, "nf") else weight.shape[1])


def _spread(change: torch.Tensor, where: slice) -> float:
    """How large a change ``"tokens neurons"`` is beyond some tokens, relative to how large it is there; NaN for no change."""
    sizes = change.float().abs().amax(-1)
    inside = float(sizes[where].max())
    sizes[where] = 0.0
    return float(sizes.max()) / inside if inside else float("nan")


def _typical(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Difference of two runs, relative to how large each neuron is, over all neurons and tokens."""
    got, expected = got.double(), expected.double()
    sizes = expected.square().mean(0).sqrt()
    sizes = sizes + 0.1 * sizes.median() + torch.finfo(torch.float32).tiny
    return float(((got - expected) / sizes).square().mean().sqrt())
