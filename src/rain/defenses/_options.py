"""Checks of options that several defences have."""

from rain.options import check_integer as check_integer
from rain.options import check_number as check_number
from rain.options import check_odd as check_odd
