"""Geometric multigrid on structured grids, and algebraic multigrid for meshes."""
