//! Creates a local stack: starts the emulator and the receivers, deploys the template, and seeds the demo tenants.

use super::{DEFAULT_NAME, OPERATOR, REGION, SENDER, Stack, Toolchain, aws, down, folder};
use crate::http::send;
use crate::process::{self, CommandFault, root, run, say};
use crate::seed;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Starts, deploys and seeds a stack. A failure leaves no process behind.
///
/// `again` is the command that error messages suggest. With [`Clock::Settable`] the tests can set the stack's clock.
pub(crate) fn create(name: &str, tools: &Toolchain, clock: Clock, again: &str) -> Result<Stack, CommandFault> {
    let folder = folder(name);
    std::fs::create_dir_all(folder.join("logs"))?;
    let lock = File::create(folder.join("lock"))?;
    if lock.try_lock().is_err() {
        let remedy = "Wait for it to finish, or stop it and try again";
        return Err(CommandFault::new("another command is starting this stack", remedy));
    }
    down(name)?;
    let ports = Ports::free()?;
    let stack = Creation { name, folder: &folder, tools, clock, again, ports }.run();
    if stack.is_err() {
        down(name)?;
    }
    stack
}

/// Which clock the functions of a stack use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    Machine,
    /// An offset in the table (parameter `TestClock`), which tests set.
    Settable,
}

/// The loopback ports of one stack.
struct Ports {
    emulator: u16,
    /// HTTPS endpoints that stand in for Slack, Teams and tenants' webhooks.
    receivers: u16,
    /// What the receivers got, and how they are to answer. Plain HTTP.
    control: u16,
    /// Between functions and emulator: counts calls, and holds them for tests.
    proxy: u16,
}

impl Ports {
    fn free() -> Result<Self, CommandFault> {
        let [emulator, receivers, control, proxy] = process::free_ports()?;
        Ok(Self { emulator, receivers, control, proxy })
    }
}

/// One creation of a stack, step by step.
struct Creation<'a> {
    name: &'a str,
    folder: &'a Path,
    tools: &'a Toolchain,
    clock: Clock,
    again: &'a str,
    ports: Ports,
}

