//! The local stack: up and down. The same template and the same binaries as on AWS, deployed by the real SAM CLI to an
//! emulator on loopback that enforces IAM.

use crate::http::send;
use crate::process::{self, Fault, root, run, say};
use crate::{build, demo, python, seed};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The stack that is meant when nobody says which.
pub(crate) const USUAL: &str = "local";

const SENDER: &str = "alerts@tocsin.test";
const OPERATOR: &str = "operators@tocsin.test";
const REGION: &str = "eu-central-1";

/// Where a stack keeps what it needs while it is up.
pub(crate) fn place(name: &str) -> PathBuf {
    root().join("target").join(name)
}

/// What tools read of a stack that is up.
pub(crate) fn outputs(name: &str) -> Result<Value, Fault> {
    let file = place(name).join("outputs.json");
    let text = std::fs::read_to_string(&file).map_err(|_| Fault::new("no stack is up", "Start it: cargo xtask up"))?;
    serde_json::from_str(&text)
        .map_err(|_| Fault::new("outputs.json cannot be read", "cargo xtask down, then cargo xtask up"))
}

/// A stack that is up, and ends with this value unless it is told to stay.
pub(crate) struct Stack {
    /// What stands in outputs.json.
    pub(crate) outputs: Value,
    keeper: Child,
}

impl Stack {
    /// Lets the stack live on without this process.
    fn stay(&mut self) -> Result<(), Fault> {
        if let Some(words) = &mut self.keeper.stdin {
            writeln!(words, "stay")?;
        }
        Ok(())
    }
}

/// `cargo xtask up`
pub(crate) fn up(name: &str, detach: bool) -> Result<(), Fault> {
    let begun = Instant::now();
    say(
        "Tocsin: bringing up the whole system on this machine (from nothing about 8 minutes, 4 GB of disk in target/).",
    );
    let flag = flag(name);
    if running(name) {
        say(&format!("It is up already. To run changed code: cargo xtask down{flag}, then up."));
        return demo::explain(name, &outputs(name)?);
    }
    python::prerequisites()?;
    let again = format!("cargo xtask up{flag}");
    let parts = prepare(build::For::Stack, &again)?;
    let mut stack = create(name, &parts, false, &again)?;
    let shown = demo::show(&stack.outputs).and_then(|()| demo::explain(name, &stack.outputs));
    if shown.is_err() {
        down(name)?;
        return shown;
    }
    say(&format!("\nUp in {} s.", begun.elapsed().as_secs()));
    if detach {
        return stack.stay();
    }
    say("Ctrl-C ends it.");
    // Ctrl-C ends this process, and the keeper ends the stack when its standard input closes; `wait` alone would close it now.
    let open = stack.keeper.stdin.take();
    let asked = stack.keeper.wait()?.success();
    drop(open);
    down(name)?;
    if asked {
        say("The stack was taken down.");
        return Ok(());
    }
    let logs = place(name).join("logs");
    Err(Fault::new(
        "a process of the stack has ended",
        format!("Its log: {}\nAgain: cargo xtask up{flag}", logs.display()),
    ))
}

/// What a command needs to mean this stack.
pub(crate) fn flag(name: &str) -> String {
    if name == USUAL { String::new() } else { format!(" --name {name}") }
}

/// What every stack is made of.
pub(crate) struct Parts {
    binaries: PathBuf,
    emulator_bin: PathBuf,
    sam_bin: PathBuf,
}

/// Makes the environments and builds the binaries.
pub(crate) fn prepare(what: build::For, again: &str) -> Result<Parts, Fault> {
    say("▸ environments (PyPI, about 200 MB the first time) and binaries");
    // pip waits for the network while cargo works.
    let environments =
        std::thread::spawn(|| Ok::<_, Fault>((python::environment("emulator")?, python::environment("sam")?)));
    let binaries = build::quick(what)?;
    let made = environments.join().map_err(|_| Fault::new("making the environments panicked", again))?;
    let (emulator_bin, sam_bin) = made?;
    Ok(Parts { binaries, emulator_bin, sam_bin })
}

/// Starts, deploys and seeds a stack. A failure leaves no process; `again` is the command that tries it once more.
/// `test_clock`: whether its clock can be set.
pub(crate) fn create(name: &str, parts: &Parts, test_clock: bool, again: &str) -> Result<Stack, Fault> {
    let place = place(name);
    std::fs::create_dir_all(place.join("logs"))?;
    let lock = File::create(place.join("lock"))?;
    if lock.try_lock().is_err() {
        let mend = "Wait for it, or end that command and try again";
        return Err(Fault::new("another command is bringing this stack up", mend));
    }
    down(name)?;
    let made = try_create(name, &place, parts, test_clock, again);
    if made.is_err() {
        down(name)?;
    }
    made
}

