"""Whether everyone can read the pages: axe-core finds nothing of level A or AA."""

import pytest

from tests.browser.conftest import AXE

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
RUN = """const done = arguments[arguments.length - 1];
axe.run(document, { runOnly: arguments[0] }).then((found) => done(
  { passes: found.passes.length, violations: found.violations.map((v) =>
    [v.id, v.nodes.length, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + " " +
      n.any.map((a) => a.message).join("; "))]) }));"""


def violations(browser):
    if not AXE.exists():
        pytest.skip("axe-core is not installed: make browser installs it with npm")
    browser.js(AXE.read_text())
    found = browser.driver.execute_async_script(RUN, LEVELS)
    assert found["passes"] >= 5
    return found["violations"]


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1440, True)])
def test_a_trace(browser, page, width, dark):
    browser.size(width)
    browser.dark(dark)
    browser.open(page, "#step=2&layer=1&head=4")
    browser.js("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert violations(browser) == []
    browser.dark(False)


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1440, True)])
def test_the_report_of_a_check(browser, checked, width, dark):
    browser.size(width)
    browser.dark(dark)
    browser.open(checked, script=False)
    assert browser.js("return document.documentElement.scrollWidth <= innerWidth")
    browser.js("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert violations(browser) == []
    assert browser.errors() == []
    browser.dark(False)
