"""Minimisers of 1/2 |r(θ)|² for one problem at a time: any ansatz with a residual vector can use them."""
