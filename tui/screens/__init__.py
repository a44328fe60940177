"""Screens: the start page, a project, and what is laid over them."""
