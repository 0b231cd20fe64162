"""Where tokens are counted as active the way LAPE does it: where the value is above 0 iff the activation function's output is.

LAPE (Tang et al. 2024) counts tokens with act(x) > 0. In a plain MLP that is `mlp_hidden`. In a gated one, act(gate) * up, the
published code counts act(gate), before the product: `mlp_hidden` is above 0 as often as the two branches agree in sign, which is
another question. act(gate) itself is no site, but its input is, and for most activation functions both are above 0 together.
"""

from __future__ import annotations

from actlas.extract.sites.families import family_of

#: Activation functions, as transformers calls them, whose output is above 0 iff their input is. In half precision some round the
#: smallest subnormal numbers to 0, which are no activations that occur.
SIGN_KEEPING = frozenset(
    {
        *("gelu", "gelu_10", "gelu_fast", "gelu_new", "gelu_python", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_accurate"),
        *("quick_gelu", "silu", "swish", "mish", "hardswish", "relu", "relu6", "leaky_relu", "linear", "tanh"),
    }
)


def is_gated(architecture: str) -> bool:
    """Whether the MLP of a known architecture multiplies its activation function's output with a second, linear branch.

    Example:
        >>> is_gated("LlamaForCausalLM"), is_gated("BloomForCausalLM")
        (True, False)
    """
    family = family_of(architecture)
    return family is not None and "mlp_up" in family.sites


def lape_site(architecture: str, activation: str | None) -> str | None:
    """The site whose values are above 0 iff the activation function's output is.

    Args:
        architecture: Class name from config.json.
        activation: Name of the activation function there; of no interest where the MLP is not gated.

    Returns:
        The site; None for an architecture that is not known, and where no site is above 0 at just these tokens.

    Source: Tang et al. 2024, and its published code.

    Example:
        >>> lape_site("BloomForCausalLM", None), lape_site("LlamaForCausalLM", "silu"), lape_site("LlamaForCausalLM", "sigmoid")
        ('mlp_hidden', 'mlp_pre', None)
    """
    if is_gated(architecture):
        return "mlp_pre" if activation in SIGN_KEEPING else None
    return "mlp_hidden" if family_of(architecture) is not None else None