fn try_create(name: &str, place: &Path, parts: &Parts, test_clock: bool, again: &str) -> Result<Stack, Fault> {
    let Parts { binaries, emulator_bin, sam_bin } = parts;
    let step = |words: &str| match name {
        USUAL => say(&format!("▸ {words}")),
        _ => say(&format!("▸ {words} [{name}]")),
    };
    let [emulator, receivers, control, proxy] = process::free_ports()?;
    let emulator_url = format!("http://127.0.0.1:{emulator}");
    step("receivers and emulator");
    let ports = [emulator, receivers, control, proxy].map(|port| port.to_string());
    drop(std::fs::remove_file(place.join("ca.pem")));
    let mut arguments = vec![binaries.join("receivers").display().to_string(), place.display().to_string()];
    arguments.extend(ports.iter().cloned());
    let (receivers_log, emulator_log) = (place.join("logs/receivers.log"), place.join("logs/emulator.log"));
    let programs = json!([
        {"argv": arguments, "env": {}, "log": receivers_log},
        {"argv": [emulator_bin.join("ministack")], "log": emulator_log, "env": {
            // IAM is enforced: each function runs under its template role.
            "AUTH": "true",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": ports[0],
            "MINISTACK_PORT": ports[0],
            // Without this it also opens MQTT on every address of the machine.
            "IOT_MTLS_ENABLED": "0",
            "MINISTACK_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            // The functions inherit this: they reach the emulator through the proxy, which counts their calls and lets tests
            // hold one.
            "AWS_ENDPOINT_URL": format!("http://127.0.0.1:{proxy}"),
            "TMPDIR": scratch(place)?,
        }},
    ]);
    let mut command = Command::new(emulator_bin.join("python"));
    command.arg(root().join("infra/local/keep.py")).arg(place.join("pids")).arg(programs.to_string());
    let keeper_log = File::create(place.join("logs/keeper.log"))?;
    command.stdin(Stdio::piped()).stdout(keeper_log.try_clone()?).stderr(keeper_log);
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        // The terminal's Ctrl-C ends this process; the keeper sees that and ends the others in order.
        command.process_group(0);
    }
    let mut keeper = command.spawn()?;
    wait(&mut keeper, &emulator_log, again, || {
        send("GET", &format!("{emulator_url}/_ministack/health"), &[], None).is_ok_and(|answer| answer.status < 500)
            && place.join("ca.pem").exists()
    })?;

    step("identity provider (Cognito)");
    let log = place.join("logs/identity.log");
    let mut command = Command::new(sam_bin.join("python"));
    aws(&mut command, &emulator_url).arg(root().join("infra/local/identity.py"));
    run(&mut command, "making the identity provider", &log, again)?;
    let identity = last_line(&log)?;
    let of_identity = |name: &str| identity.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();

    step("sam deploy (the real SAM CLI, the same template.yaml)");
    let template = local_template(place, binaries)?;
    let stack = format!("tocsin-{name}");
    let root_certificate = std::fs::read_to_string(place.join("ca.pem"))?.replace('\n', "\\n");
    let mut command = Command::new(sam_bin.join("sam"));
    aws(&mut command, &emulator_url).current_dir(place);
    command.args(["deploy", "--config-file"]).arg(root().join("samconfig.toml")).args(["--config-env", "local", "-t"]);
    command.arg(&template).args([
        "--stack-name",
        &stack,
        "--region",
        REGION,
        "--no-progressbar",
        "--parameter-overrides",
    ]);
    command.args([
        "Stage=local".to_owned(),
        format!("Architecture={}", if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }),
        format!("OperatorEmail={OPERATOR}"),
        format!("EmailFrom={SENDER}"),
        format!("EmulatorUrl={emulator_url}"),
        format!("OidcIssuer={}", of_identity("issuer")),
        format!("OidcAudience={}", of_identity("client_id")),
        // Cognito's users have groups rather than scopes.
        "OidcScopesClaim=cognito:groups".to_owned(),
        format!(
            "OidcDiscoveryUrl=https://127.0.0.1:{receivers}/{}/.well-known/openid-configuration",
            of_identity("pool_id")
        ),
        // The second one speaks no TLS: what a tenant with a broken certificate sees can be tried there.
        format!("OutboundExceptions=127.0.0.1:{receivers},127.0.0.1:{control}"),
        format!("OutboundExtraRoot={}", base64(root_certificate.replace("\\n", "\n").as_bytes())),
        "EmailSendRate=none".to_owned(),
        "SmsSendRate=none".to_owned(),
        "SmsDeliveryLogs=create".to_owned(),
        "PointInTimeRecovery=false".to_owned(),
        "DeletionProtection=false".to_owned(),
        "LogRetentionDays=1".to_owned(),
        // Only tests live through days.
        format!("TestClock={test_clock}"),
    ]);
    run(&mut command, "sam deploy", &place.join("logs/deploy.log"), again)?;

    step("first admin token, demo tenants");
    let log = place.join("logs/prepare.log");
    let mut command = Command::new(sam_bin.join("python"));
    aws(&mut command, &emulator_url).arg(root().join("infra/local/prepare.py")).args([&stack, SENDER]);
    run(&mut command, "making the first admin token", &log, again)?;
    let prepared = last_line(&log)?;
    let text = |pointer: &str| prepared.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let all = prepared.get("outputs").and_then(Value::as_object).cloned().unwrap_or_default();
    let pick = |ending: &str, keep: &str| -> Value {
        let found =
            all.iter().filter_map(|(key, value)| Some((format!("{}{keep}", key.strip_suffix(ending)?), value.clone())));
        Value::Object(found.collect())
    };
    let base = json!({
        "api_url": text("/outputs/ApiUrl"),
        "emulator_url": emulator_url,
        "stack_name": stack,
        "region": REGION,
        "table": text("/outputs/TableName"),
        "functions": pick("FunctionName", "Function"),
        "queues": pick("QueueUrl", "Queue"),
        "receivers_url": format!("https://127.0.0.1:{receivers}"),
        "control_url": format!("http://127.0.0.1:{control}"),
        "proxy_url": format!("http://127.0.0.1:{proxy}"),
        "ca_certificate": place.join("ca.pem"),
        "identity": identity,
        "python": sam_bin.join("python"),
        "sam": sam_bin.join("sam"),
        "outputs": all,
    });
    // The log held the token; what is kept of it is outputs.json.
    drop(std::fs::remove_file(&log));
    let outputs = seed::seed(base, &text("/token"))?;
    std::fs::write(place.join("outputs.json"), format!("{outputs:#}"))?;
    Ok(Stack { outputs, keeper })
}

