//! The deployer's files of `infra/policy`, embedded at build, parsed and checked at start.

use crate::classification::{Included, Rule, Rules, Verdict};
use crate::event::{Event, is_own};
use crate::quiet::QuietHours;
use crate::vocabulary::{Category, ChannelClass, Kind, Role};
use jiff::civil::Time;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

const CLASSIFICATION: &str = include_str!("../../../infra/policy/classification.yaml");
const MATRIX: &str = include_str!("../../../infra/policy/matrix.yaml");
const PLANS: &str = include_str!("../../../infra/policy/plans.yaml");
const COMPLIANCE: &str = include_str!("../../../infra/policy/compliance.yaml");
const STORMS: &str = include_str!("../../../infra/policy/storms.yaml");
const CATALOGUE: &str = include_str!("../../../infra/policy/catalogue.yaml");
const MAINTENANCE: &str = include_str!("../../../infra/policy/maintenance.yaml");

/// What is wrong with a policy file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("infra/policy/{file}: {problem}")]
pub struct PolicyError {
    /// The file.
    pub file: &'static str,
    /// What is wrong and how to mend it.
    pub problem: String,
}

/// Everything a deployer decides.
#[derive(Debug)]
pub struct Policy {
    rules: Rules,
    /// Who gets what.
    pub matrix: Matrix,
    /// What each plan includes.
    pub plans: Plans,
    /// What SMS needs by law.
    pub compliance: Compliance,
    /// What the product consists of, and where it runs.
    pub catalogue: Catalogue,
    /// What is too much at once.
    pub storms: Storms,
    /// How announced work is told.
    pub maintenance: Maintenance,
}

impl Policy {
    /// The policy that was embedded at build.
    ///
    /// # Errors
    /// [`PolicyError`] that names the file and the place.
    pub fn embedded() -> Result<Self, PolicyError> {
        Self::parse(CLASSIFICATION, MATRIX, PLANS, COMPLIANCE, CATALOGUE, STORMS, MAINTENANCE)
    }

    /// A policy of seven files.
    ///
    /// # Errors
    /// [`PolicyError`] that names the file and the place.
    pub fn parse(
        classification: &str,
        matrix: &str,
        plans: &str,
        compliance: &str,
        catalogue: &str,
        storms: &str,
        maintenance: &str,
    ) -> Result<Self, PolicyError> {
        let rules =
            Rules::parse(classification).map_err(|problem| PolicyError { file: "classification.yaml", problem })?;
        Ok(Self {
            rules,
            matrix: Matrix(read("matrix.yaml", matrix)?),
            plans: Plans::parse(plans)?,
            compliance: Compliance::parse(compliance)?,
            catalogue: Catalogue::parse(catalogue)?,
            storms: Storms::parse(storms)?,
            maintenance: Maintenance::parse(maintenance)?,
        })
    }

    /// What becomes of an event.
    #[must_use]
    pub fn classify(&self, event: &Event) -> Verdict {
        self.rules.classify(event)
    }

    /// Whether any rule is about an event type that a source can say.
    #[must_use]
    pub fn knows(&self, event_type: &str) -> bool {
        !is_own(event_type) && self.rules.knows(event_type)
    }

    /// The rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        self.rules.all()
    }

    /// Whether everybody may be told. What is about one user, one tenant's configuration or one tenant's wallet is nobody
    /// else's business: outside Infrastructure only what may be public may be platform-wide.
    #[must_use]
    pub fn may_be_platform_wide(&self, included: &Included) -> bool {
        match included.category {
            Some(Category::Infrastructure) => included.kind != Kind::OptIn,
            Some(Category::Billing) => included.public,
            Some(Category::Configurable) | None => false,
        }
    }
}

/// Whether the matrix gives a role a category on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// It does.
    Yes,
    /// To those who opted in.
    OptIn,
    /// For low and exhausted balances.
    LowBalanceOnly,
    /// It does not.
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Condition {
    Always,
    OptIn,
    LowBalanceOnly,
}

