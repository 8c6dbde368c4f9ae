// The section "Categories and channels": the tenant's settings.

function settingsView() {
  const { settings, catalogue } = loaded;
  const plan = catalogue.plan;
  const edited = structuredClone(settings);
  const form = h("form", { novalidate: true });
  const compliance = complianceFields(settings, edited);
  const conflict = h("div", {});

  const storms = select(STORM_MODES, settings.storms);
  storms.dataset.pointer = "/storms";
  storms.addEventListener("change", () => { edited.storms = storms.value; });

  const quiet = quietHoursFields(settings.quiet_hours, { "": "Off", own: "Set quiet hours" }, settings.quiet_hours ? "own" : "",
    () => { edited.quiet_hours = quiet.hours() ?? undefined; });
  const quietLocked = plan && !plan.quiet_hours && !settings.quiet_hours;

  const digest = digestFields(settings.digest);

  form.addEventListener("submit", action(async () => {
    edited.digest = digest.value() ?? undefined;
    const patch = settingsPatch(settings, edited);
    if (!Object.keys(patch).length) return showStatus("There is nothing to save: no setting was changed.");
    try {
      await saveSettings(patch);
      showStatus("Saved.", "good");
    } catch (problem) {
      if (problem.status !== 412) return showErrors(problem, form);
      const theirs = await api("GET", "/settings");
      conflict.replaceChildren(conflictView(settings, theirs, patch));
      conflict.firstChild.focus();
      showStatus("Someone else saved these settings while you were editing. Your changes are not lost: choose below how to continue.", "bad");
    }
  }));
  form.append(
    h("h2", {}, "Incident Categories"), ...Object.keys(CATEGORIES).map((category) => categoryCard(category, edited)),
    h("div", { class: "card" }, h("h2", {}, "Channels"), channelTable(catalogue, edited, compliance.draw), compliance.fields),
    h("div", { class: "card" }, h("h2", {}, "General"), generalFields(edited)),
    h("div", { class: "card" }, h("h2", {}, "SMS registration"),
      h("p", { class: "hint" }, "Text messages to India must name a registered entity and template (DLT). Without them, nothing is sent to Indian numbers."),
      registrationFields(edited), findingsAbout("setting", "settings.compliance.dlt_entity_id and .dlt_template_id")),
    h("div", { class: "card" }, h("h2", {}, "Quiet hours"),
      h("p", { class: "hint" }, "Alerts to people and chat channels are held until quiet hours end, and then arrive as one message. Webhooks are never held. Recipients can have their own quiet hours, or none."),
      quietLocked ? h("p", { class: "locked" }, notInPlan(plan)) : quiet.fields, findingsAbout("setting", "settings.quiet_hours")),
    h("div", { class: "card" }, h("h2", {}, "Digest"),
      h("p", { class: "hint" }, "Less severe alerts are collected into one message for everybody who has no digest of their own. Recipients can turn it off for themselves."),
      plan && !plan.digest && !settings.digest ? h("p", { class: "locked" }, notInPlan(plan)) : digest.fields),
    h("div", { class: "card" }, h("h2", {}, "Storm protection"),
      field(SETTINGS.storms, storms, "Critical alerts are sent right away, and webhooks receive every alert.")),
    h("div", { class: "card" }, h("h2", {}, "Footprint"),
      h("p", { class: "hint" }, "Incidents of the whole platform notify you only if they affect a component and a region that you use. Select none to be notified of all."),
      plan?.footprint === "tenant" ? footprintFields(catalogue, edited) : h("p", { class: "locked" }, describeFootprint(settings.footprint), " Only the platform can change this.")),
    conflict, h("button", { type: "submit", class: "primary" }, "Save"));
  return [form, sendersCard(catalogue.senders)];
}

async function saveSettings(patch) {
  const answer = await api("PATCH", "/settings", { body: patch, etag: loaded.etag });
  Object.assign(loaded, { settings: answer.content, etag: answer.etag });
  updateFindings(answer);
  await showSection("settings");
}

const notInPlan = (plan) => `Not included in the plan ${plan.name}`;

