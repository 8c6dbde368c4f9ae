// The dialog, and fields that several forms share.

/** The status message inside the dialog, which covers the one at the top of the page. */
const dialogStatus = () => h("p", { id: "dialog-status", role: "status", "aria-live": "polite", class: "status", hidden: true });

/** Opens the dialog with a form. `save` throws what the API rejects. On close, the focus returns to where it was. */
function openFormDialog(title, fields, save, submitLabel = "Save") {
  const dialog = $("dialog");
  const opener = document.activeElement;
  const form = h("form", { novalidate: true }, h("h2", { id: "dialog-title" }, title), fields, dialogStatus(),
    h("div", { class: "row" }, h("button", { type: "submit", class: "primary" }, submitLabel), button("Cancel", () => dialog.close())));
  form.addEventListener("submit", action(async () => {
    try {
      await save();
    } catch (problem) {
      return showErrors(problem, form);
    }
  }));
  dialog.replaceChildren(form);
  dialog.addEventListener("close", () => opener?.isConnected && opener.focus(), { once: true });
  dialog.showModal();
}

/** Asks for a confirmation before `act`. */
function confirmDialog(question, confirmLabel, act) {
  openFormDialog(question, [], async () => { await act(); $("dialog").close(); }, confirmLabel);
}

/** Checkboxes that add values to the set `chosen` or remove them; `labels` maps each value to its label. */
function checkboxes(labels, chosen) {
  return Object.entries(labels).map(([value, label]) => {
    const onchange = (event) => { event.target.checked ? chosen.add(value) : chosen.delete(value); };
    return checkbox(label, chosen.has(value), { onchange })[1];
  });
}

function rolesField(legend, pointer, chosen) {
  return h("fieldset", { "data-pointer": pointer }, h("legend", {}, legend), checkboxes(ROLES, chosen));
}

/** Fields for quiet hours. `modes` labels the choices, of which `own` shows the hours. `hours` returns what the API accepts. */
function quietHoursFields(hours, modes, mode, onchange = () => {}) {
  const value = { from: "22:00", to: "07:00", days: [], zone: null, critical_passes: true, ...hours };
  const choice = select(modes, mode);
  choice.dataset.pointer = "/quiet_hours";
  const input = (name, type) => h("input", { type, value: value[name] ?? "", "data-pointer": `/quiet_hours/${name}`,
    oninput: (event) => { value[name] = event.target.value || null; onchange(); } });
  const [, criticalRow] = checkbox("Send critical alerts during quiet hours", value.critical_passes,
    { onchange: (event) => { value.critical_passes = event.target.checked; onchange(); } });
  const dayRows = Object.entries(DAYS).map(([day, label]) => checkbox(label, value.days.includes(day), { onchange: (event) => {
    value.days = Object.keys(DAYS).filter((one) => (one === day ? event.target.checked : value.days.includes(one)));
    onchange();
  } })[1]);
  const days = h("fieldset", { "data-pointer": "/quiet_hours/days" },
    h("legend", {}, "Days on which quiet hours start (none selected means every day)"), h("div", { class: "row" }, dayRows));
  const details = h("div", {}, h("div", { class: "grid" },
    field("Start", input("from", "time")),
    field("End", input("to", "time"), "An end at or before the start is on the next day."),
    field("Time zone of the quiet hours", input("zone", "text"), "Leave empty to use the time zone set above.")), days, criticalRow);
  const draw = () => { details.hidden = choice.value !== "own"; };
  choice.addEventListener("change", () => { draw(); onchange(); });
  draw();
  return {
    mode: () => choice.value,
    hours: () => (choice.value === "own" ? { ...value } : null),
    fields: [field("Quiet hours", choice), details],
  };
}

/** A minimum severity for each category. `value` returns a merge patch: the API forgets what is null. */
function severityFields(chosen = {}) {
  const controls = Object.entries(CATEGORIES).map(([category, [title]]) => {
    const control = select(minimumSeverities("As above"), chosen[category] ?? "");
    control.dataset.pointer = `/min_severities/${category}`;
    return [category, title, control];
  });
  return {
    value: () => Object.fromEntries(controls.filter(([category, , control]) => control.value || chosen[category])
      .map(([category, , control]) => [category, control.value || null])),
    fields: controls.map(([, title, control]) => field(`Severity: ${title}`, control)),
  };
}

/** Fields for a digest. `modes` labels the choices that are no digest. `value` returns what the API accepts. */
function digestFields(digest, modes = { "": "Off: send each alert on its own" }, mode = "") {
  const every = select({ ...modes, hourly: "Hourly", daily: "Daily" }, digest?.every ?? mode);
  const isOn = () => ["hourly", "daily"].includes(every.value);
  const at = h("input", { type: "time", value: digest?.at ?? "08:00", "data-pointer": "/digest/at" });
  const { info: _, ...limits } = SEVERITIES;
  const below = select(Object.fromEntries(Object.entries(limits).map(([key, label]) => [key, `Less severe than ${label}`])), digest?.below ?? "error");
  const channels = select({ "email": "Email", "sms": "SMS", "email,sms": "Email and SMS, one message each" }, digest?.channels?.join(",") ?? "email");
  every.dataset.pointer = "/digest";
  channels.dataset.pointer = "/digest/channels";
  below.dataset.pointer = "/digest/below";
  const [atField, belowField, channelsField] = [field("Send at (local time)", at), field("Alerts in the digest", below), field("Digest channels", channels)];
  const draw = () => {
    atField.hidden = every.value !== "daily";
    belowField.hidden = channelsField.hidden = !isOn();
  };
  every.addEventListener("change", draw);
  draw();
  return {
    mode: () => every.value,
    value: () => (isOn()
      ? { every: every.value, at: every.value === "daily" ? at.value : null, below: below.value, channels: channels.value.split(",") }
      : null),
    fields: h("div", { class: "grid" }, field("Digest", every), atField, belowField, channelsField),
  };
}