/// The role matrix.
#[derive(Clone, Debug)]
pub struct Matrix(BTreeMap<Role, BTreeMap<Category, BTreeMap<ChannelClass, Condition>>>);

impl Matrix {
    /// Whether it gives `role` a category on a channel.
    #[must_use]
    pub fn allows(&self, role: Role, category: Category, class: ChannelClass) -> Allowance {
        match self.0.get(&role).and_then(|row| row.get(&category)).and_then(|cell| cell.get(&class)) {
            Some(Condition::Always) => Allowance::Yes,
            Some(Condition::OptIn) => Allowance::OptIn,
            Some(Condition::LowBalanceOnly) => Allowance::LowBalanceOnly,
            None => Allowance::No,
        }
    }

    /// The channels that anybody gets a category on: the ceiling of a tenant's ticks.
    #[must_use]
    pub fn classes(&self, category: Category) -> BTreeSet<ChannelClass> {
        let cells = self.0.values().filter_map(|row| row.get(&category));
        cells.flat_map(|cell| cell.keys().copied()).collect()
    }
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Its id.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// The channels that it includes.
    pub channels: BTreeSet<ChannelClass>,
    /// Most recipients.
    pub recipients: u32,
    /// Most integrations.
    pub integrations: u32,
    /// Whether it has digests.
    pub digest: bool,
    /// Whether it has quiet hours.
    pub quiet_hours: bool,
}

/// The plans, from the smallest to the largest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plans(Vec<Plan>);

impl Plans {
    fn parse(text: &str) -> Result<Self, PolicyError> {
        let plans: Vec<Plan> = read("plans.yaml", text)?;
        let ids: BTreeSet<&str> = plans.iter().map(|plan| plan.id.as_str()).collect();
        if plans.is_empty() || ids.len() != plans.len() {
            let problem = "name at least one plan, and each id once".to_owned();
            return Err(PolicyError { file: "plans.yaml", problem });
        }
        Ok(Self(plans))
    }

    /// A plan by id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Plan> {
        self.0.iter().find(|plan| plan.id == id)
    }

    /// The ids, from the smallest plan to the largest.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|plan| plan.id.as_str()).collect()
    }

    /// The largest plan.
    #[must_use]
    pub fn top(&self) -> Option<&Plan> {
        self.0.last()
    }

    /// The smallest plan that includes a channel: what a refused tick points to.
    #[must_use]
    pub fn first_with(&self, class: ChannelClass) -> Option<&Plan> {
        self.0.iter().find(|plan| plan.channels.contains(&class))
    }
}

/// What SMS needs by law, by country.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compliance {
    countries: BTreeMap<String, Country>,
}

/// What a country wants.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Country {
    /// Its name for people.
    pub name: String,
    /// Whether an SMS must name a registered entity and template.
    #[serde(default)]
    pub dlt_required: bool,
    /// The hours of SMS that are not beyond doubt alerts; absent is any time.
    #[serde(default)]
    pub sms_hours: Option<SmsHours>,
}

/// Hours in which a country lets an SMS of these kinds be sent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmsHours {
    /// When they begin.
    pub from: Time,
    /// When they end.
    pub to: Time,
    /// The IANA zone of both.
    pub zone: String,
    /// What they hold for.
    pub kinds: BTreeSet<Kind>,
}

impl SmsHours {
    /// When an SMS of this kind may be sent again; `None` where it may be now.
    #[must_use]
    pub fn closed_until(&self, kind: Kind, now: Timestamp) -> Option<Timestamp> {
        let closed = QuietHours {
            from: self.to,
            to: self.from,
            days: BTreeSet::new(),
            zone: Some(self.zone.clone()),
            critical_passes: false,
        };
        closed.until(&self.zone, now).filter(|_| self.kinds.contains(&kind))
    }
}

