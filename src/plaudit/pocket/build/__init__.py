"""Builds the pocket models from nothing; see `recipe.build`."""
