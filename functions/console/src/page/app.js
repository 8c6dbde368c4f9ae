// The console of a tenant's admins. It knows nothing that the API does not tell it, and keeps its token in this module only:
// a reload asks again.

const CATEGORIES = {
  infrastructure: ["Infrastructure", "The platform's own availability: APIs, voice routing, networks, regional points of presence."],
  billing: ["Billing", "Payment gateways, invoices, wallet and balance, plan or credit expiry."],
  configurable: ["Configurable", "Your own configuration: webhook errors, IVR, blocked caller rules, agent capacity."],
};
const CHANNELS = { email: "Email", sms: "SMS", chat: "Slack/Teams", webhook: "Webhook" };
const ROLES = { org_admin: "Org Admin", billing_admin: "Billing Admin", tech_devops: "Tech/DevOps", support_manager: "Support Manager" };
const SEVERITIES = { "": "any", info: "info or worse", warning: "warning or worse", error: "error or worse", critical: "critical only" };
const OPT_INS = { configurable_email: "Configurable incidents by e-mail", warnings_email: "User-level warnings by e-mail", warnings_sms: "User-level warnings by SMS" };
const KINDS = { slack: "Slack", teams: "Microsoft Teams", webhook: "Webhook" };
const OUTCOMES = { delivered: "good", accepted: "good", deliver: "good", pending: "", held: "warn", skipped: "warn", failed: "bad" };

const me = { tenant: "", token: "" };
const known = { settings: null, etag: "", catalogue: null, lint: [] };

// ---- what the page is made of

/** An element; text is always text, never markup. */
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

const $ = (id) => document.getElementById(id);
let names = 0;
const fresh = (prefix) => `${prefix}-${(names += 1)}`;

function field(label, control, hint) {
  control.id ||= fresh("field");
  const parts = [h("label", { for: control.id }, label), control];
  if (hint) {
    const id = fresh("hint");
    control.setAttribute("aria-describedby", id);
    parts.push(h("span", { id, class: "hint" }, hint));
  }
  return h("div", {}, parts);
}

function tick(label, checked, props = {}) {
  const id = fresh("tick");
  const box = h("input", { type: "checkbox", id, checked, ...props });
  return [box, h("div", { class: "box" }, box, h("label", { for: id }, label))];
}

function choice(options, value) {
  return h("select", {}, Object.entries(options).map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
}

function table(caption, heads, rows) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", {}, caption),
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell) => h("td", {}, cell)))))));
}

const tag = (text, mood = "") => h("span", { class: `tag ${mood}` }, text);
const when = (text) => (text ? new Date(text).toLocaleString() : "");
const button = (text, onclick, kind = "") => h("button", { type: "button", class: kind, onclick }, text);

function say(text, mood = "") {
  const status = $("status");
  status.className = `status ${mood}`;
  status.textContent = text;
  status.hidden = !text;
}

/** Runs what a button starts: once at a time, and what goes wrong is said. */
function doing(work) {
  return async (event) => {
    event?.preventDefault?.();
    const control = event?.submitter ?? event?.currentTarget;
    if (control?.disabled) return;
    if (control) control.disabled = true;
    try {
      await work(event);
    } catch (problem) {
      say(problem.message, "bad");
    } finally {
      if (control) control.disabled = false;
    }
  };
}

// ---- the API

class Refused extends Error {
  constructor(status, body, retry) {
    const waits = retry ? ` (again in ${retry} s)` : "";
    super(`${body?.detail || `The API answered ${status}.`}${waits}`);
    Object.assign(this, { status, errors: body?.errors ?? [] });
  }
}