impl Compliance {
    fn parse(text: &str) -> Result<Self, PolicyError> {
        let compliance: Self = read("compliance.yaml", text)?;
        for (code, country) in &compliance.countries {
            let Some(hours) = &country.sms_hours else { continue };
            let wrong = if hours.from == hours.to { "its hours have no length" } else { "its zone is unknown" };
            if hours.from == hours.to || jiff::tz::TimeZone::get(&hours.zone).is_err() {
                return Err(PolicyError { file: "compliance.yaml", problem: format!("{code}: sms_hours: {wrong}") });
            }
        }
        Ok(compliance)
    }

    /// Whether the hours of SMS of this kind are anywhere limited.
    #[must_use]
    pub fn limits(&self, kind: Kind) -> bool {
        self.countries
            .values()
            .filter_map(|country| country.sms_hours.as_ref())
            .any(|hours| hours.kinds.contains(&kind))
    }

    /// The rules of a country by its ISO 3166 code.
    #[must_use]
    pub fn country(&self, code: &str) -> Option<&Country> {
        self.countries.get(code)
    }
}

/// What one person can take, and what is a storm.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storms {
    /// Messages to one address or number by channel: each window must have room.
    pub contacts: BTreeMap<ChannelClass, Vec<Window>>,
    /// How many messages a minute may go to a contact although there is no room: so many first words of critical incidents, and so many
    /// ends of anything that was told.
    pub exempt_per_minute: u32,
    /// How many incidents of one tenant are told one by one.
    pub ceiling: Ceiling,
    /// How often a key may open before it flaps.
    pub flapping: Flapping,
    /// Test alerts of one tenant: each window must have room.
    pub tests: Vec<Window>,
}

/// So many messages in so many minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Messages.
    pub messages: u32,
    /// Minutes.
    pub minutes: u32,
}

impl Window {
    /// Its length in seconds.
    #[must_use]
    pub fn seconds(&self) -> i64 {
        i64::from(self.minutes) * 60
    }

    /// Which of the clock's windows of this length a moment lies in, and how many seconds are left of it.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> (i64, i64) {
        let (second, length) = (now.as_second(), self.seconds().max(1));
        (second.div_euclid(length), length - second.rem_euclid(length))
    }
}

/// So many incidents in so many minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ceiling {
    /// Incidents.
    pub incidents: u32,
    /// Minutes.
    pub minutes: u32,
}

/// So many openings of one key in so many minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flapping {
    /// Openings that are told.
    pub openings: u32,
    /// Minutes.
    pub minutes: u32,
}

impl Storms {
    /// The storms of `infra/policy/storms.yaml`, which senders need without the other rules.
    ///
    /// # Errors
    /// [`PolicyError`] that names the place.
    pub fn embedded() -> Result<Self, PolicyError> {
        Self::parse(STORMS)
    }

    fn parse(text: &str) -> Result<Self, PolicyError> {
        let storms: Self = read("storms.yaml", text)?;
        let windows = storms.contacts.values().flatten().chain(&storms.tests);
        let windows = windows.map(|window| (window.messages, window.minutes));
        let others =
            [(storms.ceiling.incidents, storms.ceiling.minutes), (storms.flapping.openings, storms.flapping.minutes)];
        // A window without room would hold everything for ever.
        if windows.chain(others).any(|(number, minutes)| number == 0 || minutes == 0) {
            return Err(PolicyError { file: "storms.yaml", problem: "a number is 0".to_owned() });
        }
        Ok(storms)
    }
}

/// How announced work is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// Minutes before its beginning at which it is reminded of, 0 to 10,080 (a week); 0 is never.
    pub reminder_minutes_before: u16,
}

impl Maintenance {
    const REMINDER_MAX: u16 = 7 * 24 * 60;

    /// How long before its beginning it is reminded of; zero is never.
    #[must_use]
    pub fn reminder_before(&self) -> SignedDuration {
        SignedDuration::from_mins(self.reminder_minutes_before.into())
    }

    fn parse(text: &str) -> Result<Self, PolicyError> {
        let maintenance: Self = read("maintenance.yaml", text)?;
        if maintenance.reminder_minutes_before > Self::REMINDER_MAX {
            let problem = format!("reminder_minutes_before must be from 0 to {}", Self::REMINDER_MAX);
            return Err(PolicyError { file: "maintenance.yaml", problem });
        }
        Ok(maintenance)
    }
}

