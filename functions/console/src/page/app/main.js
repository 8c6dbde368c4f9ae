// Signing in and out, and the sections of the page.

const SECTIONS = {
  settings: ["Categories and channels", settingsView],
  recipients: ["Recipients", recipientsView],
  integrations: ["Integrations", integrationsView],
  test: ["Test alert", testView],
  deliveries: ["Delivery log", deliveriesView],
  incidents: ["Incidents", incidentsView],
};

/** The section on the page, or `incident` for the page of one incident. */
let current = "";

async function showSection(section) {
  current = section;
  $("sections").replaceChildren(...Object.entries(SECTIONS).map(([key, [title]]) => {
    const tab = h("button", { type: "button", onclick: () => { showStatus(""); showSection(key); } }, title);
    if (key === section) tab.setAttribute("aria-current", "page");
    return tab;
  }));
  $("view").replaceChildren(h("p", { class: "quiet" }, "Loading…"));
  showGeneralFindings();
  try {
    const view = await SECTIONS[section][1]();
    // Another section may have been chosen while this one was loading.
    if (current === section) $("view").replaceChildren(...[view].flat());
  } catch (problem) {
    $("view").replaceChildren();
    showStatus(problem.message, "bad");
  }
}

function signOut(message) {
  session.token = "";
  Object.assign(loaded, { settings: null, etag: "", catalogue: null, lint: [] });
  $("view").replaceChildren();
  $("dialog").close();
  $("app").hidden = true;
  $("who").hidden = true;
  $("sign-in").hidden = false;
  $("tenant").focus();
  showStatus(message);
}

const SIGN_IN_ERRORS = {
  401: "This token is not valid. Check that you copied all of it, and that it was not revoked and has not expired.",
  403: "This token can't read the tenant's alerts. Use a token with the scope alerts:read.",
  404: "There is no such tenant for this token. Check the tenant's ID.",
};

$("sign-in-form").addEventListener("submit", action(async () => {
  session.tenant = $("tenant").value.trim();
  session.token = $("token").value.trim();
  if (!session.tenant || !session.token) return showStatus("Enter both the tenant and the token.", "bad");
  showStatus("Signing in…");
  try {
    await loadTenant();
  } catch (problem) {
    session.token = "";
    return showStatus(SIGN_IN_ERRORS[problem.status] ?? problem.message, "bad");
  }
  $("token").value = "";
  $("sign-in").hidden = true;
  $("app").hidden = false;
  $("who").hidden = false;
  $("who").replaceChildren(`${loaded.settings.name} (${session.tenant}) `, button("Sign out", () => signOut("You are signed out.")));
  showStatus("");
  showSection("settings");
  $("title").focus();
}));
