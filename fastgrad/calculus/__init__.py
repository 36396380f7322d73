"""The rules of Parr & Howard (arXiv 1802.01528) as functions, one a rule, in the paper's order.

=======  =================================================  ====================================
section  rule (formula of the guide's table)                function
=======  =================================================  ====================================
2        c → 0;  c f → c f′;  xⁿ → n xⁿ⁻¹ (3)               `constant_rule`,
                                                            `constant_multiple_rule`, `power_rule`
2        f + g;  f − g;  f g → f g′ + f′ g (3)              `sum_rule`, `difference_rule`,
                                                            `product_rule`
4        gradients as rows → Jacobian (5, 6)                `stack_gradients`
4.1      ∂x/∂x = I (6)                                      `identity_jacobian`
4.2      y = w ○ x, element-wise → diagonal (7, 8)          `elementwise_jacobians`,
                                                            `elementwise_jacobians_diag`
4.3      y = x ○ z, z a scalar (9)                          `scalar_expansion_jacobians`
4.4      y = sum(f(x)) → Σ_i ∂f_i/∂x (10)                   `sum_gradient`, `scaled_sum_gradients`
4.5.1    dy/dx = dy/du · du/dx (11)                         `single_variable_chain`
4.5.2    ∂f/∂x + Σ_i ∂f/∂u_i ∂u_i/∂x (12)                   `total_derivative`
4.5.3    ∂f/∂x = ∂f/∂g · ∂g/∂x, a product of matrices (13)  `vector_chain`; its diagonal case
                                                            (14): `diagonal_chain`
5        z = w·x + b → xᵀ, wᵀ, 1 (15)                       `affine_gradients`
5        max(0, z) → 0 or 1 (16)                            `relu_derivative`
5        max(0, w·x + b) → 0⃗ᵀ or xᵀ, 0 or 1 (17)            `activation_gradients`
=======  =================================================  ====================================

`chain` is 11, 13 and 14 in one, for any number of factors; `affine_jvp`, `affine_vjp`, `relu_jvp`
and `relu_vjp` are products with the Jacobians of whole layers, none of them formed. The loss of
section 6 (18 to 22) is `fastgrad.neuron_loss_and_grad`.

A gradient is an array (n,), a Jacobian an array (m, n) whose rows are gradients (numerator layout);
``layout="denominator"`` means the transpose. A diagonal Jacobian is kept as its diagonal (n,) until
the matrix is asked for. float32 and float64 are kept and never mixed; integers, booleans, Python
numbers and lists take the dtype of the arrays they meet, float64 if there is none. Every returned
array is new. NaN is never hidden, and NumPy's own warnings are left as they are.
"""

from .._core.names import list_public
from .chains import (
    chain,
    diagonal_chain,
    single_variable_chain,
    total_derivative,
    vector_chain,
)
from .jacobians import (
    elementwise_jacobians,
    elementwise_jacobians_diag,
    identity_jacobian,
    scalar_expansion_jacobians,
    scaled_sum_gradients,
    stack_gradients,
    sum_gradient,
)
from .neurons import (
    activation_gradients,
    affine_gradients,
    affine_jvp,
    affine_vjp,
    relu_derivative,
    relu_jvp,
    relu_vjp,
)
from .scalars import (
    constant_multiple_rule,
    constant_rule,
    difference_rule,
    power_rule,
    product_rule,
    sum_rule,
)

__all__ = [
    "activation_gradients",
    "affine_gradients",
    "affine_jvp",
    "affine_vjp",
    "chain",
    "constant_multiple_rule",
    "constant_rule",
    "diagonal_chain",
    "difference_rule",
    "elementwise_jacobians",
    "elementwise_jacobians_diag",
    "identity_jacobian",
    "power_rule",
    "product_rule",
    "relu_derivative",
    "relu_jvp",
    "relu_vjp",
    "scalar_expansion_jacobians",
    "scaled_sum_gradients",
    "single_variable_chain",
    "stack_gradients",
    "sum_gradient",
    "sum_rule",
    "total_derivative",
    "vector_chain",
]
list_public(globals())
