//! The published vectors, through the library and through the receivers in docs/webhooks.md.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test may fail by a panic")]

use jiff::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use webhook_verify::{ReceivedWebhook, Secrets, Verification, verify};

#[derive(Deserialize)]
struct Published {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    verdict: String,
    secret: String,
    other_secret: Option<String>,
    headers: BTreeMap<String, String>,
    body: String,
    received_at: i64,
}

fn here(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn code(verification: &Verification) -> &'static str {
    match verification {
        Verification::Valid => "valid",
        Verification::MissingHeader(_) => "missing_header",
        Verification::MalformedHeader(_) => "malformed_header",
        Verification::UnknownVersion => "unknown_version",
        Verification::NotASecret => "not_a_secret",
        Verification::SecretMalformed(_) => "secret_written_wrong",
        Verification::SignedByOtherSecret => "other_secret",
        Verification::ClockSkew(_) => "skew",
        Verification::BodyChanged(_) => "body_changed",
        Verification::Reserialised => "reserialised",
        Verification::WrongSecretOrBody => "wrong_secret_or_body",
    }
}

#[test]
fn every_vector_has_its_published_result() {
    let text = std::fs::read_to_string(here("vectors.json")).unwrap();
    for vector in serde_json::from_str::<Published>(&text).unwrap().vectors {
        let received =
            ReceivedWebhook { headers: vector.headers.into_iter().collect(), body: vector.body.into_bytes() };
        let secrets = Secrets { current: vector.secret, other: vector.other_secret };
        let verification = verify(&received, &secrets, Timestamp::from_second(vector.received_at).unwrap());
        assert_eq!(code(&verification), vector.verdict, "{}", vector.name);
        let (what, remedy) = verification.sentences();
        assert!(what.ends_with('.') && remedy.ends_with('.'), "{}", vector.name);
        if let Verification::ClockSkew(seconds) = verification {
            assert!(what.contains(&seconds.unsigned_abs().to_string()), "{what}");
        }
    }
}

/// Returns the code block of docs/webhooks.md that defines `verify` in a language.
fn snippet(language: &str) -> String {
    let page = std::fs::read_to_string(here("../../docs/webhooks.md")).unwrap();
    let fence = format!("```{language}\n");
    let mut blocks = page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks
        .find(|block| block.contains("verify("))
        .unwrap_or_else(|| panic!("docs/webhooks.md has no {language} receiver"))
        .to_owned()
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_documented_python_receiver_accepts_valid_webhooks_only() {
    let program = format!(
        "{}\nimport json, sys\nfor v in json.load(open(sys.argv[1]))['vectors']:\n    got = verify(v['secret'], v['headers'], \
         v['body'].encode(), v['received_at'])\n    assert got == (v['verdict'] == 'valid'), v['name']\n",
        snippet("python")
    );
    run("python3", &["-c", &program, here("vectors.json").to_str().unwrap()]);
}

#[test]
fn the_documented_javascript_receiver_accepts_valid_webhooks_only() {
    if Command::new("node").arg("--version").output().is_err() {
        eprintln!("skipped: there is no node on this machine");
        return;
    }
    let program = format!(
        "{}\nimport {{ readFileSync }} from 'node:fs';\nfor (const v of JSON.parse(readFileSync(process.argv[1])).vectors) {{\n\
         const got = verify(v.secret, v.headers, Buffer.from(v.body), v.received_at);\n\
         if (got !== (v.verdict === 'valid')) throw new Error(v.name);\n}}\n",
        snippet("javascript")
    );
    run("node", &["--input-type=module", "-e", &program, here("vectors.json").to_str().unwrap()]);
}