/// The names that events, filters and the status page use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// In the order in which the status page shows them.
    pub components: Vec<Component>,
    /// Where the product runs.
    pub regions: Vec<Region>,
}

/// A part of the product.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// What events call it.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// What it is, in a few words.
    pub description: String,
}

/// A place where the product runs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// What events call it.
    pub id: String,
    /// Its name for people.
    pub name: String,
}

impl Catalogue {
    /// The catalogue of `infra/policy/catalogue.yaml`, which the status page needs without the other rules.
    ///
    /// # Errors
    /// [`PolicyError`] that names the place.
    pub fn embedded() -> Result<Self, PolicyError> {
        Self::parse(CATALOGUE)
    }

    fn parse(text: &str) -> Result<Self, PolicyError> {
        let catalogue: Self = read("catalogue.yaml", text)?;
        let mut seen = BTreeSet::new();
        let ids = catalogue.components.iter().map(|one| &one.id).chain(catalogue.regions.iter().map(|one| &one.id));
        match ids.into_iter().find(|id| !seen.insert(id.as_str())) {
            Some(twice) => Err(PolicyError { file: "catalogue.yaml", problem: format!("`{twice}` is there twice") }),
            None => Ok(catalogue),
        }
    }

    /// Whether it has this component.
    #[must_use]
    pub fn has_component(&self, id: &str) -> bool {
        self.components.iter().any(|known| known.id == id)
    }

    /// Whether it has this region.
    #[must_use]
    pub fn has_region(&self, id: &str) -> bool {
        self.regions.iter().any(|known| known.id == id)
    }

    /// What to say of an event's components and regions that are not here: a filter on a name of the catalogue does not match them.
    #[must_use]
    pub fn strangers(&self, components: &[String], regions: &[String]) -> Vec<String> {
        let components = components.iter().filter(|name| !self.has_component(name)).map(|name| ("components", name));
        let regions = regions.iter().filter(|name| !self.has_region(name)).map(|name| ("regions", name));
        let said =
            |(field, name)| format!("{field}: `{name}` is not in the catalogue, so filters on {field} pass it by");
        components.chain(regions).map(said).collect()
    }

    /// The name of a component for people; of what is not here, the id.
    #[must_use]
    pub fn component<'a>(&'a self, id: &'a str) -> &'a str {
        self.components.iter().find(|known| known.id == id).map_or(id, |known| &known.name)
    }

    /// The name of a region for people; of what is not here, the id.
    #[must_use]
    pub fn region<'a>(&'a self, id: &'a str) -> &'a str {
        self.regions.iter().find(|known| known.id == id).map_or(id, |known| &known.name)
    }
}

