"""Linear algebra: batched block-sparse factorisations."""
