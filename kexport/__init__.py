"""kexport: ahead-of-time export and deployment of Keras Applications, with proof."""

__version__ = "0.1.0"
