"""The page of `--export usage.html`, opened in a headless Chromium: it looks right, tells the truth, and answers."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sample_logs
from chromium import headless_chromium, open_page, settle
from conftest import ROOT, Machine, missing_here, thorough
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

import ccusage_importer as ci

pytestmark = pytest.mark.xdist_group("page")  # one browser and one history for all of them

TEMPLATE = (ROOT / "dashboards" / "usage.html").read_text(encoding="utf-8")
ZONE = "Europe/Berlin"
EVIL = "o'brien \"🦀\" </script><script>document.title='broken'</script><!--"


@pytest.fixture(scope="module")
def imported(sample_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A year of two people on two machines; the database of the first one holds both."""
    home = tmp_path_factory.mktemp("page")
    sample_logs.write_logs(home, days=364, sessions_per_day=2, messages=10)
    # Claude Code's own counts of a month, its days off among them
    days = [{"date": str(date.today() - timedelta(days=number)), "messageCount": number} for number in range(300, 330)]
    (home / ".claude" / ci.ACTIVITY_FILE).write_text(json.dumps({"dailyActivity": days}), encoding="utf-8")
    settings = {"CCUSAGE_USER": "ada", "MACHINE_NAME": "laptop", "CCUSAGE_TIMEZONE": ZONE}
    machine = Machine(home, settings=settings)
    other = {"CCUSAGE_DB_PATH": str(machine.db_path), "CCUSAGE_USER": EVIL, "MACHINE_NAME": "desk"}
    machine.imported("--quiet")
    Machine(sample_home, settings={**settings, **other}).imported("--quiet")
    return machine


