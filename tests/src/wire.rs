//! Controls the proxy between the functions and the emulator: it counts calls and holds one, so that a test can kill a function meanwhile.

use crate::{Stack, http, wait};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

/// A call that the proxy holds, or will hold when it arrives.
#[derive(Debug)]
pub struct HeldCall {
    url: String,
}

impl HeldCall {
    /// Returns whether the call has arrived.
    #[must_use]
    pub fn is_held(&self) -> bool {
        http::send("GET", &self.url, &[], None).unwrap().json()["held"] == true
    }

    /// Waits up to 60 seconds until the call has arrived.
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
    /// Holds the next call of `operation` (such as `dynamodb.UpdateItem`) whose body contains `contains`: before it reaches the emulator
    /// or, with `after`, its response.
    #[must_use]
    pub fn hold(&self, operation: &str, contains: &str, after: bool) -> HeldCall {
        self.hold_call_after(operation, contains, 0, after)
    }

    /// Like [`Stack::hold`], after `skip` such calls have passed.
    #[must_use]
    pub fn hold_call_after(&self, operation: &str, contains: &str, skip: u32, after: bool) -> HeldCall {
        let control = self.text("/control_url");
        let body = json!({"operation": operation, "contains": contains, "skip": skip, "after": after}).to_string();
        let answer = http::send("POST", &format!("{control}/hold"), &[], Some(body.as_bytes())).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        HeldCall { url: format!("{control}/hold/{}", answer.json()["id"]) }
    }

    /// Returns the number of AWS calls so far by `service.Operation`.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, u64> {
        let answer = http::send("GET", &format!("{}/calls", self.text("/control_url")), &[], None).unwrap();
        let counts = answer.json();
        let counts = counts.as_object().into_iter().flatten();
        counts.map(|(name, count)| (name.clone(), count.as_u64().unwrap_or(0))).collect()
    }

    /// Returns the process ids of a function on this stack. Several stacks may run on one machine.
    #[must_use]
    pub fn processes(&self, logical_id: &str) -> Vec<u32> {
        let name = format!("AWS_LAMBDA_FUNCTION_NAME={}", self.text(&format!("/functions/{logical_id}")));
        let endpoint = format!("AWS_ENDPOINT_URL={}", self.text("/proxy_url"));
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").expect("this machine has /proc").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            // A process may have ended since the folder was listed.
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let has = |wanted: &str| environment.split(|byte| *byte == 0).any(|pair| pair == wanted.as_bytes());
            if has(&name) && has(&endpoint) {
                found.push(pid);
            }
        }
        found
    }

    /// Kills every process of a function with SIGKILL, also those that start meanwhile. Returns their number.
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

    /// Sets a queue's visibility timeout in seconds, and returns the previous one.
    #[must_use]
    pub fn visibility(&self, queue: &str, seconds: u64) -> u64 {
        let url = self.text(&format!("/queues/{queue}"));
        let before = self.aws(&["visibility", &url, &seconds.to_string()]);
        before.pointer("/before").and_then(Value::as_u64).unwrap()
    }
}
