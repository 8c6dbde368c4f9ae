//! Controls the proxy between the functions and the emulator: it counts calls, lets calls go wrong, and holds one, so that a test can kill a
//! function meanwhile.

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

/// Faults of AWS calls, until they are ended or this is dropped.
#[derive(Debug)]
pub struct Faults {
    url: String,
}

impl Faults {
    /// Ends them. Returns how often each was drawn, by operation and kind.
    #[must_use]
    pub fn end(&self) -> BTreeMap<String, u64> {
        let drawn = http::send("DELETE", &self.url, &[], None).unwrap().json();
        serde_json::from_value(drawn).unwrap_or_default()
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        drop(self.end());
    }
}

/// Shorter visibility timeouts for as long as this lives: the waiting is shorter, the mechanism is the same.
#[derive(Debug)]
pub struct Shortened<'a> {
    stack: &'a Stack,
    before: Vec<(&'static str, u64)>,
}

impl<'a> Shortened<'a> {
    /// Sets each queue's visibility timeout in seconds.
    #[must_use]
    pub fn new(stack: &'a Stack, queues: &[(&'static str, u64)]) -> Self {
        let before = queues.iter().map(|(queue, seconds)| (*queue, stack.visibility(queue, *seconds))).collect();
        Self { stack, before }
    }
}

impl Drop for Shortened<'_> {
    fn drop(&mut self) {
        for (queue, seconds) in &self.before {
            let _before = self.stack.visibility(queue, *seconds);
        }
    }
}

/// How long the emulator may take to start again with its state.
const RESTART: Duration = Duration::from_secs(90);

impl Stack {
    /// Lets AWS calls go wrong: one in `one_in`, of the operations that begin as given (such as `ses.`), in the ways that `kinds` names.
    /// `infra/receivers/src/faults.rs` lists the kinds.
    #[must_use]
    pub fn let_fail(&self, (seed, one_in): (u64, u64), operations: &[&str], kinds: &[&str]) -> Faults {
        let plan = json!({"seed": seed, "one_in": one_in, "operations": operations, "kinds": kinds});
        let url = format!("{}/faults", self.text("/control_url"));
        let answer = http::send("POST", &url, &[], Some(plan.to_string().as_bytes())).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        Faults { url: format!("{url}/{}", answer.json()["id"]) }
    }

    /// Takes all of AWS away from the functions: half of the calls are refused, the connections of the others break.
    #[must_use]
    pub fn outage(&self) -> Faults {
        self.let_fail((0, 1), &[""], &["unavailable", "cut_before"])
    }

    /// Ends the emulator and everything that runs in it, and starts it again with what it had stored. Takes some seconds, in which nothing
    /// answers: neither AWS nor the API.
    pub fn restart_emulator(&self) {
        // What the emulator accepted is in its state: nothing more is to be accepted while it writes that down.
        let outage = self.outage();
        std::thread::sleep(Duration::from_secs(3));
        self.keep_mails();
        let emulator = self.keeper()[2];
        drop(Command::new("kill").args(["-HUP", &self.keeper()[0].to_string()]).status());
        let health = format!("{}/_ministack/health", self.text("/emulator_url"));
        wait("the emulator to start again", RESTART, || {
            let begun = self.keeper().get(2).is_some_and(|pid| *pid != emulator);
            (begun && http::send("GET", &health, &[], None).is_ok_and(|answer| answer.status == 200)).then_some(())
        });
        drop(outage);
    }

    /// Returns the process ids of the stack's keeper, receivers and emulator.
    fn keeper(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(self.place.join("pids")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Sets after how many receives a queue moves a message to its dead-letter queue, and returns the previous number.
    #[must_use]
    pub fn receives_max(&self, queue: &str, receives: u64) -> u64 {
        let url = self.text(&format!("/queues/{queue}"));
        let before = self.aws(&["receives-max", &url, &receives.to_string()]);
        before.pointer("/before").and_then(Value::as_u64).unwrap()
    }

    /// Returns the number of messages on queues: waiting, in flight or delayed.
    #[must_use]
    pub fn depth<'b>(&self, queues: impl IntoIterator<Item = &'b str>) -> u64 {
        let urls = queues.into_iter().map(|queue| self.text(&format!("/queues/{queue}")));
        let arguments: Vec<String> = std::iter::once("depth".to_owned()).chain(urls).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.aws(&arguments)["messages"].as_u64().unwrap()
    }

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
