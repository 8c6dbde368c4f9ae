// Labels of the API's codes. The page never shows a code without its label.

/** Category: title and description. */
const CATEGORIES = {
  infrastructure: ["Infrastructure", "Availability of the platform itself: APIs, voice routing, networks, and regional points of presence."],
  billing: ["Billing", "Payment gateways, invoices, wallet and balance, and plan or credit expiry."],
  configurable: ["Configurable", "Your own configuration: webhook errors, IVR, blocked caller rules, and agent capacity."],
};

/** Channel as settings, plans, and filters name it. */
const CHANNELS = { email: "Email", sms: "SMS", chat: "Slack/Teams", webhook: "Webhook" };

/** Channel of one delivery. */
const DELIVERY_CHANNELS = { email: "Email", sms: "SMS", slack: "Slack", teams: "Microsoft Teams", webhook: "Webhook" };

const INTEGRATION_KINDS = { slack: "Slack", teams: "Microsoft Teams", webhook: "Webhook" };

const ROLES = { org_admin: "Org Admin", billing_admin: "Billing Admin", tech_devops: "Tech/DevOps", support_manager: "Support Manager" };

const OPT_INS = {
  configurable_email: "Configurable incidents by email",
  warnings_email: "User-level warnings by email",
  warnings_sms: "User-level warnings by SMS",
};

const SEVERITIES = { info: "Info", warning: "Warning", error: "Error", critical: "Critical" };

/** Choices of a minimum severity. */
const MINIMUM_SEVERITIES = { "": "Any", info: "Info or higher", warning: "Warning or higher", error: "Error or higher", critical: "Critical only" };

/** Choices of a minimum severity that may be left to a more general one. */
const minimumSeverities = (general) => ({ ...MINIMUM_SEVERITIES, "": general });

const INCIDENT_STATUSES = { investigating: "Investigating", identified: "Identified", monitoring: "Monitoring", resolved: "Resolved" };

/** Status of scheduled maintenance, in Statuspage's terms. */
const MAINTENANCE_STATUSES = { investigating: "Scheduled", identified: "In progress", monitoring: "Verifying", resolved: "Completed" };

/** Outcome of a delivery: label and color. */
const OUTCOMES = {
  delivered: ["Delivered", "good"],
  accepted: ["Accepted by provider", "good"],
  deliver: ["Would be delivered", "good"],
  pending: ["Pending", ""],
  held: ["Held", "warn"],
  skipped: ["Skipped", "warn"],
  failed: ["Failed", "bad"],
};

/** Reasons for a skip that somebody has to fix; every other reason is a choice that the tenant or the recipient made. */
const BLOCKING_REASONS = [
  "contact_unconfirmed", "compliance_unconfirmed", "plan_excludes_channel", "plan_limit", "agreement_excludes_channel", "dnd", "dlt_registration_missing",
  "domain_not_allowed", "suppressed_bounce", "suppressed_complaint", "endpoint_disabled", "endpoint_failing",
];

/** Why an address is suppressed. */
const SUPPRESSIONS = { suppressed_bounce: "Email bounced", suppressed_complaint: "Reported as spam" };

/** What became of a confirmation request. */
const CONFIRMATIONS = {
  sent: "confirmation sent",
  refused: "the provider refused the confirmation",
  too_soon: "confirmation not sent again yet",
  withheld: "confirmation not sent",
  not_sent: "confirmation not sent",
};

/** Why an integration was disabled. */
const DISABLED_CAUSES = {
  failing_too_long: "Its endpoint failed for five days.",
  http_410: "Its endpoint answered 410 Gone.",
  no_service: "Slack says that this webhook no longer exists.",
  no_service_id: "Slack says that this webhook no longer exists.",
  invalid_token: "Slack says that this webhook no longer exists.",
  no_active_hooks: "Slack says that this webhook no longer exists.",
  no_team: "Slack says that this workspace no longer exists.",
  team_disabled: "Slack says that this workspace is disabled.",
  channel_not_found: "Slack says that the channel no longer exists.",
  channel_is_archived: "Slack says that the channel is archived.",
  action_prohibited: "A Slack admin does not allow posts to this channel.",
  posting_to_general_channel_denied: "A Slack admin does not allow posts to this channel.",
};

/** What happens when there are too many alerts. */
const STORM_MODES = { bundle: "Combine them into one message", each: "Send each one" };

/** What SMS needs in some countries: label and hint. */
const SMS_REGISTRATION = {
  country: ["Country whose SMS rules apply", "Two letters, for example IN. For numbers that do not reveal their country."],
  dlt_entity_id: ["DLT entity ID", "India: the ID of your registered entity."],
  dlt_template_id: ["DLT template ID", "India: the ID of your registered message template."],
  sender_id: ["SMS sender", "3 to 11 letters and digits. Used once the platform has approved it."],
};

/** Settings that are one field of the form. */
const SETTINGS = {
  name: "Name",
  zone: "Time zone",
  alert_window_seconds: "Alert window (seconds)",
  allowed_email_domains: "Allowed email domains",
  min_severity: "Minimum severity",
  storms: "When there are too many alerts",
};

const DAYS = {
  monday: "Monday", tuesday: "Tuesday", wednesday: "Wednesday", thursday: "Thursday", friday: "Friday", saturday: "Saturday", sunday: "Sunday",
};

/** The label of a code; the code itself if a newer API sends one that this page does not know. */
const labelOf = (labels, code) => labels[code] ?? code;
