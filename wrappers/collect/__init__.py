"""Ordinary wrappers that find out what shapers read: put them inside, ``shape(Counterfactual(game), [...])``."""