/** The switch of a category, and until when it is muted. */
function categoryCard(category, edited) {
  const [title, description] = CATEGORIES[category];
  const chosen = edited.categories[category];
  const [, enabledRow] = checkbox(title, chosen.enabled,
    { onchange: (event) => { chosen.enabled = event.target.checked; }, "data-pointer": `/categories/${category}/enabled` });
  const mutedUntil = h("input", { type: "datetime-local", value: localInputValue(chosen.muted_until), "data-pointer": `/categories/${category}/muted_until`,
    onchange: (event) => { chosen.muted_until = event.target.value ? new Date(event.target.value).toISOString() : null; } });
  const minSeverity = select(minimumSeverities("Use the tenant's"), chosen.min_severity ?? "");
  minSeverity.dataset.pointer = `/categories/${category}/min_severity`;
  minSeverity.addEventListener("change", () => { chosen.min_severity = minSeverity.value || undefined; });
  return h("div", { class: "card" }, h("div", { class: "row" }, enabledRow), h("p", { class: "hint" }, description),
    h("details", {}, h("summary", {}, "Mute temporarily"),
      field(`Mute ${title} until`, mutedUntil, "No alerts of this category are sent before then. Leave empty to unmute.")),
    field(`Minimum severity of ${title}`, minSeverity),
    findingsAbout("category", category));
}

/** Which channels carry which category. A channel that roles or plan rule out is locked, unless it is selected. */
function channelTable(catalogue, edited, onchange) {
  const { plan, matrix } = catalogue;
  const isOffered = (category, channel) => Object.values(matrix).some((row) => row[category]?.[channel]);
  const rows = Object.entries(CATEGORIES).map(([category, [title]]) => [h("strong", {}, title), ...Object.entries(CHANNELS).map(([channel, name]) => {
    const selected = edited.categories[category].channels.includes(channel);
    let locked = "";
    if (!isOffered(category, channel)) locked = "Not available for this category";
    else if (plan && !plan.channels.includes(channel)) locked = notInPlan(plan);
    const input = h("input", { type: "checkbox", checked: selected, disabled: Boolean(locked) && !selected, "aria-label": `${title} by ${name}`,
      "data-pointer": `/categories/${category}/channels`,
      onchange: (event) => {
        const before = edited.categories[category].channels;
        edited.categories[category].channels = Object.keys(CHANNELS).filter((one) => (one === channel ? event.target.checked : before.includes(one)));
        onchange();
      } });
    return [input, locked && h("span", { class: "locked" }, locked)];
  })]);
  return table("Channels that carry each category", ["Category", ...Object.values(CHANNELS)], rows);
}

/** The confirmations that alerting by email and SMS is lawful, for the channels that a category uses. */
function complianceFields(settings, edited) {
  const fields = h("div", {});
  // Stored word for word with the confirmation: the same as in `domain::tenant`.
  const wording = (channel) => `I confirm that alerting these recipients by ${channel === "sms" ? "SMS" : "e-mail"} complies with the notification rules that apply to them.`;
  const draw = () => {
    const used = ["email", "sms"].filter((channel) => Object.values(edited.categories).some((one) => one.channels.includes(channel)));
    fields.replaceChildren(...used.map((channel) => {
      const confirmation = settings.compliance.confirmations.find((one) => one.channel === channel);
      const [, row] = checkbox(wording(channel), edited.compliance.confirmed.includes(channel), { "data-pointer": "/compliance/confirmed",
        onchange: (event) => {
          const confirmed = new Set(edited.compliance.confirmed);
          event.target.checked ? confirmed.add(channel) : confirmed.delete(channel);
          edited.compliance.confirmed = [...confirmed];
        } });
      const hint = confirmation ? `Confirmed by ${confirmation.by} on ${formatTime(confirmation.at)}.`
        : `No alerts are sent by ${channel === "sms" ? "SMS" : "email"} until this is confirmed.`;
      return h("div", {}, row, h("p", { class: "hint" }, hint));
    }));
  };
  draw();
  return { fields, draw };
}

function registrationFields(edited) {
  return h("div", { class: "grid" }, Object.entries(SMS_REGISTRATION).map(([key, [label, hint]]) => field(label,
    h("input", { value: edited.compliance[key] ?? "", "data-pointer": `/compliance/${key}`, autocomplete: "off",
      onchange: (event) => { edited.compliance[key] = event.target.value.trim() || undefined; } }), hint)));
}

