"""The steps of published scripts, written down plainly, for tests to compare with."""

import torch


def language_sets(over_zero, n, share=0.01, quantile=0.95):
    """LAPE (Tang et al. 2024): language -> {(layer, neuron)} from counts "layers neurons languages" and tokens per language.

    Of equal entropies the published script takes any; here, as in ours, those of the lower index.
    """
    p = over_zero.double() / n
    shares = torch.nan_to_num(p / p.sum(-1, keepdim=True))
    entropy = torch.special.entr(shares).sum(-1)
    bar = p.flatten().kthvalue(round(p.numel() * quantile)).values
    entropy[(p > bar).sum(-1) == 0] = torch.inf
    chosen = entropy.flatten().round(decimals=12).argsort(stable=True)[: round(entropy.numel() * share)].tolist()
    places = [divmod(index, p.shape[1]) for index in chosen]
    return [{place for place in places if p[(*place, language)] > bar} for language in range(p.shape[2])]
