"use strict";
// Whatever agents said gets into this page as text nodes only. Nothing here writes HTML.
(() => {
  const ROWS = { screen: 50, paper: 1000 };
  const MESSAGES = 200;
  const SUBJECT = 300;
  const LONG = { characters: 1500, lines: 24 };
  // Controls but tab and newline, separators of lines, marks that reorder text, and characters that nobody sees.
  const HARMFUL =
    /[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\u{e0000}-\u{e007f}]/gu;

  const byId = (id) => document.getElementById(id);
  const dialogues = JSON.parse(byId("index").textContent);
  const parsed = new Promise((resolve) => {
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", resolve);
    else resolve();
  });

  // Elements

  function element(name, attributes = {}, ...inside) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "onclick") made.addEventListener("click", value);
      else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...inside.filter((part) => part !== null));
    return made;
  }

  function escape(character) {
    const code = character.codePointAt(0);
    if (code < 256) return "\\x" + code.toString(16).padStart(2, "0");
    return code < 65536 ? "\\u" + code.toString(16).padStart(4, "0") : "\\u{" + code.toString(16) + "}";
  }

  // Text of agents: what would act or hide is written as its escape.
  function said(text, name = "span") {
    const made = element(name, { class: "said", dir: "auto" });
    let after = 0;
    for (const found of text.matchAll(HARMFUL)) {
      if (isJoiner(text, found.index, found[0])) continue;
      made.append(text.slice(after, found.index), element("span", { class: "escape" }, escape(found[0])));
      after = found.index + found[0].length;
    }
    made.append(text.slice(after));
    return made;
  }

  // Joiners that change how pictures, or letters of some scripts, look are seen by that.
  const JOINED = /(\p{Extended_Pictographic}\ufe0f?[\u{1f3fb}-\u{1f3ff}]?|(?![\x00-\x7f])[\p{L}\p{M}])$/u;
  const isJoiner = (text, at, found) =>
    (found === "\u200c" || found === "\u200d") && JOINED.test(text.slice(Math.max(0, at - 6), at));

  const named = (pattern) => pattern.replaceAll("_", " ");
  const cut = (text, most) => (text.length > most ? [...text.slice(0, most)].slice(0, -1).join("") + "…" : text);
  // Of milliseconds since 1970.
  const moment = (milliseconds) => new Date(milliseconds).toISOString();
  const time = (text) => text.slice(0, 19).replace("T", " ");
  const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
  const place = (id, sequence) => `#dialogue/${id}${sequence ? `/${sequence}` : ""}`;

  // Chunks are unpacked when they are needed, and the last ones are kept.

  const unpacked = new Map();

  async function chunk(number) {
    if (!unpacked.has(number)) {
      await parsed;
      if (unpacked.size > 20) unpacked.delete(unpacked.keys().next().value);
      unpacked.set(number, unpack(byId(`chunk-${number}`).textContent));
    }
    return unpacked.get(number);
  }

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  // Messages first to last of a dialogue, from 0, the last one excluded.
  async function messages(dialogue, first, last) {
    const found = [];
    let before = 0;
    for (const [number, start, size] of dialogue.places) {
      const from = Math.max(first - before, 0);
      const to = Math.min(last - before, size);
      if (from < to) found.push(...(await chunk(number)).slice(start + from, start + to));
      before += size;
    }
    return found;
  }

  // The list

  const COLUMNS = [
    { key: "subject", title: "Dialogue", text: true },
    { key: "kind", title: "Kind", text: true },
    { key: "messages", title: "Messages" },
    { key: "out", title: "I → E", help: "messages from internal to external" },
    { key: "back", title: "E → I", help: "messages from external to internal" },
    { key: "balance", title: "Balance", help: "0 to 1", digits: 3 },
    { key: "coordination", title: "Coordination", help: "standard deviations from chance", digits: 2, signed: true },
    { key: "emergence", title: "Emergence", help: "0 to 1; from 101 messages on", digits: 3 },
    { key: "findings", title: "Findings" },
    { key: "last", title: "Last activity", help: "the log's time, UTC", text: true },
  ];
  const state = { key: null, descending: true, page: 0, rows: ROWS.screen, subject: "", pattern: "", attribute: "", value: "" };
  let shownRows = dialogues;

  function cell(row, column) {
    const value = row[column.key];
    if (column.key === "subject") return subjectCell(row);
    if (column.key === "kind") return element("td", { class: "time" }, row.kind === "live" ? `live, ${row.status}` : row.kind);
    if (column.key === "findings") return findingsCell(row);
    if (column.key === "last") return element("td", { class: "time" }, time(value));
    if (value === null) return element("td", { class: "number unknown", title: "not assessable" }, "–");
    const sign = column.signed && value >= 0 ? "+" : "";
    return element("td", { class: "number" }, sign + (column.digits ? value.toFixed(column.digits) : value.toLocaleString("en")));
  }

  // Attributes that tell dialogues apart; what all have in common stands with each of them.
  const telling = new Set(dialogues.flatMap((row) =>
    Object.keys(row.attributes).filter((name) => row.attributes[name] !== dialogues[0].attributes[name])));

  function subjectCell(row) {
    const link = element("a", { href: place(row.id) }, said(cut(row.subject, 120)));
    const id = element("code", {}, row.id.slice(0, 8));
    const attributes = Object.entries(row.attributes).filter(([name]) => telling.has(name)).slice(0, 4);
    const tags = attributes.map(([name, value]) => element("span", { class: "tag" }, said(name), " ", said(value)));
    return element("th", { scope: "row" }, link, element("div", { class: "tags" }, id, ...tags));
  }

  function findingsCell(row) {
    const found = Object.entries(row.patterns).map(([pattern, number]) =>
      element("span", { class: "tag found" }, named(pattern) + (number > 1 ? ` × ${number}` : "")));
    return element("td", { class: "number" }, row.findings ? element("div", { class: "tags" }, ...found) : "0");
  }

  function header() {
    const cells = COLUMNS.map((column) => {
      const sorted = state.key === column.key ? (state.descending ? "descending" : "ascending") : "none";
      const arrow = { none: "", descending: " ↓", ascending: " ↑" }[sorted];
      const button = element("button", { type: "button", title: column.help ?? null, "data-key": column.key, onclick: () => sort(column) }, column.title + arrow);
      return element("th", { scope: "col", "aria-sort": sorted, class: column.text ? null : "number" }, button);
    });
    byId("dialogues").tHead.replaceChildren(element("tr", {}, ...cells));
  }

  function sort(column) {
    state.descending = state.key === column.key ? !state.descending : !column.text;
    state.key = column.key;
    state.page = 0;
    list();
    byId("dialogues").tHead.querySelector(`[data-key=${column.key}]`).focus();
  }

  function matches(row) {
    const found = state.pattern === "" || (state.pattern === "*" ? row.findings > 0 : Object.hasOwn(row.patterns, state.pattern));
    const has = state.value === "" || (Object.hasOwn(row.attributes, state.attribute) && "=" + row.attributes[state.attribute] === state.value);
    return found && has && (row.subject.toLowerCase().includes(state.subject) || row.id.startsWith(state.subject));
  }

  // What is not known comes last in either order.
  function compare(one, other) {
    const [a, b] = [one[state.key], other[state.key]];
    if (a === null || b === null) return (a === null) - (b === null);
    const order = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
    return state.descending ? -order : order;
  }

  function list() {
    shownRows = dialogues.filter(matches);
    if (state.key) shownRows.sort(compare);
    const pages = Math.max(1, Math.ceil(shownRows.length / state.rows));
    state.page = Math.min(state.page, pages - 1);
    const first = state.page * state.rows;
    const some = shownRows.slice(first, first + state.rows);
    header();
    byId("dialogues").tBodies[0].replaceChildren(
      ...some.map((row) => element("tr", {}, ...COLUMNS.map((column) => cell(row, column)))));
    const all = shownRows.length === dialogues.length ? "" : ` of ${dialogues.length.toLocaleString("en")}`;
    const range = pages > 1 ? `, ${(first + 1).toLocaleString("en")} to ${(first + some.length).toLocaleString("en")} shown` : "";
    byId("count").textContent = `${shownRows.length.toLocaleString("en")}${all} ${dialogues.length === 1 ? "dialogue" : "dialogues"}${range}.`;
    byId("pages").hidden = pages === 1;
    byId("pages").replaceChildren(...pager(state.page, pages, (page) => { state.page = page; list(); byId("list").focus(); }));
  }

  function pager(page, pages, go) {
    const button = (text, to) =>
      element("button", { type: "button", disabled: to < 0 || to >= pages || to === page, onclick: () => go(to) }, text);
    return [button("First", 0), button("Previous", page - 1), element("span", {}, `page ${page + 1} of ${pages}`), button("Next", page + 1), button("Last", pages - 1)];
  }

  function options(select, pairs) {
    select.replaceChildren(...pairs.map(([value, text]) => element("option", { value }, text)));
  }

  function tally(values) {
    const counts = new Map();
    for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
    return [...counts].sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
  }

  const plain = (text) => said(text).textContent;

  function filters() {
    const patterns = tally(dialogues.flatMap((row) => Object.keys(row.patterns)));
    options(byId("pattern"), [["", "anything or nothing"], ["*", "anything"], ...patterns.map(([name, n]) => [name, `${named(name)} (${n})`])]);
    const names = tally(dialogues.flatMap((row) => Object.keys(row.attributes)));
    options(byId("attribute"), [["", "any"], ...names.map(([name]) => [name, plain(name)])]);
    values();
    byId("filter").hidden = false;
    byId("filter").addEventListener("submit", (event) => event.preventDefault());
    byId("subject").addEventListener("input", filtered);
    byId("attribute").addEventListener("change", values);
    for (const name of ["pattern", "attribute", "value"]) byId(name).addEventListener("change", filtered);
    byId("filter").addEventListener("reset", () => setTimeout(() => { values(); filtered(); }));
  }

  function filtered() {
    state.subject = byId("subject").value.trim().toLowerCase();
    for (const name of ["pattern", "attribute", "value"]) state[name] = byId(name).value;
    state.page = 0;
    list();
  }

  function values() {
    const name = byId("attribute").value;
    const having = dialogues.filter((row) => name && Object.hasOwn(row.attributes, name));
    const found = tally(having.map((row) => row.attributes[name]));
    options(byId("value"), [["", "any"], ...found.slice(0, 1000).map(([value, n]) => ["=" + value, `${plain(value)} (${n})`])]);
    byId("value").disabled = !found.length;
  }

  // A dialogue

  const DIRECTIONS = [["intra", "within a tract"], ["out", "internal → external"], ["back", "external → internal"]];

  async function open(dialogue, sequence) {
    const [number, at] = dialogue.details;
    const details = (await chunk(number))[at];
    const page = sequence ? Math.floor((sequence - 1) / MESSAGES) : 0;
    const first = page * MESSAGES;
    const shown = await messages(dialogue, first, first + MESSAGES);
    if (location.hash.split("/")[1] !== dialogue.id) return;
    const heading = element("h2", { tabindex: "-1", id: "subject-shown" }, said(cut(dialogue.subject, SUBJECT)));
    const whole = dialogue.subject.length > SUBJECT
      ? element("details", {}, element("summary", {}, "The whole subject"), said(dialogue.subject)) : null;
    const pages = Math.ceil(dialogue.messages / MESSAGES);
    const steps = () => pages > 1 ? element("nav", { class: "pages", "aria-label": "Pages of the transcript" },
      ...pager(page, pages, (to) => { location.hash = place(dialogue.id, to * MESSAGES + 1); })) : null;
    byId("dialogue").replaceChildren(
      element("p", {}, element("a", { href: "#", class: "back-link" }, "← All dialogues"), " ", ...neighbours(dialogue)),
      ...[heading, whole].filter((one) => one !== null),
      element("div", { class: "beside" },
        element("aside", { "aria-label": "Measures" }, facts(details), found(dialogue, details), attributes(details)),
        element("section", { "aria-label": "Transcript" }, steps(),
          element("ol", { class: "transcript" }, ...shown.map((message) => messageItem(dialogue, details, message))),
          shown.length ? null : element("p", {}, "Nothing was said."), steps())));
    show("dialogue");
    const target = sequence ? byId(`message-${sequence}`) : null;
    (target ?? heading).focus({ preventScroll: true });
    if (target) target.scrollIntoView({ block: "center" });
    else scrollTo(0, 0);
  }

  function neighbours(dialogue) {
    const at = shownRows.indexOf(dialogue);
    const link = (row, text) => row ? element("a", { href: place(row.id) }, text) : null;
    return at < 0 ? [] : [link(shownRows[at - 1], "Previous"), " ", link(shownRows[at + 1], "Next")];
  }

  function facts(details) {
    const rows = details.facts.map(([name, value]) =>
      element("div", { class: value.startsWith("not assessable") ? "unknown" : null }, element("dt", {}, name), element("dd", {}, said(value))));
    return element("dl", { class: "facts" }, ...rows);
  }

  function found(dialogue, details) {
    if (!details.findings.length) return element("p", {}, "No findings.");
    const items = details.findings.map((finding) => element("li", {},
      element("a", { href: place(dialogue.id, finding.first_sequence) }, `${named(finding.pattern)}, messages ${finding.first_sequence} to ${finding.last_sequence}`),
      element("div", { class: "small" }, said(finding.why))));
    return element("div", {}, element("h3", {}, count(details.findings.length, "finding")), element("ul", { class: "findings" }, ...items));
  }

  function attributes(details) {
    if (details.attributes === "{}") return null;
    return element("details", {}, element("summary", {}, "Attributes"), element("pre", {}, said(details.attributes)));
  }

  function messageItem(dialogue, details, message) {
    const [name, way] = DIRECTIONS[message.direction];
    const here = details.findings.filter((one) => one.first_sequence <= message.sequence && message.sequence <= one.last_sequence);
    const ends = here.filter((one) => message.sequence === one.first_sequence || message.sequence === one.last_sequence);
    const marks = ends.map((one) => element("span", { class: "tag found", title: one.why },
        `${named(one.pattern)} ${message.sequence === one.first_sequence ? "begins" : "ends"}`));
    const meta = [
      element("a", { href: place(dialogue.id, message.sequence), class: "sequence" }, `${message.sequence}`),
      element("b", {}, said(message.sender)),
      message.role ? element("span", { class: "small" }, said(message.role)) : null,
      message.recipient ? element("span", { class: "small" }, "to ", said(message.recipient)) : null,
      element("span", { class: "way" }, way),
      message.priority ? element("span", { class: "tag" }, message.priority) : null,
      message.reply ? element("a", { href: place(dialogue.id, message.reply), class: "small" }, `replies to ${message.reply}`) : null,
      element("time", { class: "small", title: `position ${message.position}, recorded ${moment(message.at)}` },
        message.sent === undefined ? "time unknown" : time(moment(Math.floor(message.sent / 1000)))),
      ...marks,
    ];
    return element("li", { id: `message-${message.sequence}`, tabindex: "-1", class: `${name}${ends.length ? " marked" : here.length ? " within" : ""}` },
      element("div", { class: "meta" }, ...meta), ...message.parts.map(part));
  }

  const FORMS = {
    text: () => null,
    call: (name) => ["calls ", said(name)],
    result: (name) => (name ? ["result of ", said(name)] : ["result"]),
    json: () => ["JSON"],
    bytes: () => ["bytes, as base64"],
    more: () => ["also"],
    envelope: (name) => [`with ${named(name)}`],
  };

  function part([form, text, name]) {
    const label = FORMS[form](name);
    const body = text ? said(text, form === "text" ? "div" : "pre") : element("span", { class: "small" }, "(empty)");
    const title = label && element("div", { class: "label" }, ...label);
    if (form === "envelope") return element("details", {}, element("summary", {}, ...label), body);
    const lines = text.split("\n").length;
    if (text.length <= LONG.characters && lines <= LONG.lines) return element("div", { class: `part ${form}` }, title, body);
    const beginning = text.slice(0, 300).replace(/\s+/g, " ").slice(0, 160);
    const summary = element("summary", {}, `${count(lines, "line")}, ${count(text.length, "character")}: `, said(beginning + "…"));
    return element("div", { class: `part ${form}` }, title, element("details", {}, summary, body));
  }

  // Where one is

  let scrolled = 0;

  function show(id) {
    if (!byId("overview").hidden) scrolled = scrollY;
    for (const view of ["overview", "dialogue"]) byId(view).hidden = view !== id;
  }

  async function route() {
    const [view, id, sequence] = location.hash.slice(1).split("/");
    if (view !== "dialogue") {
      const opened = byId("dialogue").hidden ? null : byId("dialogue").dataset.id;
      show("overview");
      if (opened) {
        scrollTo(0, scrolled);
        byId("dialogues").querySelector(`a[href="${place(opened)}"]`)?.focus({ preventScroll: true });
      }
      return;
    }
    const dialogue = dialogues.find((row) => row.id === id);
    if (!dialogue || !window.DecompressionStream) {
      const why = dialogue ? "This browser is too old to unpack transcripts: it has no DecompressionStream. " : "This report has no such dialogue. ";
      byId("dialogue").replaceChildren(element("p", {}, why, element("a", { href: "#" }, "All dialogues")));
      show("dialogue");
      return;
    }
    byId("dialogue").dataset.id = id;
    const wanted = Number.parseInt(sequence, 10);
    await open(dialogue, wanted >= 1 && wanted <= dialogue.messages ? wanted : 0);
  }

  // Light and dark

  function theme() {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const button = byId("theme");
    const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
    const label = () => { button.textContent = isDark() ? "Light" : "Dark"; };
    button.addEventListener("click", () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; label(); });
    dark.addEventListener("change", label);
    label();
    button.hidden = false;
  }

  // On paper nothing can be opened, and no next page be asked for.
  function printing() {
    let closed = [];
    let page = 0;
    addEventListener("beforeprint", () => {
      page = state.page;
      Object.assign(state, { page: 0, rows: ROWS.paper });
      list();
      closed = [...document.querySelectorAll(".transcript details:not([open])")];
      for (const details of closed) details.open = true;
    });
    addEventListener("afterprint", () => {
      for (const details of closed) details.open = false;
      Object.assign(state, { page, rows: ROWS.screen });
      list();
    });
  }

  theme();
  printing();
  filters();
  list();
  addEventListener("hashchange", route);
  route();
})();
