//! What `template.yaml` says about queues and functions, with the defaults of its parameters.

use serde_norway::Value;
use std::collections::BTreeMap;

/// A queue with the function that reads it.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    /// Whether the queue is FIFO.
    pub(crate) is_fifo: bool,
    /// Messages of a batch.
    pub(crate) batch: usize,
    /// Most batches at a time.
    pub(crate) concurrency: usize,
    /// Seconds that an invocation has.
    pub(crate) timeout: u64,
    /// Milliseconds between two sends of one environment; 0 where there is no pace.
    pub(crate) interval_ms: u64,
}

/// The template with its parameters.
struct Template {
    root: Value,
    /// Values of parameters other than their defaults.
    chosen: BTreeMap<&'static str, &'static str>,
}

impl Template {
    /// The value of a reference, a mapping or a plain number, as text.
    fn text(&self, value: &Value) -> String {
        match value {
            Value::Tagged(tagged) if tagged.tag == "Ref" => {
                let name = tagged.value.as_str().unwrap();
                self.chosen
                    .get(name)
                    .map_or_else(|| self.text(&self.root["Parameters"][name]["Default"]), |chosen| (*chosen).to_owned())
            }
            Value::Tagged(tagged) if tagged.tag == "FindInMap" => {
                let [map, first, second] = tagged.value.as_sequence().unwrap().as_slice() else { panic!("{tagged:?}") };
                let (map, first, second) = (self.text(map), self.text(first), self.text(second));
                self.text(&self.root["Mappings"][map.as_str()][first.as_str()][second.as_str()])
            }
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            other => panic!("{other:?}"),
        }
    }

    fn number<T: std::str::FromStr>(&self, value: &Value) -> T {
        self.text(value).parse().unwrap_or_else(|_| panic!("{value:?}"))
    }

    /// The logical id of the queue of an event source: `!GetAtt ClassifyQueue.Arn`.
    fn queue_of(event: &Value) -> Option<String> {
        let Value::Tagged(tagged) = &event["Properties"]["Queue"] else { return None };
        Some(tagged.value.as_str()?.split('.').next()?.to_owned())
    }

    /// The pace of a function, if it has one.
    fn interval_ms(&self, function: &Value) -> u64 {
        let variables = function["Environment"]["Variables"].as_mapping();
        let pace = variables
            .into_iter()
            .flatten()
            .find(|(name, _)| name.as_str().is_some_and(|name| name.ends_with("_INTERVAL_MS")));
        pace.map_or(0, |(_, value)| self.number(value))
    }
}

/// Reads all queues that functions read, by their logical ids.
pub(crate) fn mappings(capacity: &'static str) -> BTreeMap<String, Mapping> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../template.yaml");
    let root = serde_norway::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let template = Template { root, chosen: BTreeMap::from([("Capacity", capacity)]) };
    // 0 means that functions share what the account has. Otherwise it bounds each of them.
    let reserved: usize = template.number(&template.root["Parameters"]["ReservedConcurrency"]["Default"]);
    let mut found = BTreeMap::new();
    for (_, resource) in template.root["Resources"].as_mapping().unwrap() {
        let function = &resource["Properties"];
        for (_, event) in function["Events"].as_mapping().into_iter().flatten() {
            let Some(queue) = Template::queue_of(event) else { continue };
            let properties = &event["Properties"];
            let most: usize = template.number(&properties["ScalingConfig"]["MaximumConcurrency"]);
            let mapping = Mapping {
                is_fifo: template.root["Resources"][queue.as_str()]["Properties"]["FifoQueue"].as_bool() == Some(true),
                batch: template.number(&properties["BatchSize"]),
                concurrency: if reserved > 0 { most.min(reserved) } else { most },
                timeout: template.number(&function["Timeout"]),
                interval_ms: template.interval_ms(function),
            };
            found.insert(queue, mapping);
        }
    }
    found
}
