"""A report in a browser: nothing of it runs or is loaded, and it can be used by mouse and keyboard."""

from collections.abc import Callable, Iterator

import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.browser import MISSING, Browser, browsing
from tests.reports import ATTACKS, HARMLESS, LONG, SMALL, make_log
from tests.terminal import asked

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)
ALL = SMALL + 2


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("report")
    url = make_log(directory)
    written = asked("report", "--out", f"{directory}/report.html", "--title", ATTACKS[0], "--url", url)
    assert written.status == 0, written.err
    return f"file://{directory}/report.html"


@pytest.fixture(scope="module")
def session() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


@pytest.fixture
def browser(session: Browser, page: str) -> Iterator[Browser]:
    """At the report's beginning; in the end nothing has run, nothing was loaded, nothing went wrong."""
    session.get("about:blank")
    session.resize(1280)
    session.complaints(), session.requests()
    session.get(page)
    yield session
    assert session.ask("return window.ran ?? null") is None
    assert session.complaints() == []
    assert session.requests() == []


def until(browser: Browser, true: Callable[[], object]) -> None:
    WebDriverWait(browser, 5, poll_frequency=0.02).until(lambda _: true())


def rows(browser: Browser) -> list[str]:
    """The subjects in the list, as they are shown."""
    found: list[str] = browser.ask(
        "return [...document.querySelectorAll('#dialogues tbody a')].map(a => a.innerText)"
    )
    return found


def the(browser: Browser, selector: str) -> WebElement:
    return browser.find_element(By.CSS_SELECTOR, selector)


def press(browser: Browser, *keys: str) -> None:
    ActionChains(browser).send_keys(*keys).perform()


def column(browser: Browser, key: str) -> WebElement:
    return the(browser, f"#dialogues th button[data-key={key}]")


def opened(browser: Browser) -> str:
    """The heading of the dialogue that is shown, once there is one."""
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#dialogue:not([hidden]) h2"))
    return the(browser, "#dialogue h2").text


