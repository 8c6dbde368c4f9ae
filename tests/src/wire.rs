//! The proxy between the functions and AWS: it counts calls and holds one, so that a function can be killed in the middle.

use crate::{Stack, http, wait};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

/// A call that is to be held, or is.
#[derive(Debug)]
pub struct HeldCall {
    url: String,
}

impl HeldCall {
    /// Whether the call has come.
    #[must_use]
    pub fn is_held(&self) -> bool {
        http::send("GET", &self.url, &[], None).unwrap().json()["held"] == true
    }

    /// Waits until the call has come.
    pub fn wait(&self, what: &str) {
        wait(what, Duration::from_secs(60), || self.is_held().then_some(()));
    }

    /// Lets the held call continue.
    pub fn release(&self) {
        drop(http::send("POST", &self.url, &[], Some(b"{}")).unwrap());
    }

    /// Breaks the connection of the call: before it reached AWS, or before the response was passed on.
    pub fn cut(&self) {
        drop(http::send("POST", &self.url, &[], Some(b"{\"drop\":true}")).unwrap());
    }
}

impl Stack {
    /// Holds the next call of `operation` (`dynamodb.UpdateItem`) whose body contains `contains`: before it is made, or its
    /// answer.
    #[must_use]
    pub fn hold(&self, operation: &str, contains: &str, after: bool) -> HeldCall {
        self.hold_call_after(operation, contains, 0, after)
    }

    /// As [`Stack::hold`], when so many such calls have passed.
    #[must_use]
    pub fn hold_call_after(&self, operation: &str, contains: &str, skip: u32, after: bool) -> HeldCall {
        let control = self.text("/control_url");
        let body = json!({"operation": operation, "contains": contains, "skip": skip, "after": after}).to_string();
        let answer = http::send("POST", &format!("{control}/hold"), &[], Some(body.as_bytes())).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        HeldCall { url: format!("{control}/hold/{}", answer.json()["id"]) }
    }

    /// AWS calls so far by `service.Operation`.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, u64> {
        let answer = http::send("GET", &format!("{}/calls", self.text("/control_url")), &[], None).unwrap();
        let counts = answer.json();
        let counts = counts.as_object().into_iter().flatten();
        counts.map(|(name, count)| (name.clone(), count.as_u64().unwrap_or(0))).collect()
    }

    /// The processes of a function: of this stack, for several may run on one machine.
    #[must_use]
    pub fn processes(&self, logical_id: &str) -> Vec<u32> {
        let name = format!("AWS_LAMBDA_FUNCTION_NAME={}", self.text(&format!("/functions/{logical_id}")));
        let endpoint = format!("AWS_ENDPOINT_URL={}", self.text("/proxy_url"));
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").expect("this machine has /proc").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            // Processes come and go while the folder is read.
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let has = |wanted: &str| environment.split(|byte| *byte == 0).any(|pair| pair == wanted.as_bytes());
            if has(&name) && has(&endpoint) {
                found.push(pid);
            }
        }
        found
    }

    /// Kills every process of a function with SIGKILL, also those that begin meanwhile; gives back how many.
    #[must_use]
    pub fn kill(&self, logical_id: &str) -> usize {
        let mut killed = BTreeSet::new();
        for _ in 0..10 {
            let pids = self.processes(logical_id);
            if pids.is_empty() {
                break;
            }
            for pid in pids {
                drop(Command::new("kill").args(["-9", &pid.to_string()]).status());
                killed.insert(pid);
            }
        }
        killed.len()
    }

    /// Sets how long a queue's message stays invisible after its function died, and gives back the time before.
    #[must_use]
    pub fn visibility(&self, queue: &str, seconds: u64) -> u64 {
        let url = self.text(&format!("/queues/{queue}"));
        let before = self.aws(&["visibility", &url, &seconds.to_string()]);
        before.pointer("/before").and_then(Value::as_u64).unwrap()
    }
}