function generalFields(edited) {
  const text = (name, hint) => field(SETTINGS[name],
    h("input", { value: String(edited[name]), "data-pointer": `/${name}`, onchange: (event) => { edited[name] = event.target.value; } }), hint);
  const alertWindow = h("input", { type: "number", min: "10", max: "86400", value: String(edited.alert_window_seconds), "data-pointer": "/alert_window_seconds",
    onchange: (event) => { edited.alert_window_seconds = Number(event.target.value); } });
  const minSeverity = select(MINIMUM_SEVERITIES, edited.min_severity ?? "");
  minSeverity.dataset.pointer = "/min_severity";
  minSeverity.addEventListener("change", () => { edited.min_severity = minSeverity.value || null; });
  const domains = h("input", { value: edited.allowed_email_domains.join(", "), "data-pointer": "/allowed_email_domains",
    onchange: (event) => { edited.allowed_email_domains = parseList(event.target.value); } });
  return h("div", { class: "grid" }, text("name"), text("zone", "For example Asia/Kolkata"),
    field(SETTINGS.alert_window_seconds, alertWindow, "How long an alert may take to reach the provider before it counts as late."),
    field(SETTINGS.min_severity, minSeverity, "For categories and destinations that have none of their own."),
    field(SETTINGS.allowed_email_domains, domains, "Comma-separated. Leave empty to allow every domain."));
}

/** What the tenant uses of the platform. */
function footprintFields(catalogue, edited) {
  const list = (key, legend) => h("fieldset", { "data-pointer": `/footprint/${key}` }, h("legend", {}, legend), h("div", { class: "row" },
    catalogue[key].map(({ id, name }) => checkbox(name, edited.footprint[key].includes(id), { onchange: (event) => {
      const others = edited.footprint[key].filter((one) => one !== id);
      edited.footprint[key] = event.target.checked ? [...others, id] : others;
    } })[1])));
  return h("div", { "data-pointer": "/footprint" }, list("components", "Components that you use"), list("regions", "Regions that you use"));
}

function describeFootprint(footprint) {
  const names = (key) => footprint[key].map((id) => loaded.catalogue[key].find((one) => one.id === id)?.name ?? id).join(", ");
  return `Components: ${names("components") || "all"}. Regions: ${names("regions") || "all"}.`;
}

function sendersCard(senders) {
  return h("div", { class: "card" }, h("h2", {}, "Allow-list our senders"),
    h("p", { class: "hint" }, "If alerts are accepted but don't arrive, ask your mail admin and your carrier to allow-list these senders."),
    table("Senders of alerts", ["Sender", "Value"], [
      ["Email address", h("code", {}, senders.email_from)],
      ["Email domain (DKIM signature)", h("code", {}, senders.email_domain)],
      ["SMS sender", h("code", {}, senders.sms_sender ?? "a number that the carrier chooses")],
    ]));
}

// ---- changes, and conflicts between two admins

/** What differs, as a JSON merge patch. */
function settingsPatch(before, after) {
  const patch = {};
  for (const key of Object.keys(SETTINGS)) {
    if (JSON.stringify(before[key] ?? null) !== JSON.stringify(after[key] ?? null)) patch[key] = after[key] ?? null;
  }
  for (const category of Object.keys(CATEGORIES)) {
    for (const key of ["enabled", "channels", "muted_until", "min_severity"]) {
      const [was, is] = [before, after].map((one) => one.categories[category][key] ?? null);
      const same = Array.isArray(was) ? [...was].sort().join() === [...is].sort().join() : was === is;
      if (!same) ((patch.categories ??= {})[category] ??= {})[key] = is;
    }
  }
  const [was, is] = [before, after].map((one) => [...one.compliance.confirmed].sort());
  if (was.join() !== is.join()) patch.compliance = { confirmed: is };
  for (const key of Object.keys(SMS_REGISTRATION)) {
    const [given, gives] = [before, after].map((one) => one.compliance[key] ?? null);
    if (given !== gives) (patch.compliance ??= {})[key] = gives;
  }
  for (const key of ["components", "regions"]) {
    const [used, uses] = [before, after].map((one) => [...one.footprint[key]].sort());
    if (used.join() !== uses.join()) (patch.footprint ??= {})[key] = uses;
  }
  // A merge patch keeps what it does not name, so an absent time zone is sent as null.
  const hours = (one) => (one.quiet_hours ? { zone: null, ...one.quiet_hours } : null);
  const text = (one) => JSON.stringify(Object.entries(one ?? {}).sort());
  if (text(hours(before)) !== text(hours(after))) patch.quiet_hours = hours(after);
  const collected = (one) => (one.digest ? { at: null, ...one.digest } : null);
  if (text(collected(before)) !== text(collected(after))) patch.digest = collected(after);
  return patch;
}

