"""Checkpoints: complete or absent, verified before they are believed. `saving` writes them, `loading` reads them."""
