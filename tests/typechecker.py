"""Checks annotations at run time, with whole numbers where fractions are wanted, as Python's own typing has them."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
