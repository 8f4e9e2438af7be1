"""Matrix FLOPs of a program, counted in its jaxpr.

XLA counts a scanned body once and adds elementwise work, so its count is no base for a utilisation
figure. Here every `dot_general` and convolution counts 2 x multiply-adds, times the length of the
scans around it. cuDNN's fused attention counts as the matrix products that it replaces. The shifted
products of a depthwise convolution on a CPU are no matrix products and do not count.
"""

import math
from typing import Any

from jax.extend import core

# Products of queries and tokens in cuDNN's attention and in its gradient. The gradient computes the
# scores again, which is not counted.
_FUSED_ATTENTION = {
    "dot_product_attention_fwd_wrapper": 2,
    "dot_product_attention_bwd_wrapper": 4,
}


def matrix_flops(jaxpr: core.Jaxpr | core.ClosedJaxpr, recomputed: bool = False) -> int:
    """Floating-point operations of all matrix products in `jaxpr`, nested programs included.

    With `recomputed` also those that `jax.checkpoint` computes again for gradients: they are work
    of the device, but not of the model.
    """
    return sum(_flops(equation, recomputed) for equation in jaxpr.eqns)


def _flops(equation: core.JaxprEqn, recomputed: bool) -> int:
    times = equation.params["length"] if equation.primitive.name == "scan" else 1
    inside = 0
    for value in equation.params.values():
        for inner in value if isinstance(value, tuple | list) else (value,):
            if isinstance(inner, core.ClosedJaxpr):
                inner = inner.jaxpr
            if isinstance(inner, core.Jaxpr):
                again = equation.params.get("differentiated", False) and not recomputed
                equations = _of_gradient(inner) if again else inner.eqns
                inside += sum(_flops(one, recomputed) for one in equations)
    return _equation_flops(equation) + times * inside


def _of_gradient(jaxpr: core.Jaxpr) -> list[core.JaxprEqn]:
    """Under `jax.checkpoint`, what depends on the cotangent: the last input. The rest is known."""
    depends, kept = {jaxpr.invars[-1]}, []
    for equation in jaxpr.eqns:
        if any(not isinstance(x, core.Literal) and x in depends for x in equation.invars):
            depends.update(equation.outvars)
            kept.append(equation)
    return kept


def _equation_flops(equation: core.JaxprEqn) -> int:
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        left = _shape(equation.invars[0])
        output = math.prod(_shape(equation.outvars[0]))
        return 2 * output * math.prod(left[axis] for axis in contracted)
    if equation.primitive.name == "conv_general_dilated":
        kernel = _shape(equation.invars[1])
        output = math.prod(_shape(equation.outvars[0]))
        features = equation.params["dimension_numbers"].rhs_spec[0]
        inserted = math.prod(equation.params["lhs_dilation"])  # zeros between pixels, not worked on
        return 2 * output * math.prod(kernel) // kernel[features] // inserted
    if equation.primitive.name in _FUSED_ATTENTION:
        batch, queries, heads, width = _shape(equation.invars[0])
        product = 2 * batch * heads * queries * _shape(equation.invars[1])[1] * width
        return _FUSED_ATTENTION[equation.primitive.name] * product
    return 0


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape
