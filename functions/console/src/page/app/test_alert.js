// The section "Test alert".

async function testView() {
  const [recipients, integrations] = await Promise.all([fetchAll("/recipients", "recipients"), fetchAll("/integrations", "integrations")]);
  const category = select({ "": "First enabled category", ...Object.fromEntries(Object.entries(CATEGORIES).map(([key, [title]]) => [key, title])) }, "");
  const channel = select({ "": "All", ...DELIVERY_CHANNELS }, "");
  const destinations = Object.fromEntries([...recipients, ...integrations].map((one) => [one.id, one.name]));
  const destination = select({ "": "All recipients and integrations", ...destinations }, "");
  const [confirmAll, confirmAllRow] = checkbox("Send even if this reaches more than 10 destinations", false, { "data-pointer": "/confirm_all" });
  category.dataset.pointer = "/category";
  channel.dataset.pointer = "/channel";
  const result = h("div", { "aria-live": "polite" });
  const form = h("form", { novalidate: true },
    h("div", { class: "grid" }, field("Category", category), field("Channel", channel), field("Send to", destination)), confirmAllRow,
    h("button", { type: "submit", class: "primary" }, "Send test alert"));
  form.addEventListener("submit", action(async () => {
    const body = { wait_seconds: 2, confirm_all: confirmAll.checked };
    if (category.value) body.category = category.value;
    if (channel.value) body.channel = channel.value;
    if (destination.value) body[destination.value.startsWith("rcp_") ? "recipient_id" : "integration_id"] = destination.value;
    result.replaceChildren(h("p", {}, "Sending…"));
    showStatus("");
    let answer;
    try {
      answer = (await api("POST", "/test-alert", { body })).content;
    } catch (problem) {
      result.replaceChildren();
      return showErrors(problem, form);
    }
    await followTest(answer, result);
  }));
  return [h("div", { class: "card" }, h("h2", {}, "Send test alert"),
    h("p", { class: "hint" }, "A test alert is marked as a test and takes the same path as a real alert. It is sent once without retries, also reaches disabled integrations, and counts only toward the limit of test alerts."),
    form), result];
}

/** Shows the results of a test until nothing is pending, for at most two minutes. */
async function followTest(answer, place) {
  const end = Date.now() + 120000;
  for (;;) {
    place.replaceChildren(testResults(answer, place));
    if (answer.complete || Date.now() > end || current !== "test") break;
    await new Promise((done) => setTimeout(done, 1000));
    answer = (await api("GET", `/test-alert/${answer.test_id}`)).content;
  }
  const failed = answer.rows.some((row) => row.outcome === "failed");
  showStatus(testSummary(answer), failed ? "bad" : "good");
}

/** For example: "Test finished: 9 delivered · 1 failed · 2 blocked · 5 skipped as configured". */
function testSummary({ complete, rows }) {
  const count = (matches) => rows.filter(matches).length;
  const parts = [
    [count((row) => row.outcome === "failed"), "failed"],
    [count(isBlocked), "blocked"],
    [count((row) => row.outcome === "skipped" && !isBlocked(row)), "skipped as configured"],
    [count((row) => row.outcome === "held"), "held"],
    [count((row) => row.outcome === "pending"), "pending"],
  ].filter(([number]) => number > 0).map(([number, label]) => `${number} ${label}`);
  const delivered = `${count((row) => ["delivered", "accepted"].includes(row.outcome))} delivered`;
  return `${complete ? "Test finished" : "Test not finished yet"}: ${[delivered, ...parts].join(" · ")}`;
}

function testResults(answer, place) {
  const rows = answer.rows.map((row) => {
    const resend = row.outcome === "failed" && button("Send again", action(async () => {
      const destination = row.recipient_id ? { recipient_id: row.recipient_id } : { integration_id: row.integration_id };
      await api("POST", `/incidents/${answer.incident_id}/resend`, { body: { ...destination, channel: row.channel } });
      showStatus("It will be sent again within a minute.", "good");
      await followTest((await api("GET", `/test-alert/${answer.test_id}`)).content, place);
    }));
    return [
      h("strong", {}, destinationName(row)), labelOf(DELIVERY_CHANNELS, row.channel), outcomeBadge(row),
      [row.detail, row.status && ` HTTP ${row.status}.`, row.response && h("pre", {}, row.response), settingLine(row.setting)],
      [row.remedy, resend && h("div", { class: "row" }, resend)], formatSeconds(row.latency_ms),
    ];
  });
  return h("div", { class: "card", "data-test": answer.test_id }, h("h2", {}, `Results: ${CATEGORIES[answer.category][0]}`),
    !answer.complete && h("p", { class: "quiet" }, "Some deliveries are still pending…"),
    table("Test results", ["Destination", "Channel", "Outcome", "What happened", "What to do", "Delivery time"], rows));
}