impl Creation<'_> {
    fn run(&self) -> Result<Stack, CommandFault> {
        self.announce("receivers and emulator");
        let keeper = self.start_programs()?;
        self.announce("identity provider (Cognito)");
        let identity = self.create_identity_provider()?;
        self.announce("sam deploy (the real SAM CLI, the same template.yaml)");
        self.deploy(&identity)?;
        self.announce("first admin token, demo tenants");
        let prepared = self.create_first_token()?;
        let token = text(&prepared, "/token");
        let outputs = seed::seed(self.outputs(&identity, &prepared), &token)?;
        std::fs::write(self.folder.join("outputs.json"), format!("{outputs:#}"))?;
        Ok(Stack { outputs, keeper })
    }

    fn announce(&self, step: &str) {
        match self.name {
            DEFAULT_NAME => say(&format!("▸ {step}")),
            name => say(&format!("▸ {step} [{name}]")),
        }
    }

    fn emulator_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.emulator)
    }

    fn stack_name(&self) -> String {
        format!("tocsin-{}", self.name)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{name}.log"))
    }

    /// Starts the keeper, which starts the receivers and the emulator. Returns the keeper once both answer.
    fn start_programs(&self) -> Result<Child, CommandFault> {
        let Ports { emulator, receivers, control, proxy } = self.ports;
        drop(std::fs::remove_file(self.folder.join("ca.pem")));
        let mut arguments =
            vec![self.tools.binaries.join("receivers").display().to_string(), self.folder.display().to_string()];
        arguments.extend([emulator, receivers, control, proxy].map(|port| port.to_string()));
        let emulator_log = self.log("emulator");
        let programs = json!([
            {"argv": arguments, "env": {}, "log": self.log("receivers")},
            {"argv": [self.tools.emulator_bin.join("ministack")], "log": emulator_log, "env": {
                // IAM is enforced: each function runs under its template role.
                "AUTH": "true",
                "BIND_HOST": "127.0.0.1",
                "GATEWAY_PORT": emulator.to_string(),
                "MINISTACK_PORT": emulator.to_string(),
                // Otherwise the emulator also opens MQTT on every address of the machine.
                "IOT_MTLS_ENABLED": "0",
                "MINISTACK_REGION": REGION,
                "AWS_DEFAULT_REGION": REGION,
                // The functions inherit this. They reach the emulator through the proxy, which counts their calls and lets tests
                // hold a call.
                "AWS_ENDPOINT_URL": format!("http://127.0.0.1:{proxy}"),
                "TMPDIR": scratch(self.folder)?,
                // What it has when it ends is there when the keeper starts it again.
                "PERSIST_STATE": "1",
                "STATE_DIR": scratch(self.folder)?.join("state"),
            }},
        ]);
        let mut command = Command::new(self.tools.emulator_bin.join("python"));
        command.arg(root().join("infra/local/keep.py")).arg(self.folder.join("pids")).arg(programs.to_string());
        let keeper_log = File::create(self.log("keeper"))?;
        command.stdin(Stdio::piped()).stdout(keeper_log.try_clone()?).stderr(keeper_log);
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;
            // Ctrl-C in the terminal ends this process only. The keeper notices and stops the others in order.
            command.process_group(0);
        }
        let mut keeper = command.spawn()?;
        let health = format!("{}/_ministack/health", self.emulator_url());
        wait_until_ready(&mut keeper, &emulator_log, self.again, || {
            send("GET", &health, &[], None).is_ok_and(|response| response.status < 500)
                && self.folder.join("ca.pem").exists()
        })?;
        Ok(keeper)
    }

    /// Creates a Cognito user pool for sign-in by JWT. Returns its issuer, pool id and client id.
    fn create_identity_provider(&self) -> Result<Value, CommandFault> {
        let log = self.log("identity");
        let mut command = Command::new(self.tools.sam_bin.join("python"));
        aws(&mut command, &self.emulator_url()).arg(root().join("infra/local/identity.py"));
        run(&mut command, "creating the identity provider", &log, self.again)?;
        last_line(&log)
    }

    fn deploy(&self, identity: &Value) -> Result<(), CommandFault> {
        let template = local_template(self.folder, &self.tools.binaries)?;
        let mut command = Command::new(self.tools.sam_bin.join("sam"));
        aws(&mut command, &self.emulator_url()).current_dir(self.folder);
        command.args(["deploy", "--config-file"]).arg(root().join("samconfig.toml")).args([
            "--config-env",
            "local",
            "-t",
        ]);
        command.arg(&template).args(["--stack-name", &self.stack_name(), "--region", REGION, "--no-progressbar"]);
        command.arg("--parameter-overrides").args(self.parameters(identity)?);
        run(&mut command, "sam deploy", &self.log("deploy"), self.again)
    }

    /// Returns the template's parameters, each as `Name=value`.
    fn parameters(&self, identity: &Value) -> Result<Vec<String>, CommandFault> {
        let Ports { receivers, control, .. } = self.ports;
        let root_certificate = std::fs::read(self.folder.join("ca.pem"))?;
        Ok(vec![
            "Stage=local".to_owned(),
            format!("Architecture={}", if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }),
            format!("OperatorEmail={OPERATOR}"),
            format!("EmailFrom={SENDER}"),
            format!("EmulatorUrl={}", self.emulator_url()),
            format!("OidcIssuer={}", text(identity, "/issuer")),
            format!("OidcAudience={}", text(identity, "/client_id")),
            // Cognito's users have groups rather than scopes.
            "OidcScopesClaim=cognito:groups".to_owned(),
            format!(
                "OidcDiscoveryUrl=https://127.0.0.1:{receivers}/{}/.well-known/openid-configuration",
                text(identity, "/pool_id")
            ),
            // The second port has no TLS, so a tenant's broken certificate can be tried there.
            format!("OutboundExceptions=127.0.0.1:{receivers},127.0.0.1:{control}"),
            // A parameter cannot hold the line breaks of a PEM.
            format!("OutboundExtraRoot={}", STANDARD.encode(root_certificate)),
            "EmailSendRate=none".to_owned(),
            "SmsSendRate=none".to_owned(),
            "SmsDeliveryLogs=create".to_owned(),
            "PointInTimeRecovery=false".to_owned(),
            "DeletionProtection=false".to_owned(),
            "LogRetentionDays=1".to_owned(),
            format!("TestClock={}", self.clock == Clock::Settable),
            "DataKeySettlingSeconds=60".to_owned(),
        ])
    }

    /// Verifies the sender and creates the first admin token. Returns that token and the outputs of the CloudFormation stack.
    fn create_first_token(&self) -> Result<Value, CommandFault> {
        let log = self.log("prepare");
        let mut command = Command::new(self.tools.sam_bin.join("python"));
        aws(&mut command, &self.emulator_url()).arg(root().join("infra/local/prepare.py"));
        command.args([&self.stack_name(), SENDER]);
        run(&mut command, "creating the first admin token", &log, self.again)?;
        let prepared = last_line(&log);
        // The log holds the token, which belongs in outputs.json only.
        drop(std::fs::remove_file(&log));
        prepared
    }

    /// Returns the content of outputs.json, without the tokens and demo data that seeding adds.
    fn outputs(&self, identity: &Value, prepared: &Value) -> Value {
        let Ports { receivers, control, proxy, .. } = self.ports;
        let all = prepared.get("outputs").and_then(Value::as_object).cloned().unwrap_or_default();
        let pick = |ending: &str, keep: &str| -> Value {
            let found = all
                .iter()
                .filter_map(|(key, value)| Some((format!("{}{keep}", key.strip_suffix(ending)?), value.clone())));
            Value::Object(found.collect())
        };
        json!({
            "api_url": text(prepared, "/outputs/ApiUrl"),
            "emulator_url": self.emulator_url(),
            "stack_name": self.stack_name(),
            "region": REGION,
            "table": text(prepared, "/outputs/TableName"),
            "functions": pick("FunctionName", "Function"),
            "queues": pick("QueueUrl", "Queue"),
            "receivers_url": format!("https://127.0.0.1:{receivers}"),
            "control_url": format!("http://127.0.0.1:{control}"),
            "proxy_url": format!("http://127.0.0.1:{proxy}"),
            "ca_certificate": self.folder.join("ca.pem"),
            "identity": identity,
            "python": self.tools.sam_bin.join("python"),
            "sam": self.tools.sam_bin.join("sam"),
            "outputs": all,
        })
    }
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Parses the last line of a tool's log as JSON.
fn last_line(log: &Path) -> Result<Value, CommandFault> {
    let text = std::fs::read_to_string(log)?;
    Ok(text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default())
}

