"""DeepXDE's PINN on Helmholtz for a given time, in a process of its own: its import changes global state.

    python deepxde_pinn.py SECONDS SEED

Prints {"error", "steps", "seconds"} as JSON.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time


def main(budget: float, seed: int) -> dict[str, float]:
    """Relative L2 error on a uniform grid after Adam for a time."""
    os.environ["DDE_BACKEND"] = "pytorch"
    os.environ.pop("OMPI_COMM_WORLD_SIZE", None)
    import deepxde as dde
    import numpy as np
    import torch

    dde.config.set_random_seed(seed)
    dde.config.set_default_float("float32")
    squares = 17.0 * math.pi**2

    def residual(x, u):
        u_xx = dde.grad.hessian(u, x, i=0, j=0)
        u_yy = dde.grad.hessian(u, x, i=1, j=1)
        wave = torch.sin(math.pi * x[:, :1]) * torch.sin(4.0 * math.pi * x[:, 1:])
        return u_xx + u_yy + u - (1.0 - squares) * wave

    square = dde.geometry.Rectangle([-1.0, -1.0], [1.0, 1.0])
    zero = dde.icbc.DirichletBC(square, lambda x: 0.0, lambda _, on: on)
    data = dde.data.PDE(square, residual, zero, num_domain=2000, num_boundary=400)
    model = dde.Model(data, dde.nn.FNN([2, 64, 64, 64, 1], "tanh", "Glorot uniform"))
    model.compile("adam", lr=1e-3, loss_weights=[1.0, 100.0])
    began = time.perf_counter()

    class Stop(dde.callbacks.Callback):
        def on_epoch_end(self) -> None:
            if time.perf_counter() - began > budget:
                self.model.stop_training = True

    _, state = model.train(iterations=10**7, callbacks=[Stop()], display_every=10**7, verbose=0)
    seconds = time.perf_counter() - began
    nodes = np.linspace(-1.0, 1.0, 101)
    x, y = np.meshgrid(nodes, nodes, indexing="ij")
    exact = np.sin(math.pi * x) * np.sin(4.0 * math.pi * y)
    found = model.predict(np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)).reshape(x.shape)
    error = float(np.linalg.norm(found - exact) / np.linalg.norm(exact))
    return {"error": error, "steps": float(state.step), "seconds": seconds}


if __name__ == "__main__":
    print("RESULT " + json.dumps(main(float(sys.argv[1]), int(sys.argv[2]))))