fn read<T: DeserializeOwned>(file: &'static str, text: &str) -> Result<T, PolicyError> {
    serde_norway::from_str(text).map_err(|error| PolicyError { file, problem: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_the_catalogue_does_not_have_is_said() {
        let catalogue = Catalogue::embedded().unwrap();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let known = catalogue.strangers(&names(&["voice"]), &names(&["eu-central-1"]));
        assert!(known.is_empty(), "{known:?}");
        let said = catalogue.strangers(&names(&["voice", "vioce"]), &names(&["eu-west-99"]));
        assert!(said[0].contains("components: `vioce`") && said[1].contains("regions: `eu-west-99`"), "{said:?}");
        assert_eq!(said.len(), 2);
    }

    #[test]
    fn a_bad_file_is_named_with_its_place() {
        let broken = |classification: &str, matrix: &str, plans: &str| {
            Policy::parse(classification, matrix, plans, COMPLIANCE, CATALOGUE, STORMS, MAINTENANCE)
                .unwrap_err()
                .to_string()
        };
        let error = broken(CLASSIFICATION, "org_admin: {weather: {}}", PLANS);
        assert!(error.contains("matrix.yaml") && error.contains("weather"), "{error}");
        let error = broken(CLASSIFICATION, MATRIX, "[]");
        assert!(error.contains("plans.yaml: name at least one plan"), "{error}");
        let twice = CLASSIFICATION.replace("id: cloud-outage", "id: network-outage");
        assert!(broken(&twice, MATRIX, PLANS).contains("network-outage is there twice"));
        let twice = CATALOGUE.replace("id: eu-central-1", "id: voice");
        let error = Policy::parse(CLASSIFICATION, MATRIX, PLANS, COMPLIANCE, &twice, STORMS, MAINTENANCE)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "infra/policy/catalogue.yaml: `voice` is there twice");
        let never = STORMS.replace("messages: 11", "messages: 0");
        let error = Policy::parse(CLASSIFICATION, MATRIX, PLANS, COMPLIANCE, CATALOGUE, &never, MAINTENANCE)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "infra/policy/storms.yaml: a number is 0");
        let nowhere = COMPLIANCE.replace("Asia/Kolkata", "Asia/Nowhere");
        let error = Policy::parse(CLASSIFICATION, MATRIX, PLANS, &nowhere, CATALOGUE, STORMS, MAINTENANCE)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "infra/policy/compliance.yaml: IN: sms_hours: its zone is unknown");
        let nonsense = CLASSIFICATION.replace("has(measurements.delay_minutes) &&", "has( &&");
        let error = broken(&nonsense, MATRIX, PLANS);
        assert!(error.contains("analytics-backfill-under-threshold: `when` does not parse"), "{error}");
    }

    #[test]
    fn a_source_can_say_no_type_of_ours() {
        let policy = Policy::embedded().unwrap();
        assert!(policy.knows("api.outage") && !policy.knows("no.such"));
        for own in [crate::event::TEST, crate::incident::UNDELIVERED, crate::health::FAILING] {
            assert!(!policy.knows(own) && policy.rules.knows(own), "{own}");
        }
    }

    #[test]
    fn a_window_is_the_clocks() {
        let window = Window { messages: 1, minutes: 10 };
        let at = |second| window.at(Timestamp::from_second(second).unwrap());
        assert_eq!([at(0), at(599), at(600)], [(0, 600), (0, 1), (1, 600)]);
    }

    #[test]
    fn what_is_one_tenants_is_never_platform_wide() {
        let policy = Policy::embedded().unwrap();
        let everybody = |event_type: &str| {
            let event = serde_json::json!({"format": "native", "source": "s", "type": event_type, "dedup_key": "k",
                "severity": "error", "title": "t"});
            match policy.classify(&serde_json::from_value(event).unwrap()) {
                crate::classification::Verdict::Included(included) => policy.may_be_platform_wide(&included),
                other => panic!("{other:?}"),
            }
        };
        for event_type in ["api.outage", "maintenance.announced", "payment_gateway.error", "invoice_job.delayed"] {
            assert!(everybody(event_type), "{event_type}");
        }
        for event_type in ["wallet.low_balance", "wallet.exhausted", "plan.expiry", "webhook.failing", "user.warning"] {
            assert!(!everybody(event_type), "{event_type}");
        }
    }

    #[test]
    fn plans_grow() {
        let policy = Policy::embedded().unwrap();
        assert_eq!(policy.plans.names(), ["starter", "business", "enterprise"]);
        assert_eq!(policy.plans.first_with(ChannelClass::Sms).map(|plan| plan.id.as_str()), Some("enterprise"));
        assert!(policy.compliance.country("IN").is_some_and(|country| country.dlt_required));
    }

    #[test]
    fn the_ceiling_of_a_category_is_what_anybody_gets() {
        let policy = Policy::embedded().unwrap();
        use ChannelClass::{Chat, Email, Sms, Webhook};
        assert_eq!(policy.matrix.classes(Category::Infrastructure), [Email, Sms, Chat, Webhook].into());
        assert_eq!(policy.matrix.classes(Category::Billing), [Email, Sms, Chat].into());
        assert_eq!(policy.matrix.classes(Category::Configurable), [Email, Chat, Webhook].into());
    }
}
