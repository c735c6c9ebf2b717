"""A dense layer on what several models predict, fitted by logistic regression."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax


def fitted(features: np.ndarray, labels: np.ndarray, classes: int, *, l2: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Returns the kernel [d, C] and the bias [C] of least Σ cross-entropy + l2/2 |kernel|².

    Args:
      features: [N, d].
      labels: Whole numbers [N] below C.
      classes: C.
      l2: The strength of the regularisation.
    """
    x, wanted = np.asarray(features, np.float64), np.eye(classes)[labels]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        kernel, bias = np.split(flat.reshape(-1, classes), [x.shape[1]])
        logs = log_softmax(x @ kernel + bias, -1)
        slope = np.exp(logs) - wanted
        value = -(wanted * logs).sum() + l2 / 2 * (kernel**2).sum()
        return value, np.concatenate([x.T @ slope + l2 * kernel, slope.sum(0, keepdims=True)]).reshape(-1)

    found = minimize(loss, np.zeros((x.shape[1] + 1) * classes), jac=True, method="L-BFGS-B", options={"maxiter": 2000})
    kernel, bias = np.split(found.x.reshape(-1, classes), [x.shape[1]])
    return kernel, bias[0]
