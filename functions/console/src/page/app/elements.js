// Elements of the page, and the status message.

const $ = (id) => document.getElementById(id);

/** Creates an element (as hyperscript does). A child is text or an element, never markup. */
function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== undefined && child !== null && child !== false) element.append(child);
  }
  return element;
}

let lastId = 0;
const uniqueId = (prefix) => `${prefix}-${(lastId += 1)}`;

/** A control with its label and an optional hint. */
function field(label, control, hint) {
  control.id ||= uniqueId("field");
  const parts = [h("label", { for: control.id }, label), control];
  if (hint) {
    const id = uniqueId("hint");
    control.setAttribute("aria-describedby", id);
    parts.push(h("span", { id, class: "hint" }, hint));
  }
  return h("div", {}, parts);
}

/** A checkbox with its label; returns the input and the row that holds both. */
function checkbox(label, checked, props = {}) {
  const id = uniqueId("checkbox");
  const input = h("input", { type: "checkbox", id, checked, ...props });
  return [input, h("div", { class: "box" }, input, h("label", { for: id }, label))];
}

/** A list to choose from; `options` maps each value to its label. */
function select(options, value) {
  return h("select", {}, Object.entries(options).map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
}

function table(caption, headings, rows) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", {}, caption),
      h("thead", {}, h("tr", {}, headings.map((heading) => h("th", { scope: "col" }, heading)))),
      h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell) => h("td", {}, cell)))))));
}

const badge = (text, color = "") => h("span", { class: `tag ${color}` }, text);
const button = (text, onclick, kind = "") => h("button", { type: "button", class: kind, onclick }, text);

/** A skip that somebody has to fix, rather than one that follows from the settings. */
const isBlocked = ({ outcome, reason }) => outcome === "skipped" && BLOCKING_REASONS.includes(reason);

function outcomeBadge(entry) {
  if (isBlocked(entry)) return badge("Blocked", "bad");
  const [label, color] = OUTCOMES[entry.outcome] ?? [entry.outcome, ""];
  return badge(label, color);
}

/** The name of a recipient or integration; once it is deleted, the API knows its id only. */
function destinationName({ name, recipient_id: recipient, integration_id: integration }) {
  return name ?? (recipient ? `Deleted recipient (${recipient})` : `Deleted integration (${integration})`);
}

/** The setting that would change a decision, as the API spells it. */
const settingLine = (setting) => setting && h("div", { class: "quiet" }, `Setting: ${setting}`);

// ---- times and lists

const TIME_FORMAT = { year: "numeric", month: "short", day: "numeric", hour: "numeric", minute: "2-digit", second: "2-digit", timeZoneName: "short" };

/** A time in the reader's time zone, with the zone's name. */
const formatTime = (text) => (text ? new Date(text).toLocaleString(undefined, TIME_FORMAT) : "");

function formatSeconds(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return "";
  return milliseconds < 100 ? "< 0.1\u00a0s" : `${(milliseconds / 1000).toFixed(1)}\u00a0s`;
}

/** A time as `datetime-local` inputs take it: in the reader's time zone. */
function localInputValue(text) {
  if (!text) return "";
  const at = new Date(text);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
}

const parseList = (text) => text.split(",").map((part) => part.trim()).filter(Boolean);

// ---- the status message

/** Shows a message at the top of the page and, while a dialog covers that, in the dialog. */
function showStatus(text, color = "") {
  for (const line of [$("status"), $("dialog-status")]) {
    if (!line) continue;
    line.className = `status ${color}`;
    line.textContent = text;
    line.hidden = !text;
  }
}

/** Wraps the handler of a button or form: it runs once at a time, and its errors become the status message. */
function action(run) {
  return async (event) => {
    event?.preventDefault?.();
    const control = event?.submitter ?? event?.currentTarget;
    if (control?.disabled) return;
    if (control) control.disabled = true;
    try {
      await run(event);
    } catch (problem) {
      showStatus(problem.message, "bad");
    } finally {
      if (control) control.disabled = false;
    }
  };
}
