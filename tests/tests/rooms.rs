//! Which room may know which: read from `cargo metadata`, so that a wrong dependency fails before it is used.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// The workspace's packages with their normal dependencies by name.
fn rooms() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let normal = package["dependencies"].as_array().unwrap().iter().filter(|dep| dep["kind"].is_null());
            let names = normal.map(|dep| dep["name"].as_str().unwrap().to_owned());
            (package["name"].as_str().unwrap().to_owned(), names.collect())
        })
        .collect()
}

fn functions() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../functions");
    folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_domain_crate_depends_on_no_other() {
    let rooms = rooms();
    let outside = ["aws", "tokio", "reqwest", "hyper", "lambda", "axum", "tracing", "futures", "metrics"];
    for name in &rooms["domain"] {
        assert!(!outside.iter().any(|word| name.starts_with(word)), "domain knows {name}");
        assert!(!rooms.contains_key(name), "domain knows the room {name}");
    }
}

#[test]
fn dependencies_point_one_way() {
    let rooms = rooms();
    let may: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("domain", &[][..]),
        ("contracts", &["domain"]),
        ("pipeline", &["contracts", "domain"]),
        ("simulation", &["contracts", "domain", "pipeline"]),
        ("store", &["domain"]),
        ("aws", &[]),
        ("outbound", &[]),
        ("vault", &["aws", "domain", "store"]),
        ("webhook-verify", &[]),
        ("ledger", &["contracts", "domain", "store"]),
        ("runtime", &["aws", "contracts", "domain", "pipeline", "store"]),
        ("delivery", &["aws", "contracts", "domain", "outbound", "pipeline", "runtime", "store", "vault"]),
    ]);
    for (room, allowed) in may {
        let known = rooms[room].iter().filter(|name| rooms.contains_key(*name));
        for name in known {
            assert!(allowed.contains(&name.as_str()), "{room} must not know {name}");
        }
    }
}

#[test]
fn an_outside_service_is_named_in_its_own_crate_only() {
    let rooms = rooms();
    for (outside, at_home) in [
        ("aws-sdk-dynamodb", &["store"][..]),
        ("aws-sdk-sqs", &["aws"]),
        ("aws-sdk-ses", &["aws"]),
        ("aws-sdk-sns", &["aws"]),
        ("aws-sdk-kms", &["aws"]),
        ("lambda_runtime", &["runtime"]),
        ("aes-gcm", &["vault"]),
    ] {
        for (room, dependencies) in &rooms {
            let names_it = dependencies.contains(outside);
            assert!(!names_it || at_home.contains(&room.as_str()) || room == "tests", "{room} names {outside}");
        }
    }
    for (room, dependencies) in &rooms {
        assert!(
            !dependencies.contains("reqwest") || ["outbound", "tests"].contains(&room.as_str()),
            "{room} has reqwest"
        );
    }
}

#[test]
fn a_function_is_one_folder_one_crate_one_binary_and_knows_no_other() {
    let rooms = rooms();
    let functions = functions();
    for function in &functions {
        assert!(rooms.contains_key(function), "functions/{function} is no package of that name");
        for other in &rooms[function] {
            assert!(!functions.contains(other), "{function} knows the function {other}");
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../functions").join(function);
        for file in ["Cargo.toml", "event.json", "src/main.rs", "src/lib.rs", "src/config.rs"] {
            assert!(folder.join(file).is_file(), "functions/{function}/{file} is missing");
        }
        let main = std::fs::read_to_string(folder.join("src/main.rs")).unwrap();
        assert!(main.lines().count() <= 10, "functions/{function}/src/main.rs is more than wiring");
        let card = std::fs::read_to_string(folder.join("src/lib.rs")).unwrap();
        for heading in ["//! Trigger", "//! Reads", "//! Writes", "//! Emits", "//! Fails", "//! Config"] {
            let other = heading.replace("Fails", "On failure");
            assert!(card.contains(heading) || card.contains(&other), "{function}'s card lacks {heading}");
        }
        let event = std::fs::read_to_string(folder.join("event.json")).unwrap();
        assert!(serde_json::from_str::<Value>(&event).is_ok(), "functions/{function}/event.json is not JSON");
    }
}

#[test]
fn there_is_no_crate_named_util_or_common() {
    for name in rooms().keys() {
        for word in ["util", "common", "helper", "manager", "misc"] {
            assert!(!name.contains(word), "{name}: which concept is this?");
        }
    }
}

#[test]
fn only_runtime_reads_the_clock_and_the_environment() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/domain/src");
    let mut folders = vec![shared];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for word in
                ["Timestamp::now", "SystemTime::now", "Instant::now", "env::var", "async fn", "std::fs", "std::net"]
            {
                if text.contains(word) {
                    panic!("{} has {word}", path.display());
                }
            }
        }
    }
}

#[test]
fn every_example_event_json_is_a_valid_message() {
    use contracts::queue::{Delivery, IncidentReceived, RoutingJob};
    let body = |function: &str| -> String {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../functions/{function}/event.json"));
        let event: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        event["Records"][0]["body"].as_str().unwrap().to_owned()
    };
    serde_json::from_str::<IncidentReceived>(&body("classify")).unwrap();
    serde_json::from_str::<RoutingJob>(&body("subscription-lookup")).unwrap();
    for function in ["deliver-email", "deliver-sms", "deliver-chat", "deliver-webhook"] {
        serde_json::from_str::<Delivery>(&body(function)).unwrap_or_else(|error| panic!("{function}: {error}"));
    }
}
