// The npm package `statuspage.io`, unmodified, on our page. Prints one JSON object: what each of its calls gave back.
//
// statuspage.js NODE_MODULES URL
const [folder, url] = process.argv.slice(2);
const {Statuspage} = require(`${folder}/statuspage.io`);

(async () => {
  const client = new Statuspage("tocsin");
  client.setApiUrl(url);
  const {api} = client;
  console.log(JSON.stringify({
    summary: await api.getSummary(),
    status: await api.getStatus(),
    components: await api.getComponents(),
    incidents: await api.incidents.getAll(),
    unresolved: await api.incidents.getUnresolved(),
    upcoming: await api.scheduledMaintenances.getUpcoming(),
  }));
})();
