"""Moving the rules of <style> into the elements they are for, as mail readers want it (api.md 2.3, inline_css)."""

from __future__ import annotations

import css_inline

from postroad.generate.mime import PartError

# Nothing is fetched, neither from a host nor from a disk: who sends HTML must not make us call anybody.
_INLINER = css_inline.CSSInliner(load_remote_stylesheets=False, keep_link_tags=True, keep_at_rules=True)


def inline_css(html: str) -> str:
    """The rendered page, parsed and written anew; a page without <style> stays as it is. Media queries stay in <style>.

    Raises PartError.
    """
    if "<style" not in html.lower():
        return html
    try:
        return _INLINER.inline(html)
    except (css_inline.InlineError, ValueError) as error:
        raise PartError("html", f"styles can not be inlined: {error}") from None