/** A patch as pairs of label and new value. */
function describePatch(patch) {
  const names = (labels, codes) => codes.map((code) => labelOf(labels, code)).join(", ") || "None";
  const changes = [];
  for (const [key, label] of Object.entries(SETTINGS).filter(([key]) => key in patch)) {
    const labels = { storms: STORM_MODES, min_severity: MINIMUM_SEVERITIES }[key];
    const value = labels ? labelOf(labels, patch[key] ?? "") : [patch[key]].flat().join(", ");
    changes.push([label, value || "None"]);
  }
  for (const [category, change] of Object.entries(patch.categories ?? {})) {
    const [title] = CATEGORIES[category];
    if ("enabled" in change) changes.push([title, change.enabled ? "On" : "Off"]);
    if ("channels" in change) changes.push([`${title}: channels`, names(CHANNELS, change.channels)]);
    if ("min_severity" in change) changes.push([`${title}: minimum severity`, labelOf(minimumSeverities("The tenant's"), change.min_severity ?? "")]);
    if ("muted_until" in change) changes.push([`${title}: muted until`, formatTime(change.muted_until) || "Not muted"]);
  }
  if (patch.compliance?.confirmed) changes.push(["Compliance confirmed for", names(CHANNELS, patch.compliance.confirmed)]);
  for (const [key, [label]] of Object.entries(SMS_REGISTRATION)) {
    if (key in (patch.compliance ?? {})) changes.push([label, patch.compliance[key] || "None"]);
  }
  if ("digest" in patch) changes.push(["Digest", patch.digest ? `${patch.digest.every}, less severe than ${labelOf(SEVERITIES, patch.digest.below)}` : "Off"]);
  if (patch.footprint) changes.push(["Footprint", describeFootprint({ components: [], regions: [], ...loaded.settings.footprint, ...patch.footprint })]);
  if ("quiet_hours" in patch) changes.push(["Quiet hours", describeQuietHours(patch.quiet_hours)]);
  return changes;
}

function describeQuietHours(hours) {
  if (!hours) return "Off";
  const days = hours.days?.length ? hours.days.map((day) => DAYS[day]).join(", ") : "every day";
  return `${hours.from} to ${hours.to}, ${days}${hours.zone ? `, ${hours.zone}` : ""}; critical alerts ${hours.critical_passes ? "are sent" : "are held"}`;
}

/** Both admins' changes side by side, and what to do about them. */
function conflictView(before, theirs, patch) {
  const changeList = (change) => h("dl", {}, describePatch(change).map(([label, value]) => [h("dt", {}, label), h("dd", {}, value)]));
  const takeTheirs = () => Object.assign(loaded, { settings: theirs.content, etag: theirs.etag });
  return h("div", { class: "card", role: "group", "aria-label": "Conflict", tabindex: "-1" }, h("h2", {}, "Someone else saved these settings"),
    h("div", { class: "grid" },
      h("div", {}, h("h3", {}, "They changed"), changeList(settingsPatch(before, theirs.content))),
      h("div", {}, h("h3", {}, "You changed"), changeList(patch))),
    h("div", { class: "row" },
      button("Save my changes too", action(async () => {
        takeTheirs();
        await saveSettings(patch);
        showStatus("Saved: your changes were added to theirs.", "good");
      }), "primary"),
      button("Discard my changes", action(async () => {
        takeTheirs();
        await showSection("settings");
        showStatus("Your changes were discarded.");
      }))));
}
