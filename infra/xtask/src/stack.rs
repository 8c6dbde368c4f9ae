//! The local stack: up and down. The same template and the same binaries as on AWS, deployed by the real SAM CLI to an
//! emulator on loopback that enforces IAM.

use crate::http::send;
use crate::process::{self, Fault, root, run, say, start};
use crate::{build, demo, python, seed};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const SENDER: &str = "alerts@tocsin.test";
const OPERATOR: &str = "operators@tocsin.test";
const REGION: &str = "eu-central-1";

/// Where a stack keeps what it needs while it is up.
pub(crate) fn place(name: &str) -> PathBuf {
    root().join("target").join(if name == "local" { "local" } else { name })
}

/// What tools read of a stack that is up.
pub(crate) fn outputs(name: &str) -> Result<Value, Fault> {
    let file = place(name).join("outputs.json");
    let text = std::fs::read_to_string(&file).map_err(|_| Fault::new("no stack is up", "Start it: cargo xtask up"))?;
    serde_json::from_str(&text)
        .map_err(|_| Fault::new("outputs.json cannot be read", "cargo xtask down, then cargo xtask up"))
}

/// `cargo xtask up`
pub(crate) fn up(detach: bool) -> Result<(), Fault> {
    let begun = Instant::now();
    say(
        "Tocsin: bringing up the whole system on this machine (from nothing about 8 minutes, 4 GB of disk in target/).",
    );
    if running("local") {
        say("It is up already.");
        return demo::explain(&outputs("local")?);
    }
    python::prerequisites()?;
    let outputs = create("local", build::For::Stack, detach)?;
    let shown = demo::post(&outputs).and_then(|()| demo::table(&outputs)).and_then(|()| demo::explain(&outputs));
    if shown.is_err() {
        drop(down("local"));
        return shown;
    }
    say(&format!("\nUp in {} s.", begun.elapsed().as_secs()));
    if detach {
        return Ok(());
    }
    say("Ctrl-C ends it.");
    // The children share the terminal's Ctrl-C. When one of them ends, for whatever reason, so does the stack.
    while pids("local").iter().all(|pid| process::alive(*pid)) {
        std::thread::sleep(Duration::from_millis(500));
    }
    down("local")
}

/// Builds, starts, deploys and seeds a stack. A failure leaves no process.
pub(crate) fn create(name: &str, what: build::For, detach: bool) -> Result<Value, Fault> {
    drop(down(name));
    let place = place(name);
    std::fs::create_dir_all(place.join("logs"))?;
    let made = try_create(name, &place, what, detach);
    if made.is_err() {
        drop(down(name));
    }
    made
}

fn try_create(name: &str, place: &Path, what: build::For, detach: bool) -> Result<Value, Fault> {
    say("▸ environments (PyPI, about 200 MB the first time) and binaries");
    // pip waits for the network while cargo works.
    let environments =
        std::thread::spawn(|| Ok::<_, Fault>((python::environment("emulator")?, python::environment("sam")?)));
    let binaries = build::quick(what)?;
    let (emulator_bin, sam_bin) =
        environments.join().map_err(|_| Fault::new("making the environments panicked", "cargo xtask up"))??;

    let [emulator, receivers, control, proxy] = process::free_ports()?;
    let emulator_url = format!("http://127.0.0.1:{emulator}");
    say("▸ receivers and emulator");
    let ports = [emulator, receivers, control, proxy].map(|port| port.to_string());
    let mut command = Command::new(binaries.join("receivers"));
    command.arg(place).args(&ports);
    drop(std::fs::remove_file(place.join("ca.pem")));
    let child = start(&mut command, &place.join("logs/receivers.log"), detach)?;
    remember(place, child.id())?;
    let mut command = Command::new(emulator_bin.join("ministack"));
    // AUTH: IAM is enforced, each function runs under its template role. The functions reach the emulator through the proxy,
    // which counts their calls and lets tests hold one.
    command.envs([("AUTH", "true"), ("BIND_HOST", "127.0.0.1"), ("MINISTACK_REGION", REGION)]);
    // Without this the emulator also opens MQTT on every address of the machine.
    command.env("IOT_MTLS_ENABLED", "0");
    command.env("GATEWAY_PORT", &ports[0]).env("MINISTACK_PORT", &ports[0]);
    command.env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{proxy}"));
    command.env("AWS_DEFAULT_REGION", REGION).env("TMPDIR", scratch(place)?);
    let child = start(&mut command, &place.join("logs/emulator.log"), detach)?;
    remember(place, child.id())?;
    wait(&place.join("logs/emulator.log"), "starting the emulator", || {
        send("GET", &format!("{emulator_url}/_ministack/health"), &[], None).is_ok_and(|answer| answer.status < 500)
            && place.join("ca.pem").exists()
    })?;

    say("▸ sam deploy (the real SAM CLI, the same template.yaml)");
    let template = local_template(place, &binaries)?;
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
        format!("OutboundExceptions=127.0.0.1:{receivers}"),
        format!("OutboundExtraRoot={}", base64(root_certificate.replace("\\n", "\n").as_bytes())),
        "EmailSendRate=none".to_owned(),
        "SmsSendRate=none".to_owned(),
        "PointInTimeRecovery=false".to_owned(),
        "DeletionProtection=false".to_owned(),
        "LogRetentionDays=1".to_owned(),
    ]);
    run(&mut command, "sam deploy", &place.join("logs/deploy.log"), "cargo xtask up")?;

    say("▸ first admin token, demo tenants");
    let log = place.join("logs/prepare.log");
    let mut command = Command::new(sam_bin.join("python"));
    aws(&mut command, &emulator_url).arg(root().join("infra/local/prepare.py")).args([&stack, SENDER]);
    run(&mut command, "making the first admin token", &log, "cargo xtask up")?;
    let text = std::fs::read_to_string(&log)?;
    let prepared: Value = text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
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
        "python": sam_bin.join("python"),
        "sam": sam_bin.join("sam"),
        "outputs": all,
    });
    // The log held the token; what is kept of it is outputs.json.
    drop(std::fs::remove_file(&log));
    let outputs = seed::seed(base, &text("/token"))?;
    std::fs::write(place.join("outputs.json"), format!("{outputs:#}"))?;
    Ok(outputs)
}

/// `cargo xtask down`
pub(crate) fn down(name: &str) -> Result<(), Fault> {
    let place = place(name);
    for pid in pids(name).into_iter().rev() {
        process::end(pid);
    }
    drop(std::fs::remove_file(place.join("pids")));
    drop(std::fs::remove_file(place.join("outputs.json")));
    drop(std::fs::remove_dir_all(place.join("scratch")));
    Ok(())
}

fn running(name: &str) -> bool {
    let pids = pids(name);
    !pids.is_empty() && pids.into_iter().all(process::alive) && place(name).join("outputs.json").exists()
}

fn pids(name: &str) -> Vec<u32> {
    let text = std::fs::read_to_string(place(name).join("pids")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn remember(place: &Path, pid: u32) -> Result<(), Fault> {
    let known = std::fs::read_to_string(place.join("pids")).unwrap_or_default();
    Ok(std::fs::write(place.join("pids"), format!("{known}{pid}\n"))?)
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

fn wait(log: &Path, step: &str, mut ready: impl FnMut() -> bool) -> Result<(), Fault> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(90) {
        if ready() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Err(Fault::step(step, log, "cargo xtask up"))
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
