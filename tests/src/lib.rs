//! Helpers of the end-to-end tests. They use the stack that `cargo xtask test` started from outside only, as upstreams, tenants and
//! receivers do. Operators' actions go through `tests/tools/aws.py`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "this is part of the tests, which fail by a panic and have this machine's clock"
)]

mod aws;
pub mod checker;
pub mod clock;
pub mod documents;
pub mod foreign;
pub mod http;
pub mod npm;
pub mod permissions;
pub mod receive;
pub mod stories;
pub mod template;
pub mod tenant;
pub mod wire;

use http::Response;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Text in every message that tests post. The test of the logs asserts that no log holds it.
pub const BODY_MARK: &str = "zq-words-of-the-source";

/// A running stack.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Content of the stack's `outputs.json`.
    pub outputs: Value,
    place: PathBuf,
}

/// Returns the stack that most tests share; the test fails if there is none. `stack!(clock)` is the stack whose clock tests may set,
/// `stack!(alone)` the one whose functions they may kill; on these, tests run one at a time.
#[macro_export]
macro_rules! stack {
    () => {
        $crate::stack!(@ "TOCSIN_OUTPUTS")
    };
    (clock) => {
        $crate::stack!(@ "TOCSIN_OUTPUTS_CLOCK")
    };
    (alone) => {
        $crate::stack!(@ "TOCSIN_OUTPUTS_ALONE")
    };
    (@ $variable:literal) => {
        $crate::Stack::of($variable)
    };
}

impl Stack {
    /// Reads the stack whose `outputs.json` an environment variable names.
    ///
    /// # Panics
    /// If there is no stack: a test that cannot reach its stack has not passed.
    #[must_use]
    pub fn of(variable: &str) -> Self {
        let Some(file) = std::env::var_os(variable) else {
            panic!("needs a local stack: cargo xtask test NAME (without one: cargo xtask test --fast)")
        };
        let file = PathBuf::from(file);
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{variable}: {error}"));
        let outputs = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{variable}: {error}"));
        Self { outputs, place: file.parent().expect("a file is in a folder").to_path_buf() }
    }