class TestHostileText:
    def test_nothing_runs_of_what_a_dialogue_says(self, browser: Browser) -> None:
        the(browser, "#subject").send_keys("onerror")
        until(browser, lambda: len(rows(browser)) == 1)
        the(browser, "#dialogues tbody a").click()
        opened(browser)
        browser.ask("for (const one of document.querySelectorAll('#dialogue details')) one.open = true")
        shown = the(browser, "#dialogue").text
        for attack in ATTACKS[:8]:
            assert attack in shown
        assert (
            browser.ask(
                "return document.querySelectorAll('#dialogue :is(script, img, svg, iframe, link, style)').length"
            )
            == 0
        )
        targets = browser.ask("return [...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
        assert all(target.startswith("#") for target in targets)

    def test_what_acts_on_text_or_hides_is_shown_as_its_escape(self, browser: Browser) -> None:
        the(browser, "#dialogues tbody a[href^='#dialogue']").click()
        opened(browser)
        escapes = set(browser.ask("return [...document.querySelectorAll('.escape')].map(one => one.textContent)"))
        assert {"\\u202e", "\\u2066", "\\u200b", "\\x00", "\\x1b", "\\ufeff", "\\u{e0041}", "\\u2028"} <= escapes
        assert HARMLESS in the(browser, "#dialogue h2").text
        text = browser.ask("return document.querySelector('.transcript').textContent")
        assert not {"\u202e", "\x00", "\x1b", "\u2028", "\u200b"} & set(text)

    def test_the_title_is_text(self, browser: Browser) -> None:
        assert browser.title == the(browser, "h1").text == ATTACKS[0]


class TestList:
    @pytest.mark.slow
    def test_it_is_sorted_by_each_column_and_says_so(self, browser: Browser) -> None:
        said = browser.ask("""
          const sorted = (key) => document.querySelector(`[data-key=${key}]`).closest("th").ariaSort;
          const keys = [...document.querySelectorAll("#dialogues [data-key]")].map(one => one.dataset.key);
          return keys.map(key => [sorted(key), ...[1, 2].map(() => {
            document.querySelector(`[data-key=${key}]`).click();
            return sorted(key);
          })].join(" "));""")
        assert len(said) == 10
        assert set(said) == {"none ascending descending", "none descending ascending"}
        column(browser, "messages").click()
        assert rows(browser)[0] == "a long talk"
        column(browser, "messages").click()
        assert rows(browser)[0] == "errand 0"
        column(browser, "subject").click()
        assert [one for one in rows(browser) if one.startswith("errand")][:3] == [
            "errand 0",
            "errand 1",
            "errand 2",
        ]

    @pytest.mark.slow
    def test_what_is_not_known_comes_last_either_way(self, browser: Browser) -> None:
        for _ in range(2):
            column(browser, "emergence").click()
            assert rows(browser)[0] == "a long talk"

    @pytest.mark.slow
    def test_it_is_filtered_by_subject_finding_and_attribute(self, browser: Browser) -> None:
        the(browser, "#subject").send_keys("ERRAND 1")
        until(browser, lambda: len(rows(browser)) == 11)
        assert the(browser, "#count").text == f"11 of {ALL} dialogues."
        Select(the(browser, "#attribute")).select_by_visible_text("team")
        Select(the(browser, "#value")).select_by_visible_text(f"b ({SMALL // 2})")
        until(browser, lambda: rows(browser) == [f"errand {n}" for n in (1, 11, 13, 15, 17, 19)])
        the(browser, "#filter button[type=reset]").click()
        until(browser, lambda: the(browser, "#count").text.startswith(f"{ALL} dialogues"))
        Select(the(browser, "#pattern")).select_by_value("echo_loop")
        until(browser, lambda: rows(browser) == ["a long talk"])

    @pytest.mark.slow
    def test_it_has_pages(self, browser: Browser) -> None:
        assert len(rows(browser)) == 50
        the(browser, "#pages button:nth-of-type(3)").click()
        assert len(rows(browser)) == ALL - 50
        assert "51 to 62 shown" in the(browser, "#count").text


class TestTranscript:
    def test_it_opens_with_its_measures_and_findings_and_back_works(self, browser: Browser) -> None:
        the(browser, "#subject").send_keys("long talk")
        until(browser, lambda: len(rows(browser)) == 1)
        the(browser, "#dialogues tbody a").click()
        assert opened(browser) == "a long talk"
        beside = the(browser, "aside").text
        for fact in ("balance", "coordination", "emergence", "echo loop"):
            assert fact in beside
        assert len(browser.find_elements(By.CSS_SELECTOR, ".transcript > li")) == 200
        browser.back()
        until(browser, lambda: the(browser, "#overview").is_displayed())
        assert rows(browser) == ["a long talk"]

    @pytest.mark.slow
    def test_a_link_leads_to_a_message_with_its_finding(self, browser: Browser, page: str) -> None:
        long = browser.ask("return JSON.parse(document.getElementById('index').textContent).at(-1).id")
        browser.get(f"{page}#dialogue/{long}/{LONG - 1}")
        opened(browser)
        at = browser.switch_to.active_element
        assert at.get_attribute("id") == f"message-{LONG - 1}"
        assert "marked" in (at.get_attribute("class") or "")
        assert "echo loop ends" in the(browser, ".transcript").text
        browser.find_element(By.PARTIAL_LINK_TEXT, "echo loop").click()
        until(browser, lambda: browser.current_url.endswith(f"/{LONG - 5}"))

    def test_a_link_to_nothing_says_so(self, browser: Browser, page: str) -> None:
        browser.get(f"{page}#dialogue/nobody/1")
        until(browser, lambda: "no such dialogue" in the(browser, "#dialogue").text)


@pytest.mark.slow
def test_it_can_be_used_by_keyboard_alone(browser: Browser) -> None:
    press(browser, Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the dialogues"
    press(browser, Keys.ENTER, Keys.TAB, "errand 59", Keys.TAB, Keys.TAB, Keys.TAB, Keys.TAB, Keys.TAB)
    until(browser, lambda: rows(browser) == ["errand 59"])
    press(browser, Keys.ENTER)
    assert column(browser, "subject").find_element(By.XPATH, "..").get_attribute("aria-sort") == "ascending"
    while browser.switch_to.active_element.text != "errand 59":
        press(browser, Keys.TAB)
    outline = browser.ask("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    press(browser, Keys.ENTER)
    assert opened(browser) == "errand 59"
    press(browser, Keys.SHIFT, Keys.TAB, Keys.TAB, Keys.TAB)  # back from the heading, over the neighbours' links
    while browser.switch_to.active_element.text != "← All dialogues":
        press(browser, Keys.TAB)
    press(browser, Keys.ENTER)
    until(browser, lambda: browser.switch_to.active_element.text == "errand 59")


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_never_scrolls_sideways_and_texts_of_charts_do_not_overlap(browser: Browser, width: int) -> None:
    browser.resize(width)
    for open_first in (False, True):
        if open_first:
            the(browser, "#dialogues tbody a").click()
            opened(browser)
        assert browser.ask("return document.documentElement.scrollWidth") <= width
    browser.back()
    overlaps = browser.ask("""
      const found = [];
      for (const chart of document.querySelectorAll("svg")) {
        const texts = [...chart.querySelectorAll("text")]
          .map(one => [one.textContent, one.getBoundingClientRect()]).filter(([, box]) => box.width);
        texts.forEach(([a, one], n) => texts.slice(n + 1).forEach(([b, other]) => {
          const beside = one.left >= other.right || other.left >= one.right;
          const above = one.top + 2 >= other.bottom || other.top + 2 >= one.bottom;
          if (!beside && !above) found.push([a, b]);
        }));
      }
      return found;""")
    assert overlaps == []
    smallest = browser.ask("""
      return Math.min(...[...document.querySelectorAll("svg text")].map(one => one.getBoundingClientRect().height)
        .filter(height => height))""")
    assert smallest >= 11


@pytest.mark.slow
def test_it_is_light_or_dark_as_the_system_is_or_as_one_says(browser: Browser) -> None:
    def paper() -> int:
        colour: str = browser.ask("return getComputedStyle(document.body).backgroundColor")
        return int(colour.removeprefix("rgb(").split(",")[0])

    browser.prefer("dark")
    assert paper() < 50
    the(browser, "#theme").click()
    assert paper() == 255
    browser.prefer("light")
    the(browser, "#theme").click()
    assert paper() < 50


@pytest.mark.slow
def test_charts_of_circuits_and_backlog_are_there(browser: Browser) -> None:
    charts = browser.ask("return [...document.querySelectorAll('figure')].map(one => one.innerText)")
    [circuits] = [text for text in charts if text.startswith("Circuits over time")]
    assert "3 transitions" in circuits
    assert "disabled: everything, by hand" in circuits
    assert any(text.startswith("Backlog over time") for text in charts)


@pytest.mark.slow
def test_it_is_printed_light_and_whole_and_without_what_is_to_be_pressed(browser: Browser) -> None:
    browser.prefer("dark")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert browser.ask("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not the(browser, "#filter").is_displayed()
        browser.ask("dispatchEvent(new Event('beforeprint'))")
        assert len(rows(browser)) == ALL
        browser.ask("dispatchEvent(new Event('afterprint'))")
        assert len(rows(browser)) == 50
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
