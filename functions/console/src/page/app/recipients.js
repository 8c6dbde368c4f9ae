// The section "Recipients": the people who receive alerts.

async function recipientsView() {
  const recipients = await fetchAll("/recipients", "recipients");
  const rows = recipients.map((one) => [
    [h("strong", {}, one.name), findingsAbout("destination", one.id)],
    contactCell(one),
    one.roles.map((role) => h("div", {}, labelOf(ROLES, role))),
    h("div", { class: "row" }, button("Edit", () => editRecipient(one.id)),
      one.email && (!one.email_confirmed || one.suppressed) && button("Resend link", action(() => sendConfirmation(one.id, "email"))),
      one.phone && (!one.phone_confirmed || one.sms_opted_out_at) && button("Enter code", () => enterCode(one)),
      button("Remove", () => confirmDialog(`Remove ${one.name}?`, "Remove", () => removeDestination("/recipients", one.id)), "danger")),
  ]);
  return h("div", { class: "card" },
    h("div", { class: "row" }, h("h2", {}, "Recipients"), button("Add recipient", () => editRecipient(null), "primary")),
    rows.length ? table("People who receive alerts", ["Name", "Contact", "Roles", "Actions"], rows)
      : h("p", {}, "No recipients yet. Add the people who should receive alerts."));
}

/** Addresses and numbers, and what keeps alerts from reaching them. */
function contactCell(one) {
  const state = (confirmed) => (confirmed ? badge("Confirmed", "good") : badge("Not confirmed", "warn"));
  return [
    one.email && h("div", {}, one.email, " ", state(one.email_confirmed)),
    one.phone && h("div", {}, one.phone, " ", state(one.phone_confirmed)),
    one.suppressed && h("div", {}, badge(labelOf(SUPPRESSIONS, one.suppressed.reason), "bad")),
    one.sms_opted_out_at && h("div", {}, badge("Opted out of SMS", "bad")),
    one.dnd && badge(one.sms_consent ? "Do not disturb, with consent" : "Do not disturb", one.sms_consent ? "" : "warn"),
    one.shared && badge("Shared address"),
    ...one.unsubscribed.map((category) => badge(`Unsubscribed: ${CATEGORIES[category]?.[0] ?? category}`, "warn")),
  ];
}

async function sendConfirmation(id, channel) {
  await api("POST", `/recipients/${id}/confirmation`, { body: { channel } });
  showStatus(channel === "email" ? "A new link was sent. It is valid for 24 hours." : "A new code was sent.", "good");
}

function enterCode(one) {
  const code = h("input", { inputmode: "numeric", autocomplete: "one-time-code", "data-pointer": "/code" });
  openFormDialog(`Confirm the phone number of ${one.name}`, [
    field("Code", code, "The six digits that we sent to this number by SMS."),
    button("Send a new code", action(() => sendConfirmation(one.id, "sms"))),
  ], async () => {
    await api("POST", `/recipients/${one.id}/confirm`, { body: { channel: "sms", code: code.value.trim() } });
    $("dialog").close();
    await showSection("recipients");
    showStatus("The phone number is confirmed.", "good");
  }, "Confirm");
}

