"""Moving Gaussians as a basis: closed-form derivatives, layouts, rows, and the expert made of them."""
