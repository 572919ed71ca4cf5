"""The template language (api.md 4): compiled once to closures, rendered for each recipient within limits."""

from postroad.generate.template.build import Kind
from postroad.generate.template.data import namespace
from postroad.generate.template.errors import TemplateError, TemplateRenderError, TemplateSyntaxError
from postroad.generate.template.frame import Click
from postroad.generate.template.limits import Limits
from postroad.generate.template.needs import Need, Needs
from postroad.generate.template.template import AMP, HTML, TEXT, Part, Template, compile, header, snippet, verbatim

__all__ = [
    "AMP",
    "HTML",
    "TEXT",
    "Click",
    "Kind",
    "Limits",
    "Need",
    "Needs",
    "Part",
    "Template",
    "TemplateError",
    "TemplateRenderError",
    "TemplateSyntaxError",
    "compile",
    "header",
    "namespace",
    "snippet",
    "verbatim",
]