/// What a tool printed last, as JSON.
fn last_line(log: &Path) -> Result<Value, Fault> {
    let text = std::fs::read_to_string(log)?;
    Ok(text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default())
}

/// `cargo xtask down`
pub(crate) fn down_and_say(name: &str) -> Result<(), Fault> {
    let was = !pids(name).is_empty();
    down(name)?;
    say(if was { "Tocsin is down; no process of it is left." } else { "Nothing was up." });
    Ok(())
}

/// Ends a stack and waits until no process of it is left.
pub(crate) fn down(name: &str) -> Result<(), Fault> {
    let place = place(name);
    // The keeper comes first and ends the others; they are asked about for the case that it was killed.
    for pid in pids(name) {
        process::end(pid);
    }
    // And the functions' processes, for the case that the emulator was killed.
    for pid in process::processes_of(&format!("{}/", place.join("scratch").display())) {
        process::end(pid);
    }
    // The keeper removes these, unless it was killed.
    drop(std::fs::remove_file(place.join("outputs.json")));
    drop(std::fs::remove_dir_all(place.join("scratch")));
    drop(std::fs::remove_file(place.join("pids")));
    Ok(())
}

fn running(name: &str) -> bool {
    pids(name).len() == 3 && place(name).join("outputs.json").exists()
}

/// The processes that the keeper noted and that are still what they were: keeper, receivers, emulator.
fn pids(name: &str) -> Vec<u32> {
    let text = std::fs::read_to_string(place(name).join("pids")).unwrap_or_default();
    let ours = ["keep.py", "receivers", "ministack"];
    text.lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| process::command_line(*pid).is_some_and(|line| ours.iter().any(|name| line.contains(name))))
        .collect()
}

/// The emulator unpacks code and keeps state in a folder that goes with the stack.
fn scratch(place: &Path) -> Result<PathBuf, Fault> {
    let scratch = place.join("scratch");
    std::fs::create_dir_all(&scratch)?;
    Ok(scratch)
}

/// The template with every `CodeUri` pointing to a folder that holds the built binary as `bootstrap`; else word for word.
fn local_template(place: &Path, binaries: &Path) -> Result<PathBuf, Fault> {
    let text = std::fs::read_to_string(root().join("template.yaml"))?;
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        match line.trim().strip_prefix("CodeUri: functions/") {
            Some(name) => {
                let name = name.trim_end_matches('/');
                let folder = place.join("code").join(name);
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
    let file = place.join("template.yaml");
    std::fs::write(&file, out)?;
    Ok(file)
}

/// The environment of an AWS client that talks to the emulator.
pub(crate) fn aws<'a>(command: &'a mut Command, emulator_url: &str) -> &'a mut Command {
    command
        .env("AWS_ENDPOINT_URL", emulator_url)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_REGION", REGION)
        .env("SAM_CLI_TELEMETRY", "0")
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_SESSION_TOKEN")
}

/// Waits for what the keeper started. It ends when one of its programs does, so nobody waits for the dead.
fn wait(keeper: &mut Child, log: &Path, again: &str, mut ready: impl FnMut() -> bool) -> Result<(), Fault> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(90) && keeper.try_wait()?.is_none() {
        if ready() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Err(Fault::step("starting the receivers and the emulator", log, again))
}

/// Base64, since a parameter cannot hold the lines of a PEM.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let number =
            group.iter().fold(0_u32, |number, byte| (number << 8) | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let index = usize::try_from((number >> (18 - 6 * place)) & 63).unwrap_or(0);
            let letter = ALPHABET.get(index).filter(|_| place <= group.len());
            out.push(letter.map_or('=', |letter| char::from(*letter)));
        }
    }
    out
}
