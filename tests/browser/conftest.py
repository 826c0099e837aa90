"""Chromium, without a network, on pages that are made here. Without Chromium the tests skip."""

import shutil
import time
from pathlib import Path

import pytest

from numpy_llama import load
from numpy_llama.golden.report.html import as_html
from numpy_llama.show import run_prompt, trace_page
from tests.golden.dumps import golden
from tests.golden.test_report import report_of
from tests.tiny import write_tiny_model

PROMPT, STEPS = "once upon a time there was", 4
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"


class Browser:
    """A driver with the few things that these tests do."""

    def __init__(self, driver):
        self.driver = driver
        self.js = driver.execute_script

    def size(self, width: int, height: int = 900) -> None:
        """A window of this size in CSS pixels, smaller than a real one may be."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def dark(self, yes: bool) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if yes else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, path: Path, end: str = "", script: bool = True) -> None:
        """A page from its file, until its numbers are drawn."""
        self.driver.get("about:blank")
        self.driver.get(path.as_uri() + end)
        until = time.monotonic() + 60
        while script and not self.js("return document.documentElement.dataset.ready"):
            assert time.monotonic() < until, self.errors()
            time.sleep(0.02)

    def press(self, *keys: str) -> None:
        """Keys as a person presses them, one after the other, Shift held where it is named."""
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys

        actions = ActionChains(self.driver)
        for key in keys:
            shift, _, name = key.rpartition("+")
            code = getattr(Keys, name, name)
            if shift:
                actions = actions.key_down(Keys.SHIFT).send_keys(code).key_up(Keys.SHIFT)
            else:
                actions = actions.send_keys(code)
        actions.perform()
        self.settle()

    def settle(self) -> None:
        """Wait until the sections out of view are drawn too."""
        until = time.monotonic() + 60
        while self.js("return WAITING.size"):
            assert time.monotonic() < until
            time.sleep(0.01)

    def state(self) -> dict[str, int]:
        """Where the reader is, as the address says."""
        parts = self.js("return location.hash").removeprefix("#").split("&")
        return {key: int(number) for key, _, number in (part.partition("=") for part in parts)}

    def errors(self) -> list[str]:
        """What the console has complained about since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="session")
def browser():
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="selenium is not installed: make browser installs it"
    )
    if not CHROMIUM or not DRIVER:
        pytest.skip("there is no chromium with its chromedriver: apt-get install chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    # A name that is not a file's is not found, whatever the page may ask for.
    quiet = ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-sandbox")
    no_net = ("--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking")
    for word in (*quiet, *no_net):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(240)  # a look at every element takes long on a busy machine
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield Browser(driver)
    driver.quit()


@pytest.fixture(scope="session")
def m(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny_model(folder)
    return load(folder)


@pytest.fixture(scope="session")
def run(m):
    return run_prompt(m, PROMPT, STEPS)


@pytest.fixture(scope="session")
def page(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "trace.html"
    path.write_text(trace_page(*run))
    return path


@pytest.fixture(scope="session")
def checked(tmp_path_factory):
    """What `golden check --html` says of a program with a mistake."""
    path = tmp_path_factory.mktemp("pages") / "check.html"
    report = report_of("decode-position-plus-1")
    path.write_text(as_html(report, golden(), "dump"))
    return path