/// Creates the folder in which the emulator unpacks code and keeps state. It is deleted with the stack.
fn scratch(folder: &Path) -> Result<PathBuf, CommandFault> {
    let scratch = folder.join("scratch");
    std::fs::create_dir_all(&scratch)?;
    Ok(scratch)
}

/// Writes a copy of the template in which every `CodeUri` points to a folder with the built binary as `bootstrap`. Nothing else differs.
fn local_template(folder: &Path, binaries: &Path) -> Result<PathBuf, CommandFault> {
    let text = std::fs::read_to_string(root().join("template.yaml"))?;
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        match line.trim().strip_prefix("CodeUri: functions/") {
            Some(name) => {
                let name = name.trim_end_matches('/');
                let folder = folder.join("code").join(name);
                std::fs::create_dir_all(&folder)?;
                let bootstrap = folder.join("bootstrap");
                drop(std::fs::remove_file(&bootstrap));
                std::fs::copy(binaries.join(name), &bootstrap)?;
                let indent = line.len() - line.trim_start().len();
                out.push_str(&format!("{}CodeUri: {}\n", " ".repeat(indent), folder.display()));
            }
            None => out.push_str(&format!("{line}\n")),
        }
    }
    let file = folder.join("template.yaml");
    std::fs::write(&file, out)?;
    Ok(file)
}

/// Waits up to 90 seconds for the programs that the keeper started. Stops early if the keeper ends, which it does when a program ends.
fn wait_until_ready(
    keeper: &mut Child,
    log: &Path,
    again: &str,
    mut ready: impl FnMut() -> bool,
) -> Result<(), CommandFault> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(90) && keeper.try_wait()?.is_none() {
        if ready() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Err(CommandFault::failed_step("starting the receivers and the emulator", log, again))
}
