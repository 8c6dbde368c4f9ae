//! Classifies events: finds the first rule of `infra/policy/classification.yaml` that an event matches. Conditions are written in CEL.

use crate::event::Event;
use crate::vocabulary::{Category, Kind};
use cel::{Context, Program};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Maximum length of a rule's advice, in characters.
const ADVICE_MAX: usize = 300;

/// What the matching rule says about an event that it includes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleMatch {
    /// The category of the incident; `None` only for the kind `opt_in`.
    pub category: Option<Category>,
    /// The kind of the incident; never `excluded`.
    pub kind: Kind,
    /// The id of the rule.
    pub rule: String,
    /// Whether platform-wide incidents of this rule are shown on the status page by default.
    pub public: bool,
    /// The sentence on the status page if the source sent no text for the public.
    pub public_sentence: String,
    /// What its readers can do about it, where the source links no runbook; empty if the rule says nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub advice: String,
    /// Whether the matrix condition `low_balance_only` includes it.
    pub low_balance: bool,
    /// Conditions that could not be evaluated for this event. Such a condition never excludes an event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How an event is classified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Classification {
    /// The event opens or updates an incident, and recipients are notified.
    Included(RuleMatch),
    /// The event is stored, and nobody is notified.
    Excluded {
        /// The id of the rule that excludes it.
        rule: String,
    },
    /// No rule matches. The event is stored, and the operators are notified.
    Unclassified,
}

/// A rule as it is written in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleDefinition {
    id: String,
    category: Option<Category>,
    kind: Kind,
    types: Vec<String>,
    when: Option<String>,
    #[serde(default)]
    low_balance: bool,
    #[serde(default)]
    public: bool,
    #[serde(default)]
    public_sentence: String,
    #[serde(default)]
    advice: String,
    document: String,
    examples: Vec<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    rules: Vec<RuleDefinition>,
}

/// A rule whose definition was checked and whose condition was compiled.
#[derive(Debug)]
pub struct Rule {
    /// The id, unique among the rules.
    pub id: String,
    /// The sentence of the product document that the rule implements.
    pub document: String,
    /// Example events in the native format, which a test expects to match this rule.
    pub examples: Vec<serde_json::Value>,
    types: Vec<String>,
    when: Option<Program>,
    verdict: Classification,
}

/// The rules in order of precedence: the first match wins.
#[derive(Debug)]
pub(crate) struct Rules(Vec<Rule>);

impl Rules {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let file: RulesFile = serde_norway::from_str(text).map_err(|error| error.to_string())?;
        let mut ids = BTreeSet::new();
        let mut rules = Vec::with_capacity(file.rules.len());
        for written in file.rules {
            if !ids.insert(written.id.clone()) {
                return Err(format!("the id {} is used twice; give every rule its own id", written.id));
            }
            rules.push(compile_rule(written)?);
        }
        if rules.is_empty() {
            return Err("there are no rules; define at least one, or no alert will ever be sent".to_owned());
        }
        Ok(Self(rules))
    }

    pub(crate) fn all(&self) -> &[Rule] {
        &self.0
    }

    pub(crate) fn has_type(&self, event_type: &str) -> bool {
        self.0.iter().any(|rule| rule.types.iter().any(|known| known == event_type))
    }

    pub(crate) fn classify(&self, event: &Event) -> Classification {
        let mut warnings = Vec::new();
        for rule in self.0.iter().filter(|rule| rule.types.contains(&event.event_type)) {
            let met = match rule.when.as_ref().map(|program| evaluate_condition(program, event)) {
                None => true,
                Some(Ok(met)) => met,
                Some(Err(problem)) => {
                    // A condition that cannot be evaluated counts as true where the rule includes and as false where it excludes.
                    warnings.push(format!("rule {}: {problem}", rule.id));
                    !matches!(rule.verdict, Classification::Excluded { .. })
                }
            };
            if met {
                return match rule.verdict.clone() {
                    Classification::Included(included) => Classification::Included(RuleMatch { warnings, ..included }),
                    other => other,
                };
            }
        }
        Classification::Unclassified
    }
}

