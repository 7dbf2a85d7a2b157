"""The Lagrangian expert: transport on its characteristics, and the branches that it is made of."""