async function api(method, path, { body, etag, text } = {}) {
  const headers = { authorization: `Bearer ${me.token}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (etag) headers["if-match"] = etag;
  let answer;
  try {
    answer = await fetch(`v1/tenants/${encodeURIComponent(me.tenant)}${path}`, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store", credentials: "omit",
    });
  } catch {
    throw new Error("The API does not answer. Nothing was changed; try again.");
  }
  const content = text ? await answer.text() : await answer.json().catch(() => null);
  if (!answer.ok) {
    const problem = text ? JSON.parse(content || "null") : content;
    if (answer.status === 401) signOut("The token is not valid any more. Sign in again.");
    throw new Refused(answer.status, problem, answer.headers.get("retry-after"));
  }
  return { content, etag: answer.headers.get("etag") ?? "" };
}

async function all(path, list) {
  const found = [];
  let cursor = "";
  do {
    const { content } = await api("GET", `${path}?limit=500${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
    found.push(...content[list]);
    cursor = content.next ?? "";
  } while (cursor);
  return found;
}

/** Puts each error of a problem document beside its field; what has no field here is said above. */
function place(problem, form) {
  for (const old of form.querySelectorAll(".error")) old.remove();
  for (const old of form.querySelectorAll("[aria-invalid]")) old.removeAttribute("aria-invalid");
  let first = null;
  for (const { pointer, detail } of problem.errors ?? []) {
    const places = [...form.querySelectorAll("[data-pointer]")];
    const at = places.filter((one) => pointer === one.dataset.pointer || pointer.startsWith(`${one.dataset.pointer}/`));
    const target = at.sort((a, b) => b.dataset.pointer.length - a.dataset.pointer.length)[0];
    if (!target) continue;
    const id = fresh("error");
    target.setAttribute("aria-invalid", "true");
    target.setAttribute("aria-errormessage", id);
    target.after(h("span", { class: "error", id, role: "alert" }, detail));
    first ??= target;
  }
  first?.focus();
  say(problem.message, "bad");
}

// ---- signing in and out

$("sign-in-form").addEventListener("submit", doing(async () => {
  me.tenant = $("tenant").value.trim();
  me.token = $("token").value.trim();
  if (!me.tenant || !me.token) return say("Give both the tenant and the token.", "bad");
  say("Signing in…");
  try {
    await load();
  } catch (problem) {
    const why = { 403: "This token may not read the tenant's alerts.", 404: "There is no such tenant for this token." }[problem.status];
    me.token = "";
    return say(why ?? problem.message, "bad");
  }
  $("token").value = "";
  $("sign-in").hidden = true;
  $("app").hidden = false;
  $("who").hidden = false;
  $("who").replaceChildren(`${known.settings.name} (${me.tenant}) `, button("Sign out", () => signOut("You are signed out.")));
  say("");
  show("settings");
  $("title").focus();
}));

function signOut(why) {
  me.token = "";
  Object.assign(known, { settings: null, etag: "", catalogue: null, lint: [] });
  $("view").replaceChildren();
  $("dialog").close();
  $("app").hidden = true;
  $("who").hidden = true;
  $("sign-in").hidden = false;
  $("tenant").focus();
  say(why);
}

async function load() {
  const [settings, catalogue, lint] = await Promise.all([api("GET", "/settings"), api("GET", "/catalogue"), api("GET", "/lint")]);
  Object.assign(known, { settings: settings.content, etag: settings.etag, catalogue: catalogue.content, lint: lint.content.lint });
}

// ---- sections

const SECTIONS = {
  settings: ["Categories and channels", settingsView],
  recipients: ["Recipients", recipientsView],
  integrations: ["Integrations", integrationsView],
  test: ["Test alert", testView],
  deliveries: ["Delivery log", deliveriesView],
  incidents: ["Incidents", incidentsView],
};
let current = "";

async function show(section) {
  current = section;
  $("sections").replaceChildren(...Object.entries(SECTIONS).map(([key, [title]]) => {
    const one = h("button", { type: "button", onclick: () => { say(""); show(key); } }, title);
    if (key === section) one.setAttribute("aria-current", "page");
    return one;
  }));
  $("view").replaceChildren(h("p", { class: "quiet" }, "Loading…"));
  lintAbove();
  try {
    const view = await SECTIONS[section][1]();
    if (current === section) $("view").replaceChildren(...[view].flat());
  } catch (problem) {
    $("view").replaceChildren();
    say(problem.message, "bad");
  }
}

/** What concerns no single place of a section stands above all of them. */
function lintAbove() {
  const general = known.lint.filter((finding) => !finding.category && !finding.destination && finding.setting !== "settings.quiet_hours");
  $("lint").replaceChildren(...general.map(finding));
}

function finding({ sentence, mend }) {
  return h("p", { class: "note warn" }, h("strong", {}, sentence), " ", mend);
}

const lintOf = (name, value) => known.lint.filter((one) => one[name] === value).map(finding);

function learn(answer) {
  if (answer.content?.lint) known.lint = answer.content.lint;
  lintAbove();
}

// ---- categories and channels

function settingsView() {
  const { settings, catalogue } = known;
  const plan = catalogue.plan;
  const edited = structuredClone(settings);
  const form = h("form", { novalidate: true });
  const given = (category, channel) => Object.values(catalogue.matrix).some((row) => row[category]?.[channel]);

  const toggles = Object.entries(CATEGORIES).map(([category, [title, words]]) => {
    const chosen = edited.categories[category];
    const [, row] = tick(title, chosen.enabled, { onchange: (event) => { chosen.enabled = event.target.checked; }, "data-pointer": `/categories/${category}/enabled` });
    const until = h("input", { type: "datetime-local", value: local(chosen.muted_until), "data-pointer": `/categories/${category}/muted_until`,
      onchange: (event) => { chosen.muted_until = event.target.value ? new Date(event.target.value).toISOString() : null; } });
    return h("div", { class: "card" }, h("div", { class: "row" }, row), h("p", { class: "hint" }, words),
      h("details", {}, h("summary", {}, "Mute for a while"), field(`Nobody is told of ${title} before`, until, "Empty ends it.")),
      lintOf("category", category));
  });

  const rows = Object.entries(CATEGORIES).map(([category, [title]]) => [h("strong", {}, title),
    ...Object.entries(CHANNELS).map(([channel, name]) => {
      const chosen = edited.categories[category].channels;
      const why = !given(category, channel) ? "Not for this category" : plan && !plan.channels.includes(channel) ? `Not in the plan ${plan.name}` : "";
      const ticked = chosen.includes(channel);
      const box = h("input", { type: "checkbox", checked: ticked, disabled: Boolean(why) && !ticked, "aria-label": `${title} by ${name}`,
        "data-pointer": `/categories/${category}/channels`,
        onchange: (event) => {
          edited.categories[category].channels = Object.keys(CHANNELS).filter((one) => (one === channel ? event.target.checked : edited.categories[category].channels.includes(one)));
          drawCompliance();
        } });
      return [box, why && h("span", { class: "locked" }, why)];
    })]);

  const compliance = h("div", {});
  const words = (channel) => `I confirm that alerting these recipients by ${channel === "sms" ? "SMS" : "e-mail"} complies with the notification rules that apply to them.`;
  function drawCompliance() {
    const used = ["email", "sms"].filter((channel) => Object.values(edited.categories).some((one) => one.channels.includes(channel)));
    compliance.replaceChildren(...used.map((channel) => {
      const said = settings.compliance.confirmations.find((one) => one.channel === channel);
      const confirmed = edited.compliance.confirmed;
      const [, row] = tick(words(channel), confirmed.includes(channel), { "data-pointer": "/compliance/confirmed", onchange: (event) => {
        edited.compliance.confirmed = event.target.checked ? [...new Set([...edited.compliance.confirmed, channel])] : edited.compliance.confirmed.filter((one) => one !== channel);
      } });
      return h("div", {}, row, said ? h("p", { class: "hint" }, `Confirmed by ${said.by}, ${when(said.at)}.`)
        : h("p", { class: "hint" }, "Until it is confirmed, nobody is told on this channel."));
    }));
  }
  drawCompliance();

  const text = (name, label, hint) => field(label, h("input", { value: String(edited[name]), "data-pointer": `/${name}`, onchange: (event) => { edited[name] = event.target.value; } }), hint);
  const windowField = field("Alert window in seconds", h("input", { type: "number", min: "10", max: "86400", value: String(edited.alert_window_seconds), "data-pointer": "/alert_window_seconds",
    onchange: (event) => { edited.alert_window_seconds = Number(event.target.value); } }), "Within this time an alert should be with the provider.");
  const domains = field("Allowed e-mail domains", h("input", { value: edited.allowed_email_domains.join(", "), "data-pointer": "/allowed_email_domains",
    onchange: (event) => { edited.allowed_email_domains = list(event.target.value); } }), "Comma-separated. Empty allows all.");

  const save = h("button", { type: "submit", class: "primary" }, "Save");
  const conflict = h("div", {});
  form.addEventListener("submit", doing(async () => {
    const patch = changes(settings, edited);
    if (!Object.keys(patch).length) return say("Nothing was changed.");
    try {
      const answer = await api("PATCH", "/settings", { body: patch, etag: known.etag });
      Object.assign(known, { settings: answer.content, etag: answer.etag });
      learn(answer);
      await show("settings");
      say("Saved.", "good");
    } catch (problem) {
      if (problem.status !== 412) return place(problem, form);
      const theirs = await api("GET", "/settings");
      conflict.replaceChildren(conflictView(settings, theirs, patch));
      conflict.firstChild.focus();
      say("Somebody else saved in between. Nothing of yours is lost: choose below.", "bad");
    }
  }));
  const storms = choice({ bundle: "in one message that counts it", each: "one by one" }, settings.storms);
  storms.dataset.pointer = "/storms";
  storms.addEventListener("change", () => { edited.storms = storms.value; });
  const quiet = quietHours(settings.quiet_hours, { "": "none", own: "these hours" }, settings.quiet_hours ? "own" : "", () => { edited.quiet_hours = quiet.hours() ?? undefined; });
  const quietLocked = plan && !plan.quiet_hours && !settings.quiet_hours;
  form.append(
    h("h2", {}, "Incident Categories"), ...toggles,
    h("div", { class: "card" }, h("h2", {}, "Channels"), table("Which channels carry which category", ["Category", ...Object.values(CHANNELS)], rows), compliance),
    h("div", { class: "card" }, h("h2", {}, "General"), h("div", { class: "grid" }, text("name", "Name"), text("zone", "Time zone", "Such as Asia/Kolkata"), windowField, domains)),
    h("div", { class: "card" }, h("h2", {}, "Quiet hours"), h("p", { class: "hint" }, "What people and rooms would be told in them waits until they end, and comes as one message. Webhooks are never held. Recipients can have hours of their own, or none."),
      quietLocked ? h("p", { class: "locked" }, `Not in the plan ${plan.name}`) : quiet.fields, lintOf("setting", "settings.quiet_hours")),
    h("div", { class: "card" }, h("h2", {}, "Too much at once"), field("More than a person can take comes", storms, "Critical alerts come at once, and webhooks get everything.")),
    conflict, save);
  const senders = catalogue.senders;
  return [form, h("div", { class: "card" }, h("h2", {}, "Let these through"),
    h("p", { class: "hint" }, "If accepted messages do not arrive, ask your mail admin and your carrier to allow-list them."),
    table("Whom alerts come from", ["What", "Value"], [["E-mail from", h("code", {}, senders.email_from)], ["Signed by (DKIM)", h("code", {}, senders.email_domain)],
      ["SMS sender", h("code", {}, senders.sms_sender ?? "a number of the carrier's")]]))];
}

function conflictView(before, theirs, patch) {
  const other = changes(before, theirs.content);
  const lines = (change) => h("pre", {}, JSON.stringify(change, null, 2));
  const again = async (then) => { Object.assign(known, { settings: theirs.content, etag: theirs.etag }); await then(); };
  return h("div", { class: "card", role: "group", "aria-label": "Conflict", tabindex: "-1" }, h("h2", {}, "Somebody else saved in between"),
    h("div", { class: "grid" }, h("div", {}, h("h3", {}, "They changed"), lines(other)), h("div", {}, h("h3", {}, "You changed"), lines(patch))),
    h("div", { class: "row" },
      button("Put mine on top", doing(() => again(async () => {
        const answer = await api("PATCH", "/settings", { body: patch, etag: known.etag });
        Object.assign(known, { settings: answer.content, etag: answer.etag });
        learn(answer);
        await show("settings");
        say("Saved: theirs, and yours on top.", "good");
      })), "primary"),
      button("Take theirs", doing(() => again(async () => { await show("settings"); say("Showing what they saved."); })))));
}

/** What is different, as a JSON merge patch. */
function changes(before, after) {
  const patch = {};
  for (const key of ["name", "zone", "alert_window_seconds", "allowed_email_domains", "storms"]) {
    if (JSON.stringify(before[key]) !== JSON.stringify(after[key])) patch[key] = after[key];
  }
  for (const category of Object.keys(CATEGORIES)) {
    for (const key of ["enabled", "channels", "muted_until"]) {
      const [was, is] = [before, after].map((one) => one.categories[category][key] ?? null);
      const same = Array.isArray(was) ? [...was].sort().join() === [...is].sort().join() : was === is;
      if (!same) ((patch.categories ??= {})[category] ??= {})[key] = is;
    }
  }
  const [was, is] = [before, after].map((one) => [...one.compliance.confirmed].sort());
  if (was.join() !== is.join()) patch.compliance = { confirmed: is };
  // A merge patch: what is not named stays, so the zone is named even where there is none.
  const hours = (one) => (one.quiet_hours ? { zone: null, ...one.quiet_hours } : null);
  const text = (one) => JSON.stringify(Object.entries(one ?? {}).sort());
  if (text(hours(before)) !== text(hours(after))) patch.quiet_hours = hours(after);
  return patch;
}

const list = (text) => text.split(",").map((one) => one.trim()).filter(Boolean);

function local(text) {
  if (!text) return "";
  const at = new Date(text);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
}

// ---- dialogs

/** Opens the dialog with a form; `save` throws what the API refuses. The focus goes back to where it came from. */
function ask(title, fields, save, word = "Save") {
  const dialog = $("dialog");
  const from = document.activeElement;
  const form = h("form", { novalidate: true }, h("h2", { id: "dialog-title" }, title), fields,
    h("div", { class: "row" }, h("button", { type: "submit", class: "primary" }, word), button("Cancel", () => dialog.close())));
  form.addEventListener("submit", doing(async () => {
    try {
      await save();
    } catch (problem) {
      return place(problem, form);
    }
  }));
  dialog.replaceChildren(form);
  dialog.addEventListener("close", () => from?.isConnected && from.focus(), { once: true });
  dialog.showModal();
}

function sure(question, word, act) {
  ask(question, [], async () => { await act(); $("dialog").close(); }, word);
}

function rolesField(chosen) {
  return h("fieldset", { "data-pointer": "/roles" }, h("legend", {}, "Roles"), Object.entries(ROLES).map(([role, title]) => {
    const [, row] = tick(title, chosen.has(role), { onchange: (event) => { event.target.checked ? chosen.add(role) : chosen.delete(role); } });
    return row;
  }));
}

// ---- quiet hours and digests

const DAYS = { monday: "Monday", tuesday: "Tuesday", wednesday: "Wednesday", thursday: "Thursday", friday: "Friday", saturday: "Saturday", sunday: "Sunday" };

/** Fields for quiet hours; `modes` are the words of the choice, of which `own` shows the hours. Gives back what the API takes. */
function quietHours(hours, modes, mode, onchange = () => {}) {
  const value = { from: "22:00", to: "07:00", days: [], zone: null, critical_passes: true, ...hours };
  const kind = choice(modes, mode);
  kind.dataset.pointer = "/quiet_hours";
  const control = (name, type) => h("input", { type, value: value[name] ?? "", "data-pointer": `/quiet_hours/${name}`,
    oninput: (event) => { value[name] = event.target.value || null; onchange(); } });
  const [, passes] = tick("Critical alerts are sent all the same", value.critical_passes, { onchange: (event) => { value.critical_passes = event.target.checked; onchange(); } });
  const days = h("fieldset", { "data-pointer": "/quiet_hours/days" }, h("legend", {}, "Beginning on (none ticked is every day)"), h("div", { class: "row" }, Object.entries(DAYS).map(([day, title]) =>
    tick(title, value.days.includes(day), { onchange: (event) => {
      value.days = Object.keys(DAYS).filter((one) => (one === day ? event.target.checked : value.days.includes(one)));
      onchange();
    } })[1])));
  const details = h("div", {}, h("div", { class: "grid" }, field("From", control("from", "time")), field("To", control("to", "time"), "At or before the beginning, it is the next day's"),
    field("Time zone of the hours", control("zone", "text"), "Empty is the usual one")), days, passes);
  const draw = () => { details.hidden = kind.value !== "own"; };
  kind.addEventListener("change", () => { draw(); onchange(); });
  draw();
  return { mode: () => kind.value, hours: () => (kind.value === "own" ? { ...value } : null), fields: [field("Quiet hours", kind), details] };
}

/** Fields for a digest. */
function digestFields(digest) {
  const every = choice({ "": "none: each alert by itself", hourly: "hourly", daily: "daily" }, digest?.every ?? "");
  const at = h("input", { type: "time", value: digest?.at ?? "08:00", "data-pointer": "/digest/at" });
  const { "": _, info: __, ...severities } = SEVERITIES;
  const below = choice(Object.fromEntries(Object.keys(severities).map((key) => [key, `less severe than ${key}`])), digest?.below ?? "error");
  const on = choice({ "email": "e-mails", "sms": "text messages", "email,sms": "both, each in one message" }, digest?.channels?.join(",") ?? "email");
  every.dataset.pointer = "/digest";
  on.dataset.pointer = "/digest/channels";
  below.dataset.pointer = "/digest/below";
  const [when, what, where] = [field("At, local time", at), field("Collected is what is", below), field("Collected are", on)];
  const draw = () => { when.hidden = every.value !== "daily"; what.hidden = where.hidden = !every.value; };
  every.addEventListener("change", draw);
  draw();
  return { value: () => (every.value ? { every: every.value, at: every.value === "daily" ? at.value : null, below: below.value, channels: on.value.split(",") } : null),
    fields: h("div", { class: "grid" }, field("Digest", every), when, what, where) };
}

// ---- recipients

async function recipientsView() {
  const recipients = await all("/recipients", "recipients");
  const rows = recipients.map((one) => {
    const state = (confirmed) => (confirmed ? tag("confirmed", "good") : tag("not confirmed", "warn"));
    const contact = [one.email && h("div", {}, one.email, " ", state(one.email_confirmed)), one.phone && h("div", {}, one.phone, " ", state(one.phone_confirmed)),
      one.suppressed && h("div", {}, tag(one.suppressed.reason === "suppressed_bounce" ? "its mail bounces" : "reported as spam", "bad")),
      one.sms_opted_out_at && h("div", {}, tag("stopped text messages", "bad")),
      one.dnd && tag(one.sms_consent ? "DND, with consent" : "DND", one.sms_consent ? "" : "warn"), one.shared && tag("shared"),
      ...one.unsubscribed.map((category) => tag(`unsubscribed: ${category}`, "warn"))];
    return [[h("strong", {}, one.name), lintOf("destination", one.id)], contact, one.roles.map((role) => h("div", {}, ROLES[role])),
      h("div", { class: "row" }, button("Edit", () => editRecipient(one.id)),
        one.email && (!one.email_confirmed || one.suppressed) && button("Send link again", doing(() => confirmation(one.id, "email"))),
        one.phone && (!one.phone_confirmed || one.sms_opted_out_at) && button("Enter code", () => enterCode(one)),
        button("Remove", () => sure(`Remove ${one.name}?`, "Remove", () => remove("/recipients", one.id)), "danger"))];
  });
  return h("div", { class: "card" }, h("div", { class: "row" }, h("h2", {}, "Recipients"), button("Add recipient", () => editRecipient(null), "primary")),
    rows.length ? table("People who are told", ["Name", "Contact", "Roles", "Actions"], rows) : h("p", {}, "Nobody yet. Add the people who are to be told."));
}

async function confirmation(id, channel) {
  await api("POST", `/recipients/${id}/confirmation`, { body: { channel } });
  say(channel === "email" ? "The link was sent again; it is good for 24 hours." : "A new code was sent.", "good");
}

function enterCode(one) {
  const code = h("input", { inputmode: "numeric", autocomplete: "one-time-code", "data-pointer": "/code" });
  ask(`Confirm the number of ${one.name}`, [field("Code", code, "The six digits that the number got by SMS."),
    button("Send a new code", doing(() => confirmation(one.id, "sms")))], async () => {
    await api("POST", `/recipients/${one.id}/confirm`, { body: { channel: "sms", code: code.value.trim() } });
    $("dialog").close();
    await show("recipients");
    say("The number is confirmed.", "good");
  }, "Confirm");
}

async function editRecipient(id) {
  const now = id ? await api("GET", `/recipients/${id}`) : { content: { name: "", roles: [], opt_ins: [], regions: [], components: [] }, etag: "" };
  const one = now.content;
  const input = (name, value, props = {}) => h("input", { value: value ?? "", "data-pointer": `/${name}`, ...props });
  const controls = {
    name: input("name", one.name), email: input("email", one.email, { type: "email", autocomplete: "off" }), phone: input("phone", one.phone, { type: "tel", autocomplete: "off" }),
    regions: input("regions", one.regions.join(", ")), components: input("components", one.components.join(", ")), zone: input("zone", one.zone),
    min_severity: choice(SEVERITIES, one.min_severity ?? ""),
  };
  const roles = new Set(one.roles);
  const optIns = new Set(one.opt_ins);
  const quiet = quietHours(one.quiet_hours, { "": "the tenant's", none: "none for this person", own: "these hours" }, one.no_quiet_hours ? "none" : one.quiet_hours ? "own" : "");
  const digest = digestFields(one.digest);
  const flags = Object.entries({ dnd: "The number is in a do-not-disturb registry", sms_consent: "Consent to SMS is recorded", shared: "Several people read this address" })
    .map(([name, label]) => [name, ...tick(label, Boolean(one[name]))]);
  ask(id ? `Edit ${one.name}` : "Add a recipient", [
    field("Name", controls.name), h("div", { class: "grid" }, field("E-mail", controls.email), field("Phone", controls.phone, "International form, such as +14155550100")), rolesField(roles),
    h("details", {}, h("summary", {}, "Filters and more"), h("div", { class: "grid" },
      field("Severity", controls.min_severity), field("Regions", controls.regions, "Comma-separated; empty takes all"),
      field("Components", controls.components, "Comma-separated; empty takes all"), field("Time zone", controls.zone, "Empty is the tenant's")),
    h("fieldset", {}, h("legend", {}, "Opt-ins"), Object.entries(OPT_INS).map(([name, label]) =>
      tick(label, optIns.has(name), { onchange: (event) => { event.target.checked ? optIns.add(name) : optIns.delete(name); } })[1])),
    flags.map(([, , row]) => row)),
    h("details", { open: Boolean(one.quiet_hours || one.no_quiet_hours || one.digest) }, h("summary", {}, "Quiet hours and digest"), quiet.fields, digest.fields),
    h("p", { class: "hint" }, "A new address or number is asked first: nothing is sent to it before its owner confirms."),
  ], async () => {
    const body = { ...Object.fromEntries(flags.map(([name, box]) => [name, box.checked])), name: controls.name.value, roles: [...roles], opt_ins: [...optIns],
      email: controls.email.value.trim() || null, phone: controls.phone.value.trim() || null, zone: controls.zone.value.trim() || null,
      regions: list(controls.regions.value), components: list(controls.components.value), min_severity: controls.min_severity.value || null,
      quiet_hours: quiet.hours(), no_quiet_hours: quiet.mode() === "none", digest: digest.value() };
    const answer = id ? await api("PATCH", `/recipients/${id}`, { body, etag: now.etag }) : await api("POST", "/recipients", { body });
    learn(answer);
    $("dialog").close();
    await show("recipients");
    const asked = Object.entries(answer.content.confirmation ?? {}).map(([channel, { state, mend }]) => `${CHANNELS[channel]}: ${state}. ${mend}`);
    say(["Saved.", ...asked].join(" "), "good");
  });
}

async function remove(path, id) {
  const { etag } = await api("GET", `${path}/${id}`);
  await api("DELETE", `${path}/${id}`, { etag });
  known.lint = (await api("GET", "/lint")).content.lint;
  await show(path.slice(1));
  say("Removed.", "good");
}

// ---- integrations

async function integrationsView() {
  const integrations = await all("/integrations", "integrations");
  const rows = integrations.map((one) => {
    const state = one.disabled ? tag(`disabled: ${one.disabled.cause}`, "bad") : one.paused ? tag("paused", "warn")
      : one.failing_since ? tag(`failing since ${when(one.failing_since)}`, "bad") : tag("on", "good");
    const change = (body, words) => doing(async () => {
      const { etag } = await api("GET", `/integrations/${one.id}`);
      learn(await api("PATCH", `/integrations/${one.id}`, { body, etag }));
      await show("integrations");
      say(words, "good");
    });
    return [[h("strong", {}, one.name), lintOf("destination", one.id)], [KINDS[one.kind], h("div", { class: "quiet" }, one.host)], state, one.audiences.map((role) => h("div", {}, ROLES[role])),
      h("div", { class: "row" }, button("Edit", () => editIntegration(one.id)),
        one.disabled ? button("Enable", change({ enabled: true }, "Enabled.")) : button(one.paused ? "Resume" : "Pause", change({ paused: !one.paused }, one.paused ? "Resumed." : "Paused.")),
        one.kind === "webhook" && button("New secret", () => newSecret(one)),
        button("Remove", () => sure(`Remove ${one.name}?`, "Remove", () => remove("/integrations", one.id)), "danger"))];
  });
  return h("div", { class: "card" }, h("div", { class: "row" }, h("h2", {}, "Integrations"), button("Add integration", () => editIntegration(null), "primary")),
    rows.length ? table("Slack, Teams and webhooks", ["Name", "Where", "State", "Stands for", "Actions"], rows) : h("p", {}, "None yet. Add a Slack or Teams channel, or a webhook of your own."));
}

/** A field for the secret that a receiver has already. */
function secretField() {
  const own = h("input", { "data-pointer": "/secret", autocomplete: "off", spellcheck: "false", placeholder: "whsec_…" });
  $("dialog").addEventListener("close", () => { own.value = ""; }, { once: true });
  return own;
}

const SECRET_HINT = "Leave it empty for one of ours. Your own is whsec_ and 24 to 64 random bytes as base64, as openssl rand -base64 32 prints them.";

function newSecret(one) {
  const own = secretField();
  ask(`New secret for ${one.name}`, [h("p", {}, "The secret of before signs beside it for 24 hours."), field("Secret", own, SECRET_HINT)], async () => {
    const given = own.value.trim();
    const { content } = await api("POST", `/integrations/${one.id}/secret`, { body: given ? { secret: given } : {} });
    $("dialog").close();
    await show("integrations");
    say("Saved.", "good");
    if (!given) secret(content.secret);
  });
}

function secret(text) {
  const dialog = $("dialog");
  const shown = h("code", { id: "secret" }, text);
  dialog.replaceChildren(h("h2", { id: "dialog-title" }, "The signing secret"), h("p", {}, "It is shown this once. Give it to the receiver, which checks our signature with it."), h("pre", {}, shown),
    h("div", { class: "row" }, button("Copy", doing(async () => { await navigator.clipboard.writeText(text); say("Copied.", "good"); })), button("Done", () => dialog.close(), "primary")));
  dialog.addEventListener("close", () => { shown.textContent = ""; show("integrations"); }, { once: true });
  dialog.showModal();
}

async function editIntegration(id) {
  const now = id ? await api("GET", `/integrations/${id}`) : { content: { name: "", kind: "webhook", audiences: [], categories: [], regions: [], components: [] }, etag: "" };
  const one = now.content;
  const name = h("input", { value: one.name, "data-pointer": "/name" });
  const kind = choice(KINDS, one.kind);
  kind.disabled = Boolean(id);
  const url = h("input", { type: "url", "data-pointer": "/url", autocomplete: "off", placeholder: id ? `unchanged (${one.host})` : "https://…" });
  const own = secretField();
  const regions = h("input", { value: one.regions.join(", "), "data-pointer": "/regions" });
  const components = h("input", { value: one.components.join(", "), "data-pointer": "/components" });
  const severity = choice(SEVERITIES, one.min_severity ?? "");
  const roles = new Set(one.audiences);
  const categories = new Set(one.categories);
  const audiences = rolesField(roles);
  audiences.dataset.pointer = "/audiences";
  audiences.firstChild.textContent = "Stands for these roles";
  const ours = field("Secret", own, SECRET_HINT);
  const signed = () => { ours.hidden = kind.value !== "webhook"; };
  kind.addEventListener("change", signed);
  signed();
  ask(id ? `Edit ${one.name}` : "Add an integration", [field("Name", name), field("Kind", kind), field("URL", url, "Slack: an incoming webhook. Teams: the URL of a Workflows webhook."), !id && ours, audiences,
    h("details", {}, h("summary", {}, "Filters"), h("div", { class: "grid" }, field("Severity", severity), field("Regions", regions, "Comma-separated; empty takes all"), field("Components", components, "Comma-separated; empty takes all")),
      h("fieldset", {}, h("legend", {}, "Only these categories (none ticked takes all)"), Object.entries(CATEGORIES).map(([category, [title]]) =>
        tick(title, categories.has(category), { onchange: (event) => { event.target.checked ? categories.add(category) : categories.delete(category); } })[1]))),
  ], async () => {
    const body = { name: name.value, audiences: [...roles], categories: [...categories], regions: list(regions.value), components: list(components.value), min_severity: severity.value || null };
    if (url.value.trim()) body.url = url.value.trim();
    const given = !ours.hidden && own.value.trim();
    if (given) body.secret = given;
    const answer = id ? await api("PATCH", `/integrations/${id}`, { body, etag: now.etag }) : await api("POST", "/integrations", { body: { ...body, kind: kind.value } });
    learn(answer);
    $("dialog").close();
    await show("integrations");
    say("Saved.", "good");
    if (answer.content.secret && !given) secret(answer.content.secret);
  });
}

// ---- test alert

async function testView() {
  const [recipients, integrations] = await Promise.all([all("/recipients", "recipients"), all("/integrations", "integrations")]);
  const category = choice({ "": "the first that is on", ...Object.fromEntries(Object.entries(CATEGORIES).map(([key, [title]]) => [key, title])) }, "");
  const channel = choice({ "": "all", email: "Email", sms: "SMS", slack: "Slack", teams: "Teams", webhook: "Webhook" }, "");
  const to = choice({ "": "everybody", ...Object.fromEntries([...recipients, ...integrations].map((one) => [one.id, one.name])) }, "");
  const [everybody, meant] = tick("I mean it, even if it reaches more than ten", false, { "data-pointer": "/confirm_all" });
  category.dataset.pointer = "/category";
  channel.dataset.pointer = "/channel";
  const result = h("div", { "aria-live": "polite" });
  const form = h("form", { novalidate: true }, h("div", { class: "grid" }, field("Category", category), field("Channel", channel), field("To", to)), meant,
    h("button", { type: "submit", class: "primary" }, "Send test alert"));
  form.addEventListener("submit", doing(async () => {
    const body = { wait_seconds: 2, confirm_all: everybody.checked };
    if (category.value) body.category = category.value;
    if (channel.value) body.channel = channel.value;
    if (to.value) body[to.value.startsWith("rcp_") ? "recipient_id" : "integration_id"] = to.value;
    result.replaceChildren(h("p", {}, "Sending…"));
    say("");
    let answer;
    try {
      answer = (await api("POST", "/test-alert", { body })).content;
    } catch (problem) {
      result.replaceChildren();
      return place(problem, form);
    }
    await follow(answer, result);
  }));
  return [h("div", { class: "card" }, h("h2", {}, "Send test alert"),
    h("p", { class: "hint" }, "It goes through the real queues, rules and senders, marked as a test. It is tried once, reaches a disabled integration, and counts nowhere."), form), result];
}

/** Shows how a test stands until nothing is pending, for two minutes at most. */
async function follow(answer, place) {
  const end = Date.now() + 120000;
  for (;;) {
    place.replaceChildren(outcomes(answer, place));
    if (answer.complete || Date.now() > end || current !== "test") break;
    await new Promise((done) => setTimeout(done, 1000));
    answer = (await api("GET", `/test-alert/${answer.test_id}`)).content;
  }
  const count = (outcome) => answer.rows.filter((row) => row.outcome === outcome).length;
  const told = count("delivered") + count("accepted");
  say(`Test done: ${told} told, ${count("skipped") + count("held")} not meant to be, ${count("failed")} failed.`, count("failed") ? "bad" : "good");
}

function outcomes(answer, place) {
  const rows = answer.rows.map((row) => {
    const again = row.outcome === "failed" && button("Send again", doing(async () => {
      await api("POST", `/incidents/${answer.incident_id}/resend`, { body: { [row.recipient_id ? "recipient_id" : "integration_id"]: row.recipient_id ?? row.integration_id, channel: row.channel } });
      say("It is handed out again within a minute.", "good");
      await follow((await api("GET", `/test-alert/${answer.test_id}`)).content, place);
    }));
    return [h("strong", {}, row.name ?? row.recipient_id ?? row.integration_id), row.channel, [tag(row.outcome, OUTCOMES[row.outcome]), row.reason && h("div", { class: "quiet" }, row.reason)],
      [row.detail, row.status && ` HTTP ${row.status}.`, row.response && h("pre", {}, row.response), row.setting && h("div", { class: "quiet" }, row.setting)],
      [row.mend, again && h("div", { class: "row" }, again)], row.latency_ms === null ? "" : `${row.latency_ms}\u00a0ms`];
  });
  return h("div", { class: "card", "data-test": answer.test_id }, h("h2", {}, `Outcome: ${CATEGORIES[answer.category][0]}`), !answer.complete && h("p", { class: "quiet" }, "Some are still on their way…"),
    table("What came of the test", ["Who", "Channel", "Outcome", "What happened", "What to do", "Took"], rows));
}

// ---- delivery log, incidents, explanation

async function deliveriesView() {
  const channel = choice({ "": "all channels", ...{ email: "Email", sms: "SMS", chat: "Slack/Teams", webhook: "Webhook" } }, "");
  const outcome = choice({ "": "all outcomes", failed: "failed", pending: "pending", held: "held", skipped: "skipped", accepted: "accepted", delivered: "delivered" }, "");
  const from = h("input", { type: "datetime-local" });
  const body = h("div", {});
  const more = h("div", { class: "row" });
  let lines = [];
  const read = async (cursor) => {
    const query = new URLSearchParams({ limit: "50" });
    if (channel.value) query.set("channel", channel.value);
    if (outcome.value) query.set("outcome", outcome.value);
    if (from.value) query.set("from", new Date(from.value).toISOString());
    if (cursor) query.set("cursor", cursor);
    const { content } = await api("GET", `/deliveries?${query}`);
    lines = cursor ? [...lines, ...content.deliveries] : content.deliveries;
    body.replaceChildren(lines.length ? table("Newest incident first", ["When", "Incident", "Who", "Channel", "Outcome", "Why"], lines.map((line) => [when(line.at ?? line.started_at),
      [button(line.title, () => explain(line.incident_id)), line.test && tag("test")], line.name ?? line.recipient_id ?? line.integration_id, line.channel, tag(line.outcome, OUTCOMES[line.outcome]), why(line)]))
      : h("p", {}, "Nothing in this time."));
    more.replaceChildren(...(content.next ? [button("More", doing(() => read(content.next)))] : []));
  };
  const form = h("form", {}, h("div", { class: "grid" }, field("Channel", channel), field("Outcome", outcome), field("Incidents since", from, "Empty is the last seven days")), h("button", { type: "submit" }, "Show"));
  form.addEventListener("submit", doing(() => read("")));
  await read("");
  return h("div", { class: "card" }, h("h2", {}, "Delivery log"), form, body, more);
}

function why(line) {
  return [line.late_source && h("div", {}, `Its source told us late: it happened ${when(line.late_source)}.`), line.reason && h("div", {}, line.sentence, line.until && ` Until ${when(line.until)}.`, " ", h("em", {}, line.mend ?? "")), line.setting && h("div", { class: "quiet" }, line.setting),
    ...(line.attempts ?? []).map((one) => h("div", {}, `Attempt ${one.attempt}, ${when(one.at)}: ${one.sentence}${one.status ? ` HTTP ${one.status}.` : ""} `, h("em", {}, one.mend), one.response && h("pre", {}, one.response.slice(0, 1000))))];
}

async function incidentsView() {
  const { content } = await api("GET", "/incidents?limit=100");
  const rows = content.incidents.map((one) => [when(one.started_at), [one.title, one.test && tag("test")], one.category ? CATEGORIES[one.category][0] : "User-level warning", one.severity,
    tag(one.status, one.status === "resolved" ? "good" : "warn"), button("Who was told, and why not the others", () => explain(one.incident_id))]);
  return h("div", { class: "card" }, h("h2", {}, "Incidents of the last seven days"), rows.length ? table("Newest first", ["Since", "Incident", "Category", "Severity", "Status", "Explanation"], rows) : h("p", {}, "None."));
}

async function explain(id) {
  say("");
  current = "explanation";
  try {
    const [{ content }, head] = await Promise.all([api("GET", `/incidents/${id}/explain`), api("GET", `/incidents/${id}`)]);
    const rows = content.decisions.map((line) => [String(line.update), line.name ?? line.recipient_id ?? line.integration_id, line.channel, tag(line.outcome, OUTCOMES[line.outcome]), why(line), when(line.at)]);
    const title = h("h2", { tabindex: "-1" }, head.content.incident.title);
    $("view").replaceChildren(h("div", { class: "card" }, h("div", { class: "row" }, button("Back", () => show("incidents")),
      button("Support bundle (JSON)", doing(() => download(id, "json"))), button("Support bundle (page to print)", doing(() => download(id, "html")))),
    title, h("p", { class: "quiet" }, `${id} · rule ${content.classification.rule ?? "none"}`), table("Every recipient, integration and channel", ["Update", "Who", "Channel", "Outcome", "Why", "When"], rows)));
    title.focus();
  } catch (problem) {
    say(problem.message, "bad");
  }
}

async function download(id, format) {
  const { content } = await api("GET", `/incidents/${id}/support?format=${format}`, { text: true });
  const url = URL.createObjectURL(new Blob([content], { type: format === "html" ? "text/html" : "application/json" }));
  const link = h("a", { href: url, download: `support-${id}.${format}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
  say("The bundle was saved to your downloads.", "good");
}
