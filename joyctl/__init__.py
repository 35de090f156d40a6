"""joyctl: what is a dataset worth, and how long should it be upsampled?"""

__version__ = "0.1.0"
