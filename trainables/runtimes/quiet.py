"""Keeps what libraries say of the tools that they are made of off the terminal."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

ROOT = ""
"""The logger of those that use none of their own."""


@contextmanager
def quietly(logger_name: str) -> Iterator[None]:
    """Hides warnings, and of one logger what is less than an error."""
    logger = logging.getLogger(logger_name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