fn compile_rule(written: RuleDefinition) -> Result<Rule, String> {
    let RuleDefinition {
        id,
        category,
        kind,
        types,
        when,
        low_balance,
        public,
        public_sentence,
        advice,
        document,
        examples,
    } = written;
    let fault = |problem: &str| Err(format!("{id}: {problem}"));
    if types.is_empty() {
        return fault("`types` is empty; list the event types that the rule is for");
    }
    if examples.is_empty() {
        return fault("`examples` is empty; add an event that matches the rule");
    }
    if public && public_sentence.is_empty() {
        return fault("`public_sentence` is missing; a public rule needs it for sources that send no public text");
    }
    if advice.chars().count() > ADVICE_MAX {
        return fault(&format!("`advice` is longer than {ADVICE_MAX} characters; say what to do in a sentence or two"));
    }
    let when = match when {
        None => None,
        Some(text) => match Program::compile(&text) {
            Ok(program) => Some(program),
            Err(error) => return fault(&format!("`when` does not parse: {error}")),
        },
    };
    let verdict = match (kind, category) {
        (Kind::Excluded, None) => Classification::Excluded { rule: id.clone() },
        (Kind::Excluded, Some(_)) => return fault("remove `category`; rules of the kind `excluded` have none"),
        (Kind::OptIn, Some(_)) => return fault("remove `category`; rules of the kind `opt_in` have none"),
        (Kind::Incident | Kind::Advisory | Kind::Maintenance, None) => return fault("`category` is missing"),
        _ => Classification::Included(RuleMatch {
            category,
            kind,
            rule: id.clone(),
            public,
            public_sentence,
            advice,
            low_balance,
            warnings: Vec::new(),
        }),
    };
    Ok(Rule { id, document, examples, types, when, verdict })
}

