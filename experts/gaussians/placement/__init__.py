"""Where Gaussians stand and how wide they are: fixed, trained, added and removed, or drawn by a density."""
