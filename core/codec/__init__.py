"""The codec that turns speech into codes and back: shape, modules and weights' file format apart."""