fn evaluate_condition(program: &Program, event: &Event) -> Result<bool, String> {
    let mut context = Context::default();
    let fields = serde_json::to_value(event).map_err(|_| "the event cannot be converted to CEL values".to_owned())?;
    let fields = fields.as_object().cloned().unwrap_or_default();
    for (name, value) in fields {
        context.add_variable(name, value).map_err(|_| "the event cannot be converted to CEL values".to_owned())?;
    }
    match program.execute(&context) {
        Ok(cel::Value::Bool(met)) => Ok(met),
        Ok(_) => Err("the condition does not return true or false".to_owned()),
        // The error is left out because it may quote the event.
        Err(_) => Err("the condition cannot be evaluated for this event".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use serde_json::{Value, json};

    fn event(fields: &Value) -> Event {
        let mut whole = json!({"format": "native", "source": "s", "type": "t", "dedup_key": "k", "severity": "error",
            "title": "t"});
        let object = whole.as_object_mut().unwrap();
        object.extend(fields.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn every_example_matches_its_rule() {
        let policy = Policy::embedded().unwrap();
        for rule in policy.rules() {
            for example in &rule.examples {
                let got = match policy.classify(&event(example)) {
                    Classification::Included(included) => included.rule,
                    Classification::Excluded { rule } => rule,
                    Classification::Unclassified => "nothing".to_owned(),
                };
                assert_eq!(got, rule.id, "{example}");
            }
        }
    }

    #[test]
    fn every_example_of_the_product_document_has_a_rule() {
        let policy = Policy::embedded().unwrap();
        for (sentence, event_type, expected) in [
            ("API downtime", "api.outage", "infrastructure"),
            ("Status Page incidents", "status_page.outage", "infrastructure"),
            ("database degradation", "database.degraded", "infrastructure"),
            ("network degradation", "network.degraded", "infrastructure"),
            ("carrier partner outage", "carrier.outage", "infrastructure"),
            ("regional POP degradation", "pop.degraded", "infrastructure"),
            ("voice routing failures affecting many tenants", "voice.routing_failure", "infrastructure"),
            ("cloud outages", "cloud.outage", "infrastructure"),
            ("network outages", "network.outage", "infrastructure"),
            ("payment gateway errors", "payment_gateway.error", "billing"),
            ("invoice generation delays", "invoice_job.delayed", "billing"),
            ("wallet threshold crossed", "wallet.low_balance", "billing"),
            ("balance exhaustion", "wallet.exhausted", "billing"),
            ("plan expiry", "plan.expiry", "billing"),
            ("credit expiry", "credit.expiry", "billing"),
            ("auto-recharge failure", "auto_recharge.failure", "billing"),
            ("invoice job errors", "invoice_job.error", "billing"),
            ("webhook 4xx/5xx", "webhook.failing", "configurable"),
            ("IVR misconfiguration", "ivr.misconfigured", "configurable"),
            ("blocked caller ID rules", "caller_id.blocked", "configurable"),
            ("invalid regex/prefix", "routing_rule.invalid", "configurable"),
            ("agent group has 0 available agents", "agent_group.empty", "configurable"),
            ("agent capacity rules preventing calls", "agent_capacity.blocking", "configurable"),
            ("advisory notices", "advisory.notice", "excluded"),
            ("marketing emails", "marketing.email", "excluded"),
            ("upcoming price changes", "pricing.change", "excluded"),
            ("user-level warnings", "user.warning", "opt_in"),
            ("anything else", "weather.rain", "unclassified"),
        ] {
            let got = match policy.classify(&event(&json!({"type": event_type}))) {
                Classification::Included(RuleMatch { category: Some(category), .. }) => category.as_str(),
                Classification::Included(included) => included.kind.as_str(),
                Classification::Excluded { .. } => "excluded",
                Classification::Unclassified => "unclassified",
            };
            assert_eq!(got, expected, "{sentence}");
        }
    }

    #[test]
    fn a_backfill_delay_alerts_from_its_threshold_on_and_if_a_measurement_is_missing() {
        let policy = Policy::embedded().unwrap();
        let alerts = |measurements: Value| {
            let event = event(&json!({"type": "analytics.backfill_delay", "measurements": measurements}));
            matches!(policy.classify(&event), Classification::Included(_))
        };
        assert!(!alerts(json!({"delay_minutes": 29.9, "threshold_minutes": 30})));
        assert!(alerts(json!({"delay_minutes": 30, "threshold_minutes": 30})));
        assert!(alerts(json!({"delay_minutes": 31, "threshold_minutes": 30})));
        assert!(alerts(json!({"delay_minutes": 12})));
        assert!(alerts(json!({})));
    }

    #[test]
    fn a_condition_that_cannot_be_evaluated_never_excludes_and_leaves_a_warning() {
        let rules = Rules::parse(
            r"
rules:
  - {id: out, kind: excluded, types: [t], when: 'measurements.missing < 3', document: d, examples: [{}]}
  - {id: in, category: billing, kind: incident, types: [t], document: d, examples: [{}]}
",
        )
        .unwrap();
        match rules.classify(&event(&json!({}))) {
            Classification::Included(included) => {
                assert_eq!(included.rule, "in");
                assert!(included.warnings[0].contains("rule out"), "{:?}", included.warnings);
            }
            other => panic!("{other:?}"),
        }
    }

    proptest::proptest! {
        #[test]
        fn no_event_makes_classification_panic(event_type in "[a-z_.]{1,30}|analytics.backfill_delay|test.alert",
            number in proptest::num::f64::ANY, label in ".{0,20}") {
            let policy = Policy::embedded().unwrap();
            let mut event = event(&json!({"type": event_type, "labels": {"category": label}}));
            event.measurements.insert("delay_minutes".into(), number);
            event.measurements.insert("threshold_minutes".into(), 30.0);
            let _ = policy.classify(&event);
        }
    }
}