    /// Returns a text of `outputs.json` by its JSON pointer.
    #[must_use]
    pub fn text(&self, pointer: &str) -> String {
        let found = self.outputs.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("outputs.json has no {pointer}")).to_owned()
    }

    /// Creates a folder for a test's files, inside the stack's folder.
    #[must_use]
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.place.join("tests").join(name);
        std::fs::create_dir_all(&folder).expect("a folder beside outputs.json can be made");
        folder
    }

    /// Records a text that no log may hold. The last test checks all of them.
    pub fn secret(&self, text: &str) {
        let file = self.folder("secrets").join("list.txt");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        file.write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    /// Returns everything that [`Stack::secret`] recorded.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder("secrets").join("list.txt")).unwrap_or_default();
        text.lines().filter(|line| line.len() > 5).map(str::to_owned).collect()
    }

    /// Sends a request to the API with a bearer token; without one if `token` is empty.
    #[must_use]
    pub fn call(&self, method: &str, path: &str, token: &str, body: Option<&Value>) -> Response {
        self.call_with(method, path, token, &[], body)
    }

    /// Like [`Stack::call`], with more headers.
    #[must_use]
    pub fn call_with(
        &self,
        method: &str,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Response {
        let text = body.map(Value::to_string);
        self.raw(method, path, token, headers, text.as_deref().map(str::as_bytes))
    }

    /// Like [`Stack::call_with`], with a body that need not be JSON.
    #[must_use]
    pub fn raw(
        &self,
        method: &str,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Response {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.text("/api_url")) };
        let bearer = format!("Bearer {token}");
        let mut all = Vec::new();
        if !token.is_empty() {
            all.push(("authorization", bearer.as_str()));
        }
        if body.is_some() {
            all.push(("content-type", "application/json"));
        }
        all.extend_from_slice(headers);
        http::send(method, &url, &all, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Returns a token that may post events for all tenants.
    #[must_use]
    pub fn monitor(&self) -> String {
        self.text("/tokens/intake")
    }

    /// Returns the platform admin's token.
    #[must_use]
    pub fn admin(&self) -> String {
        self.text("/tokens/platform_admin")
    }

    /// Posts an event with the token for all tenants and returns its id. `message` gets [`BODY_MARK`] so that the logs can be searched.
    #[must_use]
    pub fn post(&self, event: Value) -> String {
        self.post_as(&self.monitor(), event)
    }

    /// Like [`Stack::post`], with another token.
    #[must_use]
    pub fn post_as(&self, token: &str, mut event: Value) -> String {
        let message = event["message"].as_str().unwrap_or("Nothing more is known.").to_owned();
        event["message"] = json!(format!("{message} {BODY_MARK}"));
        if event.get("source").is_none() {
            event["source"] = json!("e2e");
        }
        let answer = self.call("POST", "/v1/incidents", token, Some(&event));
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.json()["event_id"].as_str().unwrap().to_owned()
    }

    /// Posts an event as a source does: again with the same idempotency key, until it is accepted. Returns its id.
    #[must_use]
    pub fn post_until_accepted(&self, event: &Value) -> String {
        let (url, body) = (format!("{}/v1/incidents", self.text("/api_url")), event.to_string());
        let headers = [("authorization", format!("Bearer {}", self.monitor())), ("idempotency-key", unique())];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        wait("the event to be accepted", Duration::from_secs(120), || {
            let answer = http::send("POST", &url, &headers, Some(body.as_bytes())).ok()?;
            // What a source tries again: rate limits, faults, and an authorizer that could not answer.
            let is_final = !matches!(answer.status, 202 | 401 | 403 | 429 | 500..);
            assert!(!is_final, "{}: {}", answer.status, answer.body);
            (answer.status == 202).then(|| answer.json()["event_id"].as_str().unwrap().to_owned())
        })
    }

    /// Waits until an event is classified, and returns its record.
    #[must_use]
    pub fn event(&self, id: &str) -> Value {
        wait("the event to be classified", Duration::from_secs(90), || {
            let answer = self.call("GET", &format!("/v1/events/{id}"), &self.monitor(), None);
            match answer.status {
                200 => Some(answer.json()),
                404 => None,
                other => panic!("GET /v1/events/{id} answered {other}: {}", answer.body),
            }
        })
    }

    /// Returns the id of the incident that an event opened or updated.
    #[must_use]
    pub fn incident_of(&self, event: &str) -> String {
        let known = self.event(event);
        let id = known.pointer("/incidents/0/incident_id").and_then(Value::as_str);
        id.unwrap_or_else(|| panic!("the event made no incident: {known}")).to_owned()
    }

    /// Runs a command of `tests/tools/aws.py` and returns its result.
    #[must_use]
    pub fn aws(&self, arguments: &[&str]) -> Value {
        aws::ask(self, arguments)
    }

    /// Returns the Python interpreter with other products' clients, which `cargo xtask test` installs.
    #[must_use]
    pub fn clients(&self) -> PathBuf {
        let python = self.target().join("venv/clients/bin/python");
        assert!(python.exists(), "other products' clients are not installed; cargo xtask test does it");
        python
    }

    /// Returns the API's base URL over HTTPS, for clients that support nothing else.
    #[must_use]
    pub fn https_api(&self) -> String {
        let api = self.text("/api_url");
        api.replace(&self.text("/emulator_url"), &self.text("/receivers_url"))
    }

    /// Runs a command of `tests/tools/clients.py` and returns the JSON that it printed.
    #[must_use]
    pub fn client(&self, arguments: &[&str]) -> Value {
        let tool = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tools/clients.py");
        let mut command = Command::new(self.clients());
        command.arg(tool).args(arguments).env("SSL_CERT_FILE", self.place.join("ca.pem")).stdin(Stdio::null());
        let output = command.output();
        let output = output.expect("Python can be started");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "clients.py failed:\n{error}");
        serde_json::from_slice(&output.stdout).expect("clients.py prints JSON")
    }

    /// Returns the folder `target` of the repository.
    #[must_use]
    pub fn target(&self) -> PathBuf {
        self.place.parent().expect("a stack is in a folder of the target directory").to_path_buf()
    }
}

/// Polls until `ask` returns a value. Panics with `what` after `at_most`.
pub fn wait<T>(what: &str, at_most: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(150);
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(begun.elapsed() < at_most, "waited {} s for {what}", at_most.as_secs());
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(1_500));
    }
}

/// Sleeps for a number of seconds.
pub fn pause(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}

/// Returns a name that no other test has: a letter and ten of `[a-z0-9]`, safe in tenant ids, titles, addresses and texts.
#[must_use]
pub fn unique() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnopqrstuvwxyz2345678";
    let name: String = random::<10>().iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    format!("z{name}")
}

/// Returns random bytes of the operating system.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("this machine has a source of randomness");
    bytes
}

/// Returns the machine's time.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Returns today's date in UTC as `2026-11-23`.
#[must_use]
pub fn today() -> String {
    Timestamp::now().strftime("%F").to_string()
}

/// Returns the moment `seconds` from now in RFC 3339, in whole seconds.
#[must_use]
pub fn in_seconds(seconds: i64) -> String {
    format!("{:.0}", Timestamp::now() + SignedDuration::from_secs(seconds))
}

/// Returns the time of day in UTC `minutes` from now, as `23:59`.
#[must_use]
pub fn utc_time_in(minutes: i64) -> String {
    (Timestamp::now() + SignedDuration::from_mins(minutes)).strftime("%H:%M").to_string()
}
