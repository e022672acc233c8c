"""The page for people, in Debian's Chromium: wide and narrow, with the keyboard alone."""

import re
import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.serving.conftest import Post, until


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("there is no browser: on Debian, apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


def opened(browser: webdriver.Chrome, url: str, width: int) -> Any:
    """Opens the page at a width, and returns a function that finds the first shown element of a selector."""
    sizes = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sizes)
    browser.get(url)
    until(lambda: browser.find_elements(By.CSS_SELECTOR, "option"))
    return lambda selector: next(e for e in browser.find_elements(By.CSS_SELECTOR, selector) if e.is_displayed())


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_text_is_continued_by_keyboard_alone(browser: webdriver.Chrome, url: str, complete: Post, width: int) -> None:
    find = opened(browser, url, width)
    browser.switch_to.active_element.send_keys("main(", Keys.CONTROL, Keys.ENTER)
    until(lambda: find("#stop").get_attribute("disabled") and "tokens" in find(".state").text)
    asked = {"prompt": "def main(", "max_tokens": 96, "temperature": 0.8, "top_p": 1, "seed": 0, "logprobs": 5}
    expected = complete(**asked).json()["choices"][0]
    assert find(".made").get_property("textContent") == expected["text"]
    find(".text").send_keys(Keys.END, Keys.HOME)
    name, share = find(".inspector h2").text.rsplit(" ", 2)[0], find(".inspector h2").text
    assert name
    assert re.search(r"(\d+\.\d|100|< 0\.1) %$", share)
    assert len(browser.find_elements(By.CSS_SELECTOR, ".inspector tr")) >= 5
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []


@pytest.mark.slow
def test_two_settings_stand_side_by_side(browser: webdriver.Chrome, url: str) -> None:
    find = opened(browser, url, 1280)
    find("#compare").click()
    find("#go").click()
    until(lambda: find("#stop").get_attribute("disabled"))
    texts = [made.get_property("textContent") for made in browser.find_elements(By.CSS_SELECTOR, ".made")]
    assert len(set(texts)) == 2
    left, right = (pane.rect for pane in browser.find_elements(By.CSS_SELECTOR, ".pane"))
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] < right["x"]


def test_the_page_loads_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for path in ("/", "/page.css", "/page.js"):
        text = client.get(path).text
        assert not re.search(r"(src|href)=\"(?!page\.|data:,)|url\(|https?://", text), path
