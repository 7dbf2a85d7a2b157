"""Finite elements on meshes: scikit-fem gives elements, numbering and quadrature, the sums are differentiable."""
