//! Which rule an event meets. The rules are the deployer's (`infra/policy/classification.yaml`); conditions are CEL.

use crate::event::Event;
use crate::vocabulary::{Category, Kind};
use cel::{Context, Program};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a rule that includes an event says about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Included {
    /// The category; `None` only for `opt_in`.
    pub category: Option<Category>,
    /// The kind; never `excluded`.
    pub kind: Kind,
    /// The rule's id.
    pub rule: String,
    /// Whether the rule lets a platform-wide incident be shown in public.
    pub public: bool,
    /// What the public reads where the source wrote nothing for it.
    pub public_sentence: String,
    /// Whether SMS counts it as "low balance".
    pub low_balance: bool,
    /// What went wrong while a condition was evaluated; the event counts as included then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What becomes of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It is told.
    Included(Included),
    /// It is stored and not told.
    Excluded {
        /// The rule's id.
        rule: String,
    },
    /// No rule matched: stored, and the operators are told.
    Unclassified,
}

/// A rule as the file writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
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
    document: String,
    examples: Vec<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rules: Vec<Written>,
}

/// A checked rule.
#[derive(Debug)]
pub struct Rule {
    /// Its id.
    pub id: String,
    /// The sentence of the product document that it stands for.
    pub document: String,
    /// Its example events, in the native format.
    pub examples: Vec<serde_json::Value>,
    types: Vec<String>,
    when: Option<Program>,
    verdict: Verdict,
}

/// The rules, in order.
#[derive(Debug)]
pub(crate) struct Rules(Vec<Rule>);

impl Rules {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let file: File = serde_norway::from_str(text).map_err(|error| error.to_string())?;
        let mut ids = BTreeSet::new();
        let mut rules = Vec::with_capacity(file.rules.len());
        for written in file.rules {
            if !ids.insert(written.id.clone()) {
                return Err(format!("{} is there twice; every rule has its own id", written.id));
            }
            rules.push(checked(written)?);
        }
        if rules.is_empty() {
            return Err("there is no rule, so nobody would ever be alerted".to_owned());
        }
        Ok(Self(rules))
    }

    pub(crate) fn all(&self) -> &[Rule] {
        &self.0
    }

    pub(crate) fn knows(&self, event_type: &str) -> bool {
        self.0.iter().any(|rule| rule.types.iter().any(|known| known == event_type))
    }

    pub(crate) fn classify(&self, event: &Event) -> Verdict {
        let mut warnings = Vec::new();
        for rule in self.0.iter().filter(|rule| rule.types.contains(&event.event_type)) {
            let met = match rule.when.as_ref().map(|program| met(program, event)) {
                None => true,
                Some(Ok(met)) => met,
                Some(Err(problem)) => {
                    // What cannot be evaluated never excludes: the event counts as included, and somebody can see why.
                    warnings.push(format!("rule {}: {problem}", rule.id));
                    !matches!(rule.verdict, Verdict::Excluded { .. })
                }
            };
            if met {
                return match rule.verdict.clone() {
                    Verdict::Included(included) => Verdict::Included(Included { warnings, ..included }),
                    other => other,
                };
            }
        }
        Verdict::Unclassified
    }
}

fn checked(written: Written) -> Result<Rule, String> {
    let Written { id, category, kind, types, when, low_balance, public, public_sentence, document, examples } = written;
    let fault = |problem: &str| Err(format!("{id}: {problem}"));
    if types.is_empty() {
        return fault("`types` is empty; name the event types that it is about");
    }
    if examples.is_empty() {
        return fault("there is no example; give an event that this rule is for");
    }
    if public && public_sentence.is_empty() {
        return fault("a public rule needs a `public_sentence` for sources that write none");
    }
    let when = match when {
        None => None,
        Some(text) => match Program::compile(&text) {
            Ok(program) => Some(program),
            Err(error) => return fault(&format!("`when` does not parse: {error}")),
        },
    };
    let verdict = match (kind, category) {
        (Kind::Excluded, None) => Verdict::Excluded { rule: id.clone() },
        (Kind::Excluded, Some(_)) => return fault("an excluded kind has no category"),
        (Kind::OptIn, Some(_)) => return fault("an opt_in kind has no category: it goes where it was asked for"),
        (Kind::Incident | Kind::Advisory | Kind::Maintenance, None) => return fault("name its category"),
        _ => Verdict::Included(Included {
            category,
            kind,
            rule: id.clone(),
            public,
            public_sentence,
            low_balance,
            warnings: Vec::new(),
        }),
    };
    Ok(Rule { id, document, examples, types, when, verdict })
}

