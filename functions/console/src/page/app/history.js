// The sections "Delivery log" and "Incidents", and the page of one incident's notifications.

async function deliveriesView() {
  const channel = select({ "": "All channels", ...CHANNELS }, "");
  const outcomes = ["failed", "pending", "held", "skipped", "accepted", "delivered"].map((key) => [key, OUTCOMES[key][0]]);
  const outcome = select({ "": "All outcomes", ...Object.fromEntries(outcomes) }, "");
  const from = h("input", { type: "datetime-local" });
  const body = h("div", {});
  const more = h("div", { class: "row" });
  let entries = [];
  const load = async (cursor) => {
    const query = new URLSearchParams({ limit: "50" });
    if (channel.value) query.set("channel", channel.value);
    if (outcome.value) query.set("outcome", outcome.value);
    if (from.value) query.set("from", new Date(from.value).toISOString());
    if (cursor) query.set("cursor", cursor);
    const { content } = await api("GET", `/deliveries?${query}`);
    entries = cursor ? [...entries, ...content.deliveries] : content.deliveries;
    body.replaceChildren(entries.length ? deliveryTable(entries) : h("p", {}, "No deliveries match these filters."));
    more.replaceChildren(...(content.next ? [button("Load more", action(() => load(content.next)))] : []));
  };
  const form = h("form", {},
    h("div", { class: "grid" }, field("Channel", channel), field("Outcome", outcome), field("Incidents since", from, "Leave empty for the last seven days.")),
    h("button", { type: "submit" }, "Apply filters"));
  form.addEventListener("submit", action(() => load("")));
  await load("");
  return h("div", { class: "card" }, h("h2", {}, "Delivery log"), form, body, more);
}

function deliveryTable(entries) {
  return table("Newest incident first", ["Time", "Incident", "Destination", "Channel", "Outcome", "Details"], entries.map((entry) => [
    formatTime(entry.at ?? entry.started_at),
    [button(entry.title, () => showIncident(entry.incident_id)), entry.test && badge("Test")],
    destinationName(entry), labelOf(DELIVERY_CHANNELS, entry.channel), outcomeBadge(entry), detailsCell(entry),
  ]));
}

/** Why a delivery had its outcome, and what its attempts met. */
function detailsCell(entry) {
  const attempts = (entry.attempts ?? []).map((one) => h("div", {},
    `Attempt ${one.attempt}, ${formatTime(one.at)}: ${one.sentence}${one.status ? ` HTTP ${one.status}.` : ""} `, h("em", {}, one.remedy),
    one.response && h("pre", {}, one.response.slice(0, 1000))));
  return [
    entry.late_source && h("div", {}, `The source reported this late: it started at ${formatTime(entry.late_source)}.`),
    entry.reason && h("div", {}, entry.sentence, entry.until && ` Until ${formatTime(entry.until)}.`, " ", h("em", {}, entry.remedy ?? "")),
    settingLine(entry.setting),
    ...attempts,
  ];
}

async function incidentsView() {
  const { content } = await api("GET", "/incidents?limit=100");
  const rows = content.incidents.map((one) => {
    const statuses = one.kind === "maintenance" ? MAINTENANCE_STATUSES : INCIDENT_STATUSES;
    return [
      formatTime(one.started_at), [one.title, one.test && badge("Test")], one.category ? CATEGORIES[one.category][0] : "User-level warning",
      labelOf(SEVERITIES, one.severity), badge(labelOf(statuses, one.status), one.status === "resolved" ? "good" : "warn"),
      button("Who was notified", () => showIncident(one.incident_id)),
    ];
  });
  const id = h("input", { autocomplete: "off", placeholder: "inc_…" });
  const find = h("form", {}, field("Find an incident by its ID", id), h("button", { type: "submit" }, "Find"));
  find.addEventListener("submit", action(async () => { if (id.value.trim()) await showIncident(encodeURIComponent(id.value.trim())); }));
  return h("div", { class: "card" }, find, h("h2", {}, "Incidents of the last seven days"),
    rows.length ? table("Newest first", ["Started", "Incident", "Category", "Severity", "Status", "Notifications"], rows)
      : h("p", {}, "No incidents in the last seven days."));
}

/** Shows who was notified of an incident, and why the others were not. */
async function showIncident(id) {
  showStatus("");
  current = "incident";
  try {
    const [{ content }, { content: detail }] = await Promise.all([api("GET", `/incidents/${id}/explain`), api("GET", `/incidents/${id}`)]);
    const { incident } = detail;
    const rows = content.decisions.map((entry) => [
      String(entry.update), destinationName(entry), labelOf(DELIVERY_CHANNELS, entry.channel), outcomeBadge(entry), detailsCell(entry), formatTime(entry.at),
    ]);
    const title = h("h2", { tabindex: "-1" }, incident.title);
    $("view").replaceChildren(h("div", { class: "card" },
      h("div", { class: "row" }, button("Back to incidents", () => showSection("incidents")),
        detail.support_url && h("a", { href: detail.support_url, target: "_blank", rel: "noopener noreferrer" }, "Contact Support"),
        button("Download support bundle (JSON)", action(() => downloadSupportBundle(id, "json"))),
        button("Download support bundle (HTML)", action(() => downloadSupportBundle(id, "html")))),
      title, h("p", { class: "quiet" }, `Incident ID: ${id} · Classification rule: ${content.classification.rule ?? "none"}`),
      table("Every recipient and integration on every channel", ["Update", "Destination", "Channel", "Outcome", "Details", "Time"], rows)));
    title.focus();
  } catch (problem) {
    showStatus(problem.message, "bad");
  }
}

async function downloadSupportBundle(id, format) {
  const { content } = await api("GET", `/incidents/${id}/support?format=${format}`, { text: true });
  const url = URL.createObjectURL(new Blob([content], { type: format === "html" ? "text/html" : "application/json" }));
  const link = h("a", { href: url, download: `support-${id}.${format}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
  showStatus("The support bundle is in your downloads.", "good");
}
