"""Fakes that are blended of reals while a detector trains."""
