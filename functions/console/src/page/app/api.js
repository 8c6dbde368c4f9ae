// Requests to the API, and where their errors are shown.

/** Who is signed in. The token is kept here only, so a reload asks for it again. */
const session = { tenant: "", token: "" };

/** What the API said about the tenant when it was last read. */
const loaded = { settings: null, etag: "", catalogue: null, lint: [] };

/** An answer other than 2xx. `errors` holds one entry for each field that is wrong. */
class ApiError extends Error {
  constructor(status, body, retryAfter) {
    const retry = retryAfter ? ` Try again in ${retryAfter} seconds.` : "";
    super(`${body?.detail || `The request failed (HTTP ${status}).`}${retry}`);
    Object.assign(this, { status, errors: body?.errors ?? [] });
  }
}

/** Calls the tenant's API. `text: true` returns the body as it is instead of parsing it as JSON. */
async function api(method, path, { body, etag, text } = {}) {
  const headers = { authorization: `Bearer ${session.token}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (etag) headers["if-match"] = etag;
  let answer;
  try {
    answer = await fetch(`v1/tenants/${encodeURIComponent(session.tenant)}${path}`, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store", credentials: "omit",
    });
  } catch {
    throw new Error("The API can't be reached. Check your connection and try again.");
  }
  const content = text ? await answer.text() : await answer.json().catch(() => null);
  if (!answer.ok) {
    const problem = text ? JSON.parse(content || "null") : content;
    // While signing in, the sign-in form shows its own error.
    if (answer.status === 401 && !$("app").hidden) signOut("Your token is no longer valid. Sign in again.");
    throw new ApiError(answer.status, problem, answer.headers.get("retry-after"));
  }
  return { content, etag: answer.headers.get("etag") ?? "" };
}

/** Reads every page of a list. */
async function fetchAll(path, list) {
  const found = [];
  let cursor = "";
  do {
    const { content } = await api("GET", `${path}?limit=500${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
    found.push(...content[list]);
    cursor = content.next ?? "";
  } while (cursor);
  return found;
}

/** Reads the settings, what the tenant can choose from, and the findings about its settings. */
async function loadTenant() {
  const [settings, catalogue, lint] = await Promise.all([api("GET", "/settings"), api("GET", "/catalogue"), api("GET", "/lint")]);
  Object.assign(loaded, { settings: settings.content, etag: settings.etag, catalogue: catalogue.content, lint: lint.content.lint });
}

/** Shows each error of a problem document beside its field, and the others in the status message. */
function showErrors(problem, form) {
  for (const old of form.querySelectorAll(".error")) old.remove();
  for (const old of form.querySelectorAll("[aria-invalid]")) old.removeAttribute("aria-invalid");
  let first = null;
  let elsewhere = false;
  for (const { pointer, detail } of problem.errors ?? []) {
    const fields = [...form.querySelectorAll("[data-pointer]")]
      .filter((one) => pointer === one.dataset.pointer || pointer.startsWith(`${one.dataset.pointer}/`))
      .sort((a, b) => b.dataset.pointer.length - a.dataset.pointer.length);
    const target = fields[0];
    if (!target) {
      elsewhere = true;
      continue;
    }
    const id = uniqueId("error");
    target.setAttribute("aria-invalid", "true");
    target.setAttribute("aria-errormessage", id);
    target.after(h("span", { class: "error", id, role: "alert" }, detail));
    first ??= target;
  }
  first?.focus();
  showStatus(first && !elsewhere ? "Some fields need attention. See the messages next to them." : problem.message, "bad");
}

// ---- findings: what the current settings cannot do

const findingNote = ({ sentence, remedy }) => h("p", { class: "note warn" }, h("strong", {}, sentence), " ", remedy);

const findingsAbout = (name, value) => loaded.lint.filter((finding) => finding[name] === value).map(findingNote);

/** Shows the findings that belong to no single place of a section above all sections. */
function showGeneralFindings() {
  const general = loaded.lint.filter((finding) => !finding.category && !finding.destination && finding.setting !== "settings.quiet_hours");
  $("lint").replaceChildren(...general.map(findingNote));
}

/** Takes over the findings that the API returns after a write. */
function updateFindings(answer) {
  if (answer.content?.lint) loaded.lint = answer.content.lint;
  showGeneralFindings();
}
