// The section "Integrations": Slack and Teams channels, and webhooks.

async function integrationsView() {
  const integrations = await fetchAll("/integrations", "integrations");
  const rows = integrations.map((one) => [
    [h("strong", {}, one.name), findingsAbout("destination", one.id)],
    [labelOf(INTEGRATION_KINDS, one.kind), h("div", { class: "quiet" }, one.host)],
    integrationState(one),
    one.audiences.map((role) => h("div", {}, labelOf(ROLES, role))),
    h("div", { class: "row" }, button("Edit", () => editIntegration(one.id)), switchButton(one),
      one.kind === "webhook" && button("New secret", () => rotateSecret(one)),
      button("Remove", () => confirmDialog(`Remove ${one.name}?`, "Remove", () => removeDestination("/integrations", one.id)), "danger")),
  ]);
  return h("div", { class: "card" },
    h("div", { class: "row" }, h("h2", {}, "Integrations"), button("Add integration", () => editIntegration(null), "primary")),
    rows.length ? table("Slack, Teams, and webhooks", ["Name", "Type", "State", "Roles", "Actions"], rows)
      : h("p", {}, "No integrations yet. Add a Slack or Teams channel, or a webhook."));
}

function integrationState(one) {
  if (one.disabled) {
    const cause = DISABLED_CAUSES[one.disabled.cause] ?? `Its endpoint rejected alerts (code ${one.disabled.cause}).`;
    return [badge("Disabled", "bad"), h("div", { class: "quiet" }, `${cause} Disabled on ${formatTime(one.disabled.at)}.`)];
  }
  if (one.paused) return badge("Paused", "warn");
  if (one.failing_since) return [badge("Failing", "bad"), h("div", { class: "quiet" }, `Since ${formatTime(one.failing_since)}`)];
  if (one.slow_since) return [badge("Slow", "warn"), h("div", { class: "quiet" }, `Answers in two seconds and more since ${formatTime(one.slow_since)}. Its alerts wait behind those of quicker endpoints.`)];
  return badge("On", "good");
}

/** Enables, resumes, or pauses an integration, whichever applies. */
function switchButton(one) {
  const change = (label, body, status) => button(label, action(async () => {
    const { etag } = await api("GET", `/integrations/${one.id}`);
    updateFindings(await api("PATCH", `/integrations/${one.id}`, { body, etag }));
    await showSection("integrations");
    showStatus(status, "good");
  }));
  if (one.disabled) return change("Enable", { enabled: true }, "Enabled.");
  if (one.paused) return change("Resume", { paused: false }, "Resumed.");
  return change("Pause", { paused: true }, "Paused.");
}

// ---- signing secrets of webhooks

const SECRET_HINT = "Leave empty to generate one. Your own is whsec_ followed by 24 to 64 random bytes in base64, such as openssl rand -base64 32 prints.";

/** A field for a secret that the receiver already has. */
function secretField() {
  const input = h("input", { "data-pointer": "/secret", autocomplete: "off", spellcheck: "false", placeholder: "whsec_…" });
  $("dialog").addEventListener("close", () => { input.value = ""; }, { once: true });
  return input;
}

function rotateSecret(one) {
  const input = secretField();
  openFormDialog(`New secret for ${one.name}`, [
    h("p", {}, "For 24 hours, messages are signed with both the previous secret and the new one."), field("Secret", input, SECRET_HINT),
  ], async () => {
    const own = input.value.trim();
    const { content } = await api("POST", `/integrations/${one.id}/secret`, { body: own ? { secret: own } : {} });
    $("dialog").close();
    await showSection("integrations");
    showStatus("Saved.", "good");
    if (!own) showSecret(content.secret);
  });
}

/** Shows a generated secret; the API returns it only once. */
function showSecret(secret) {
  const dialog = $("dialog");
  const code = h("code", { id: "secret" }, secret);
  dialog.replaceChildren(h("h2", { id: "dialog-title" }, "Signing secret"),
    h("p", {}, "Copy this secret now: it is shown only once. Your receiver verifies our signature with it."), h("pre", {}, code), dialogStatus(),
    h("div", { class: "row" }, button("Copy", action(async () => { await navigator.clipboard.writeText(secret); showStatus("Copied.", "good"); })),
      button("Done", () => dialog.close(), "primary")));
  dialog.addEventListener("close", () => { code.textContent = ""; showSection("integrations"); }, { once: true });
  dialog.showModal();
}

// ---- the form

/** Opens the form of an integration; `id` is null for a new one. */
async function editIntegration(id) {
  const stored = id ? await api("GET", `/integrations/${id}`)
    : { content: { name: "", kind: "webhook", audiences: [], categories: [], regions: [], components: [] }, etag: "" };
  const one = stored.content;
  const name = h("input", { value: one.name, "data-pointer": "/name" });
  const kind = select(INTEGRATION_KINDS, one.kind);
  kind.disabled = Boolean(id);
  const url = h("input", { type: "url", "data-pointer": "/url", autocomplete: "off", placeholder: id ? `unchanged (${one.host})` : "https://…" });
  const secret = secretField();
  const regions = h("input", { value: one.regions.join(", "), "data-pointer": "/regions" });
  const components = h("input", { value: one.components.join(", "), "data-pointer": "/components" });
  const severity = select(minimumSeverities("Use the category's"), one.min_severity ?? "");
  const severities = severityFields(one.min_severities);
  const roles = new Set(one.audiences);
  const categories = new Set(one.categories);
  const categoryTitles = Object.fromEntries(Object.entries(CATEGORIES).map(([key, [title]]) => [key, title]));
  const secretRow = field("Secret", secret, SECRET_HINT);
  const draw = () => { secretRow.hidden = kind.value !== "webhook"; };
  kind.addEventListener("change", draw);
  draw();
  openFormDialog(id ? `Edit ${one.name}` : "Add integration", [
    field("Name", name), field("Type", kind),
    field("URL", url, "For Slack, an incoming webhook. For Teams, the URL of a Workflows webhook."), !id && secretRow,
    rolesField("Receives alerts for these roles", "/audiences", roles),
    h("details", {}, h("summary", {}, "Filters"),
      h("div", { class: "grid" },
        field("Severity", severity), severities.fields,
        field("Regions", regions, "Comma-separated. Leave empty for all."),
        field("Components", components, "Comma-separated. Leave empty for all.")),
      h("fieldset", {}, h("legend", {}, "Only these categories (none selected means all)"), checkboxes(categoryTitles, categories))),
  ], async () => {
    const body = {
      name: name.value, audiences: [...roles], categories: [...categories],
      regions: parseList(regions.value), components: parseList(components.value), min_severity: severity.value || null, min_severities: severities.value(),
    };
    if (url.value.trim()) body.url = url.value.trim();
    const own = !secretRow.hidden && secret.value.trim();
    if (own) body.secret = own;
    const answer = id ? await api("PATCH", `/integrations/${id}`, { body, etag: stored.etag })
      : await api("POST", "/integrations", { body: { ...body, kind: kind.value } });
    updateFindings(answer);
    $("dialog").close();
    await showSection("integrations");
    showStatus("Saved.", "good");
    if (answer.content.secret && !own) showSecret(answer.content.secret);
  });
}