/** Opens the form of a recipient; `id` is null for a new one. */
async function editRecipient(id) {
  const stored = id ? await api("GET", `/recipients/${id}`) : { content: { name: "", roles: [], opt_ins: [], regions: [], components: [] }, etag: "" };
  const one = stored.content;
  const input = (name, value, props = {}) => h("input", { value: value ?? "", "data-pointer": `/${name}`, ...props });
  const controls = {
    name: input("name", one.name),
    email: input("email", one.email, { type: "email", autocomplete: "off" }),
    phone: input("phone", one.phone, { type: "tel", autocomplete: "off" }),
    regions: input("regions", one.regions.join(", ")),
    components: input("components", one.components.join(", ")),
    zone: input("zone", one.zone),
    userId: input("user_id", one.user_id, { autocomplete: "off" }),
    minSeverity: select(minimumSeverities("Use the category's"), one.min_severity ?? ""),
  };
  const roles = new Set(one.roles);
  const optIns = new Set(one.opt_ins);
  const quiet = quietHoursFields(one.quiet_hours, { "": "Use the tenant's", none: "None for this person", own: "Set quiet hours" },
    one.no_quiet_hours ? "none" : one.quiet_hours ? "own" : "");
  const digest = digestFields(one.digest, { "": "Use the tenant's", none: "Off: send each alert on its own" }, one.no_digest ? "none" : "");
  const severities = severityFields(one.min_severities);
  const flagLabels = {
    dnd: "The number is in a do-not-disturb registry",
    sms_consent: "The recipient's consent to SMS is on record",
    shared: "Several people read this address",
  };
  const flags = Object.entries(flagLabels).map(([name, label]) => [name, ...checkbox(label, Boolean(one[name]))]);
  openFormDialog(id ? `Edit ${one.name}` : "Add recipient", [
    field("Name", controls.name),
    h("div", { class: "grid" }, field("Email", controls.email), field("Phone", controls.phone, "International format, for example +14155550100")),
    rolesField("Roles", "/roles", roles),
    h("details", {}, h("summary", {}, "Filters and more"),
      h("div", { class: "grid" },
        field("Severity", controls.minSeverity), severities.fields,
        field("Regions", controls.regions, "Comma-separated. Leave empty for all."),
        field("Components", controls.components, "Comma-separated. Leave empty for all."),
        field("Time zone", controls.zone, "Leave empty to use the tenant's.")),
      h("fieldset", {}, h("legend", {}, "Opt-ins"), checkboxes(OPT_INS, optIns)),
      field("User ID", controls.userId, "The user's ID in the platform. User-level warnings reach only the recipient who is their user."),
      flags.map(([, , row]) => row)),
    h("details", { open: Boolean(one.quiet_hours || one.no_quiet_hours || one.digest || one.no_digest) }, h("summary", {}, "Quiet hours and digest"), quiet.fields, digest.fields),
    h("p", { class: "hint" }, "We ask the owner of a new address or number to confirm it. No alerts are sent to it before that."),
  ], async () => {
    const body = {
      ...Object.fromEntries(flags.map(([name, box]) => [name, box.checked])),
      name: controls.name.value, roles: [...roles], opt_ins: [...optIns],
      email: controls.email.value.trim() || null, phone: controls.phone.value.trim() || null, zone: controls.zone.value.trim() || null,
      user_id: controls.userId.value.trim() || null,
      regions: parseList(controls.regions.value), components: parseList(controls.components.value), min_severity: controls.minSeverity.value || null,
      quiet_hours: quiet.hours(), no_quiet_hours: quiet.mode() === "none", digest: digest.value(),
      no_digest: digest.mode() === "none", min_severities: severities.value(),
    };
    const answer = id ? await api("PATCH", `/recipients/${id}`, { body, etag: stored.etag }) : await api("POST", "/recipients", { body });
    updateFindings(answer);
    $("dialog").close();
    await showSection("recipients");
    const confirmations = Object.entries(answer.content.confirmation ?? {})
      .map(([channel, { state, remedy }]) => `${labelOf(CHANNELS, channel)}: ${labelOf(CONFIRMATIONS, state)}. ${remedy}`);
    showStatus(["Saved.", ...confirmations].join(" "), "good");
  });
}

/** Removes a recipient or an integration; `path` is the list that it is in. */
async function removeDestination(path, id) {
  const { etag } = await api("GET", `${path}/${id}`);
  await api("DELETE", `${path}/${id}`, { etag });
  loaded.lint = (await api("GET", "/lint")).content.lint;
  await showSection(path.slice(1));
  showStatus("Removed.", "good");
}