fn met(program: &Program, event: &Event) -> Result<bool, String> {
    let mut context = Context::default();
    let fields = serde_json::to_value(event).map_err(|_| "the event cannot be read".to_owned())?;
    let fields = fields.as_object().cloned().unwrap_or_default();
    for (name, value) in fields {
        context.add_variable(name, value).map_err(|_| "the event cannot be read".to_owned())?;
    }
    match program.execute(&context) {
        Ok(cel::Value::Bool(met)) => Ok(met),
        Ok(_) => Err("the condition gives neither true nor false".to_owned()),
        // An evaluation error may quote the event; its kind is enough.
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
    fn every_example_of_every_rule_ends_in_its_rule() {
        let policy = Policy::embedded().unwrap();
        for rule in policy.rules() {
            for example in &rule.examples {
                let got = match policy.classify(&event(example)) {
                    Verdict::Included(included) => included.rule,
                    Verdict::Excluded { rule } => rule,
                    Verdict::Unclassified => "nothing".to_owned(),
                };
                assert_eq!(got, rule.id, "{example}");
            }
        }
    }

    #[test]
    fn every_example_of_the_product_document_is_a_rule() {
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
                Verdict::Included(Included { category: Some(category), .. }) => category.as_str(),
                Verdict::Included(included) => included.kind.as_str(),
                Verdict::Excluded { .. } => "excluded",
                Verdict::Unclassified => "unclassified",
            };
            assert_eq!(got, expected, "{sentence}");
        }
    }

    #[test]
    fn a_backfill_delay_counts_from_its_threshold_on_and_where_a_number_is_missing() {
        let policy = Policy::embedded().unwrap();
        let told = |measurements: Value| {
            let event = event(&json!({"type": "analytics.backfill_delay", "measurements": measurements}));
            matches!(policy.classify(&event), Verdict::Included(_))
        };
        assert!(!told(json!({"delay_minutes": 29.9, "threshold_minutes": 30})));
        assert!(told(json!({"delay_minutes": 30, "threshold_minutes": 30})));
        assert!(told(json!({"delay_minutes": 31, "threshold_minutes": 30})));
        assert!(told(json!({"delay_minutes": 12})));
        assert!(told(json!({})));
    }

    #[test]
    fn what_cannot_be_evaluated_is_included_with_a_warning() {
        let rules = Rules::parse(
            r"
rules:
  - {id: out, kind: excluded, types: [t], when: 'measurements.missing < 3', document: d, examples: [{}]}
  - {id: in, category: billing, kind: incident, types: [t], document: d, examples: [{}]}
",
        )
        .unwrap();
        match rules.classify(&event(&json!({}))) {
            Verdict::Included(included) => {
                assert_eq!(included.rule, "in");
                assert!(included.warnings[0].contains("rule out"), "{:?}", included.warnings);
            }
            other => panic!("{other:?}"),
        }
    }

    proptest::proptest! {
        #[test]
        fn any_event_is_classified(event_type in "[a-z_.]{1,30}|analytics.backfill_delay|test.alert",
            number in proptest::num::f64::ANY, label in ".{0,20}") {
            let policy = Policy::embedded().unwrap();
            let mut event = event(&json!({"type": event_type, "labels": {"category": label}}));
            event.measurements.insert("delay_minutes".into(), number);
            event.measurements.insert("threshold_minutes".into(), 30.0);
            let _ = policy.classify(&event);
        }
    }
}