@pytest.fixture(scope="module")
def page(imported: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "usage.html"
    imported.imported("--quiet", "--export", str(path))
    imported.imported("--quiet", "--export", str(path.with_name("desk.html")), "--machine", "desk", "--days", "20")
    return path


Ask = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def answer(imported: Machine, page: Path) -> Iterator[Ask]:
    """What the named queries say of the same rows; the database is this process's once the pages are made."""
    options = ci.make_parser().parse_args([])
    config = ci.read_config({"CCUSAGE_DB_PATH": str(imported.db_path), "CCUSAGE_USER": "ada"}, options)
    store, _ = ci.open_ready_store(config, make_schema=False)
    assert store is not None
    queries = ci.parse_queries(ci.own_file("queries.sql"))
    today = datetime.now(ZoneInfo(ZONE)).date()

    def ask(name: str, days: int | None = None, machine: str | None = None, **values: str) -> list[dict[str, Any]]:
        since = None if days is None else today - timedelta(days=days - 1)
        assert store is not None
        return ci.ask_query(store, queries[name], ci.Selection(today, ZONE, since, machine=machine), values).dicts()

    yield ask
    store.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[webdriver.Chrome]:
    with contextlib.ExitStack() as stack:
        try:
            browser = stack.enter_context(headless_chromium())
        except FileNotFoundError as error:
            missing_here(str(error))
        yield browser


class Page:
    """The page in a browser, read and used as a person would."""

    def __init__(self, browser: webdriver.Chrome, path: Path) -> None:
        self.browser = browser
        self.path = path

    def open(self, choice: str = "", width: int = 1200, scheme: str = "light") -> None:
        open_page(self.browser, self.path, choice, width, scheme)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)

    def find(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        found: list[str] = self.run(
            "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText.trim())", selector
        )
        return found

    @property
    def cards(self) -> dict[str, str]:
        return dict(zip(self.texts("#cards h3"), self.texts("#cards strong"), strict=True))

    def table(self, title: str) -> list[list[str]]:
        """The visible cells of the table under a heading, its header first."""
        rows: list[list[str]] = self.run(
            """const view = [...document.querySelectorAll("article")].find((e) => e.querySelector("h3").innerText === arguments[0]);
            return [...view.querySelectorAll(".table tr")].map((row) => [...row.cells].filter((cell) => !cell.hidden
                && !cell.classList.contains("bar") && !cell.querySelector(".unseen")).map((cell) => cell.innerText.trim()))""",
            title,
        )
        return rows

    def column(self, title: str, name: str) -> dict[str, str]:
        """A column of a table by its first one."""
        header, *rows = self.table(title)
        return {row[0]: row[header.index(name)] for row in rows}

    def click(self, text: str, within: str = "main") -> None:
        """Click what has this text."""
        button = next(b for b in self.find(within).find_elements(By.TAG_NAME, "button") if b.text == text)
        self.run("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()

    def press(self, *keys: str, on: WebElement | None = None) -> None:
        (on or self.find("body")).send_keys(*keys)

    def drag(self, first: int, last: int, count: int = 30) -> None:
        """From the place of one day in the chart to another's; days are counted from the left, from 0."""
        chart = self.find("svg.days")
        self.run("arguments[0].scrollIntoView({block: 'center'})", chart)
        width = chart.rect["width"]
        step = (width - 50) / count
        offset = [round(46 + (number + 0.5) * step - width / 2) for number in (first, last)]
        actions = ActionChains(self.browser, duration=20)
        actions.move_to_element_with_offset(chart, offset[0], 20).click_and_hold()
        actions.move_to_element_with_offset(chart, offset[1], 20).release().perform()

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.browser.get_log("browser")]


@pytest.fixture(scope="module")
def opened(chromium: webdriver.Chrome, page: Path) -> Page:
    return Page(chromium, page)


def money(dollars: float) -> str:
    return f"${dollars:,.2f}"


def test_days_known_by_their_activity_alone_have_a_frame_and_no_cost(opened: Page, answer: Ask) -> None:
    opened.open()
    counted = [row for row in answer("heatmap") if row["messages"]]
    assert counted
    assert opened.run("return document.querySelectorAll('[data-key=year] rect.l0.counted').length") == len(counted)
    assert "messages, cost not known" in opened.texts("p.scale")
    assert len(opened.table("Days known by their activity alone")) > 1
    opened.open("#machine=desk")
    assert opened.run("return document.querySelectorAll('.counted').length") == 0


# ---- the file -------------------------------------------------------------------------------------------


def test_the_page_is_one_small_file_that_asks_for_nothing(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"""\b(src|href)\s*=|@import|url\(|https?:(?!//www\.w3\.org/)|fetch\(|XMLHttp""", text)
    assert page.stat().st_size < 300_000
    assert page.stat().st_mode & 0o777 == 0o644


def test_no_name_gets_out_of_the_data() -> None:
    content = {"name": EVIL, "other": "</SCRIPT\t> <!-- <script> ]]> \u2028\u2029 \ud800 \0 日本語"}
    text = ci.page_text(content)
    [island] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert json.loads(island) == content
    assert island.isascii()
    assert text.replace(island, "null") == TEMPLATE


def test_the_cube_adds_up_however_small_it_has_to_be(answer: Ask) -> None:
    [total] = answer("totals")
    sizes = []
    for cells in ("1000000", "1000"):
        rows = answer("cube", cells=cells)
        assert sum(sum(row["costs"]) for row in rows) == pytest.approx(total["cost"], abs=0.01)
        assert sum(sum(row["tokens"]) for row in rows) == total["tokens"]
        sizes.append(sum(len(row["days"]) for row in rows))
    assert sizes[0] > 1000 >= sizes[1]
    assert "*" in {row["project"] for row in rows}


def test_it_says_so_where_nothing_was_put_in(chromium: webdriver.Chrome) -> None:
    empty = Page(chromium, ROOT / "dashboards" / "usage.html")
    empty.open()
    assert empty.find("#made").text == "This is the page without its data: make it with --export usage.html"
    assert empty.complaints() == []


# ---- how it looks -----------------------------------------------------------------------------------------

# What sticks out of its frame, or lies on its neighbour.
MISPLACED = """
const found = [], box = (e) => e.getBoundingClientRect(), seen = (e) => box(e).width > 0 && !e.closest(".unseen, #tip");
for (const frame of document.querySelectorAll("article, .card, #controls")) {
  for (const e of frame.querySelectorAll("h3, p, strong, td:not(.bar), th, dt, dd, button, select, li, summary, svg text, svg rect")) {
    if (!seen(e) || e.closest(".scroll")) continue;
    if (box(e).right > box(frame).right + 1 || box(e).left < box(frame).left - 1) found.push("out: " + e.textContent);
    if (e.matches("th, .card *, dd, .n") && e.scrollWidth > e.clientWidth + 1 && e.clientWidth) found.push("cut: " + e.textContent);
  }
}
const frames = [...document.querySelectorAll("article, .card, header, #controls, h2, footer")].filter(seen);
frames.forEach((one, number) => frames.slice(number + 1).forEach((other) => {
  const [a, b] = [box(one), box(other)];
  if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)
    found.push("over each other: " + one.textContent.slice(0, 30) + " | " + other.textContent.slice(0, 30));
}));
for (const svg of document.querySelectorAll("svg")) {
  const labels = [...svg.querySelectorAll("text")].map(box);
  labels.forEach((a, number) => labels.slice(number + 1).forEach((b) => {
    if (a.left < b.right && b.left < a.right && a.top < b.bottom - 3 && b.top < a.bottom - 3) found.push("labels: " + svg.getAttribute("aria-label"));
  }));
}
return found;
"""


@pytest.mark.parametrize(
    ("width", "scheme"),
    [(1200, "light"), (800, "dark"), (390, "light"), *thorough((1200, "dark"), (800, "light"), (390, "dark"))],
)
def test_nothing_overlaps_or_is_cut(opened: Page, width: int, scheme: str) -> None:
    opened.open("#days=0&by=project", width, scheme)
    assert opened.run("return document.documentElement.scrollWidth") <= width
    assert opened.run(MISPLACED) == []
    assert opened.complaints() == []
    brightness = opened.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
    assert (brightness < 40) is (scheme == "dark")
    # bars stay on a phone, and there is a chart, a year and a ranking of each kind
    assert all(
        bar > 20 for bar in opened.run("return [...document.querySelectorAll('td.bar')].map((e) => e.offsetWidth)")
    )
    assert opened.run("return document.querySelectorAll('[data-key=year] rect[class^=l]').length") in range(365, 372)
    headings = opened.texts("article h3")
    for heading in ("Cost by day", "Models", "Projects", "Agents", "Machines", "People", "The last year"):
        assert heading in headings
    for heading in ("Hours of the week", "Billing blocks of 5 hours", "Dearest sessions", "Last imports by machine"):
        assert heading in headings


def test_everything_declared_for_the_page_is_on_it(opened: Page, answer: Ask) -> None:
    opened.open()
    declared = set()
    for query in ci.parse_queries(ci.own_file("queries.sql")).values():
        shown = query.shown
        if "page" in shown.places and shown.kind not in ("cube", "blocks") and not ci.is_budget(query):
            numbers = [column.name for column in shown.columns if column.unit in ci.NUMERIC]
            rows = answer(query.name)
            if shown.kind == "figures":  # nothing but noughts is nothing to show
                rows = [row for row in rows if any(row[name] for name in numbers)]
            values = {name: tunable.default for name, tunable in query.tunables.items()} | {"zone": ZONE}
            declared |= {shown.title.format_map(values)} if rows else set()
    headings = opened.texts("article h3")
    own = {"Cost by day", "Models", "Projects", "Agents", "Machines", "People", "The last year"}
    assert set(headings) == declared | own | {"Hours of the week", "Billing blocks of 5 hours"}
    assert len(headings) == len(set(headings))
    assert opened.find("h1").text == "Usage of 2 users"
    assert opened.browser.title == "Usage of 2 users"
    assert EVIL in opened.column("People", "cost")
    assert re.search(r"made on \d+ \w{3} \d{4}, \d\d:\d\d \(Europe/Berlin\)$", opened.find("#made").text)


# ---- what it tells ----------------------------------------------------------------------------------------


def test_the_figures_are_the_databases(opened: Page, answer: Ask) -> None:
    opened.open()
    periods = {row["period"]: row["cost"] for row in answer("recent")}
    [total] = answer("totals")
    [month] = answer("month_end")
    cards = opened.cards
    assert cards["today"] == money(periods["today"])
    assert cards["this week"] == money(periods["week"])
    assert cards["this month"] == money(periods["month"])
    assert cards["all time"] == money(total["cost"])
    assert cards["forecast of the month"] == money(month["forecast"])
    for title, query, name in (
        ("Models", "cost_by_model", "model"),
        ("Machines", "machine_share", "machine_name"),
        ("Agents", "cost_by_source", "agent"),
    ):
        rows = answer(query, days=30)
        assert opened.column(title, "cost") == {ci.short_model(row[name]): money(row["cost"]) for row in rows}, title
    opened.open("#days=0&measure=tokens")
    assert opened.cards["all time"] == ci.human_number(total["tokens"])
    projects = {row["project"]: ci.human_number(row["tokens"]) for row in answer("cost_by_project")}
    told = opened.column("Projects", "tokens")
    assert told.pop("no project")
    assert told == projects


def test_a_click_narrows_everything_else_and_escape_widens(opened: Page, answer: Ask) -> None:
    opened.open("#days=0")
    before = (opened.cards, opened.table("Projects"))
    opened.click("opus-4")
    [opus] = [row for row in answer("cost_by_model") if row["model"].startswith("claude-opus")]
    assert opened.cards["all time"] == money(opus["cost"])
    assert set(opened.column("Models", "cost")) == {"opus-4", "sonnet-4", "haiku-3.5", "gpt-5", "gpt-5-codex"}
    by_project = {
        row["project"]: money(row["cost"]) for row in answer("project_models") if row["model"] == opus["model"]
    }
    assert opened.column("Projects", "cost") == by_project
    assert {row[1] for row in opened.table("Models by month")[1:]} == {"opus-4"}
    assert opened.run("return decodeURIComponent(location.hash)") == f"#days=0&model={opus['model']}"

    opened.browser.refresh()  # the address keeps the choice
    settle(opened.browser)
    assert opened.cards["all time"] == money(opus["cost"])
    opened.browser.back()
    assert (opened.cards, opened.table("Projects")) == before
    opened.browser.forward()
    opened.press(Keys.ESCAPE)
    assert (opened.cards, opened.table("Projects")) == before
    opened.find("#only-machine").send_keys("desk")
    assert opened.cards["all time"] == money(answer("totals", machine="desk")[0]["cost"])
    assert opened.complaints() == []


def test_days_are_chosen_by_dragging_clicking_and_with_keys(opened: Page, answer: Ask) -> None:
    rows = answer("daily_trend")
    costs = [row["cost"] for row in rows]
    today: date = rows[-1]["date"]
    opened.open()
    opened.drag(5, 12)
    first, last = today - timedelta(days=24), today - timedelta(days=17)
    assert opened.run("return location.hash") == f"#from={first}&to={last}"
    assert f": {money(sum(costs[5:13]))}, " in opened.find(".views article .head p").text
    assert sum(
        float(cost[1:].replace(",", "")) for cost in opened.column("Machines", "cost").values()
    ) == pytest.approx(sum(costs[5:13]), abs=0.02)
    opened.drag(29, 29)
    assert opened.run("return location.hash") == f"#from={today}&to={today}"
    opened.press(Keys.ESCAPE)
    assert opened.run("return location.hash") == ""

    opened.run("document.querySelector('svg.days').focus()")
    chart = opened.find("svg.days")
    opened.press(Keys.ARROW_LEFT, on=chart)  # from the day that was clicked
    said = opened.run("return document.getElementById('spoken').textContent")
    assert re.match(rf"\w+, {(today - timedelta(days=1)).day} \w+ \d{{4}}, in all {re.escape(money(costs[-2]))}", said)
    tip = opened.texts("#tip")[0]
    assert money(costs[-2]) in tip
    opened.press(Keys.ENTER, on=chart)
    assert opened.run("return location.hash") == f"#from={today - timedelta(days=1)}&to={today - timedelta(days=1)}"
    assert opened.run("return document.activeElement.classList.contains('days')"), "keys go on where they were"


def test_tables_sort_by_any_column_and_open(opened: Page) -> None:
    opened.open("#days=0")
    by_cost = list(opened.column("Models", "cost"))
    opened.click("tokens")
    header = (
        "return document.querySelector('th[aria-sort]').innerText + document.querySelector('th[aria-sort]').ariaSort"
    )
    assert opened.run(header).startswith("tokens")
    assert opened.run(header).endswith("descending")
    by_tokens = list(opened.column("Models", "tokens"))
    assert sorted(by_cost) == sorted(by_tokens)
    assert by_cost != by_tokens
    opened.click("tokens")
    assert list(opened.column("Models", "tokens")) == by_tokens[::-1]
    opened.click("model")
    assert list(opened.column("Models", "cost")) == sorted(by_cost)
    assert len(opened.table("Dearest sessions")) == 9
    opened.click("all 20")
    assert len(opened.table("Dearest sessions")) == 21


def test_each_chart_has_its_figures_and_a_name(opened: Page) -> None:
    opened.open()
    charts = opened.run(
        "return [...document.querySelectorAll('figure')].map((f) => [f.querySelector('svg').getAttribute('aria-label'),"
        " f.querySelector('svg').tabIndex, !!f.closest('article').querySelector('details')])"
    )
    assert len(charts) >= 5
    assert all(label and index == 0 and has_table for label, index, has_table in charts)
    opened.run("document.querySelector('article details summary').click()")
    settle(opened.browser)
    header, *rows = opened.run(
        "return [...document.querySelectorAll('article details tr')].map((r) => [...r.cells].map((c) => c.innerText))"
    )
    assert (header[0], header[-1], len(rows)) == ("day", "in all", 30)
    assert rows[0][-1] == opened.cards["today"]


def test_an_address_that_somebody_made_up_and_a_project_without_cost(
    chromium: webdriver.Chrome, page: Path, tmp_path: Path
) -> None:
    [island] = re.findall(r'id="data">(.*?)</script>', page.read_text("utf-8"))
    content = json.loads(island)
    for row in content["statistics"]["cube"]["rows"]:
        row["costs"] = [0 if row["project"] == "" else cost for cost in row["costs"]]
    path = tmp_path / "odd.html"
    path.write_text(ci.page_text(content), "utf-8")
    odd = Page(chromium, path)
    odd.open("#by=project")
    bars = "return document.querySelectorAll('svg.days rect[fill]').length"
    assert odd.run(bars) > 20
    odd.open("#days=5&by=nobody&measure=toString&from=0001-01-01&to=9999-12-31&model=none&project=%3Cb%3E")
    assert odd.cards["all time"].startswith("$")
    assert "NaN" not in odd.run("return document.body.innerHTML.replace(/<script[\\s\\S]*?<.script>/g, '')")
    odd.open("#from=soon&to=2026-99-99")
    assert odd.run(bars) > 20
    assert odd.complaints() == []


# ---- narrowed, and made with each import ------------------------------------------------------------------


def test_a_narrowed_page_tells_only_what_is_true_of_it(opened: Page, answer: Ask) -> None:
    narrowed = Page(opened.browser, opened.path.with_name("desk.html"))
    narrowed.open("#days=0")
    cost = money(answer("totals", machine="desk", days=20)[0]["cost"])
    assert cost in narrowed.cards.values()
    assert "this month" not in narrowed.cards or date.today().day <= 20
    assert "only since" in narrowed.find("#made").text
    assert "machine desk" in narrowed.find("#made").text
    assert "Machines" not in narrowed.texts("article h3")
    assert narrowed.complaints() == []


def test_an_import_makes_the_page_anew_or_warns(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    path = folder / "usage.html"
    path.write_text("old")
    machine.imported("--quiet", CCUSAGE_EXPORT=str(path))
    first = path.read_text(encoding="utf-8")
    assert first.startswith("<!DOCTYPE html>")
    assert "webshop" not in first
    gone = tmp_path / "missing" / "usage.html"
    result = machine.run(CCUSAGE_EXPORT=str(gone))
    assert result.returncode == 0, "the import itself is whole"
    assert f"CCUSAGE_EXPORT: {gone} is not made anew" in result.stderr
    assert list(folder.iterdir()) == [path], "nothing is left half written"
    refused = machine.run(CCUSAGE_EXPORT="usage.pdf")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: CCUSAGE_EXPORT: 'usage.pdf' is not a file that ends in .html, ")
