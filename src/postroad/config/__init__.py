"""Ground: options in immutable generations."""

from postroad.config.example import Start, example
from postroad.config.explain import Change, Explained, UnknownOption, difference, effective, explain
from postroad.config.generation import ConfigError, Generation, Origin, Problem
from postroad.config.load import load, parse
from postroad.config.options import Form, Option, options
from postroad.config.rules import split_address
from postroad.config.schema import Config
from postroad.config.values import duration_text, parse_duration, parse_rate, parse_size, rate_text, size_text

__all__ = [
    "Change",
    "Config",
    "ConfigError",
    "Explained",
    "Form",
    "Generation",
    "Option",
    "Origin",
    "Problem",
    "Start",
    "UnknownOption",
    "difference",
    "duration_text",
    "effective",
    "example",
    "explain",
    "load",
    "options",
    "parse",
    "parse_duration",
    "parse_rate",
    "parse_size",
    "rate_text",
    "size_text",
    "split_address",
]
