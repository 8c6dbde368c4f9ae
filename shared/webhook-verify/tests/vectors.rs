//! The published vectors, through the library and through the receiver snippets of the README.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test may fail by a panic")]

use jiff::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use webhook_verify::{Received, Secrets, Verdict, judge};

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

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Valid => "valid",
        Verdict::MissingHeader(_) => "missing_header",
        Verdict::MalformedHeader(_) => "malformed_header",
        Verdict::UnknownVersion => "unknown_version",
        Verdict::NotASecret => "not_a_secret",
        Verdict::SecretWrittenWrong(_) => "secret_written_wrong",
        Verdict::OtherSecret => "other_secret",
        Verdict::Skew(_) => "skew",
        Verdict::BodyChanged(_) => "body_changed",
        Verdict::Reserialised => "reserialised",
        Verdict::WrongSecretOrBody => "wrong_secret_or_body",
    }
}

#[test]
fn every_vector_is_judged_as_published_and_names_its_numbers() {
    let text = std::fs::read_to_string(here("vectors.json")).unwrap();
    for vector in serde_json::from_str::<Published>(&text).unwrap().vectors {
        let received = Received { headers: vector.headers.into_iter().collect(), body: vector.body.into_bytes() };
        let secrets = Secrets { now: vector.secret, other: vector.other_secret };
        let verdict = judge(&received, &secrets, Timestamp::from_second(vector.received_at).unwrap());
        assert_eq!(word(&verdict), vector.verdict, "{}", vector.name);
        let (what, mend) = verdict.sentences();
        assert!(what.ends_with('.') && mend.ends_with('.'), "{}", vector.name);
        if let Verdict::Skew(seconds) = verdict {
            assert!(what.contains(&seconds.unsigned_abs().to_string()), "{what}");
        }
    }
}

/// The block of the README in a language that defines `verify`.
fn snippet(language: &str) -> String {
    let readme = std::fs::read_to_string(here("../../README.md")).unwrap();
    let fence = format!("```{language}\n");
    let mut blocks = readme.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks
        .find(|block| block.contains("verify("))
        .unwrap_or_else(|| panic!("README.md has no {language} receiver"))
        .to_owned()
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_readmes_python_receiver_takes_what_is_valid_and_nothing_else() {
    let program = format!(
        "{}\nimport json, sys\nfor v in json.load(open(sys.argv[1]))['vectors']:\n    got = verify(v['secret'], v['headers'], \
         v['body'].encode(), v['received_at'])\n    assert got == (v['verdict'] == 'valid'), v['name']\n",
        snippet("python")
    );
    run("python3", &["-c", &program, here("vectors.json").to_str().unwrap()]);
}

#[test]
fn the_readmes_javascript_receiver_takes_what_is_valid_and_nothing_else() {
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
