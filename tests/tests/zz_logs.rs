//! After everything: no log holds a secret, an address, a number, a URL of a receiver, or the words of an alert.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail by a panic")]

use aho_corasick::AhoCorasick;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use tests::{BODY_MARK, Stack, stack};

/// Whether the text holds something like `name@host.test`; every address of the tests and of the demo ends so.
fn address(text: &str) -> bool {
    text.match_indices(".test").any(|(at, _)| {
        let before = &text[..at];
        let begin =
            before.rfind(|c: char| !(c.is_ascii_alphanumeric() || "@._+-".contains(c))).map_or(0, |begin| begin + 1);
        // Text is cut at character boundaries: what is looked for is ASCII.
        before.get(begin..).is_some_and(|word| word.contains('@'))
    })
}

#[test]
fn no_log_holds_a_secret_an_address_a_number_a_url_or_a_body() {
    let others = ["TOCSIN_OUTPUTS_CLOCK", "TOCSIN_OUTPUTS_ALONE"]
        .into_iter()
        .filter(|name| std::env::var_os(name).is_some())
        .map(Stack::of);
    let stacks = std::iter::once(stack!()).chain(others);
    let found: BTreeMap<String, String> = stacks.flat_map(|stack| leaks(&stack)).collect();
    assert!(found.is_empty(), "{} kinds of leaks, each with a line:\n{found:#?}", found.len());
}

/// Whether a confirmation code, six digits, stands within a longer word: request ids have many digits, and some are a code by chance.
fn is_part_of_an_id(line: &str, place: Range<usize>, secret: &str) -> bool {
    let is_code = secret.len() == 6 && secret.bytes().all(|letter| letter.is_ascii_digit());
    let before = line[..place.start].chars().next_back();
    let after = line[place.end..].chars().next();
    is_code && [before, after].into_iter().flatten().any(char::is_alphanumeric)
}

#[test]
fn a_code_by_itself_is_a_leak_and_one_within_a_request_id_is_chance() {
    let is_chance = |line: &str| is_part_of_an_id(line, line.find("800824").map(|at| at..at + 6).unwrap(), "800824");
    assert!(is_chance("START RequestId: 85c7e476-ad03-4917-be19-7bc2800824a8 Version: $LATEST"));
    for leak in ["800824", "the code 800824.", "{\"code\":\"800824\"}", "code=800824 for acme"] {
        assert!(!is_chance(leak), "{leak}");
    }
}

/// What is in a stack's logs that may not be there, each kind with a line.
fn leaks(stack: &Stack) -> BTreeMap<String, String> {
    let events = stack.aws(&["logs"]);
    let events = events.as_array().unwrap();
    let groups: BTreeSet<&str> = events.iter().filter_map(|event| event["group"].as_str()).collect();
    assert!(groups.len() >= 6, "the functions' log groups are there: {groups:?}");
    assert!(events.len() > 100, "only {} lines", events.len());
    let receivers = stack.text("/receivers_url").trim_start_matches("https://").to_owned();
    let mut forbidden = stack.secrets();
    forbidden.extend(["whsec_".to_owned(), BODY_MARK.to_owned(), receivers, stack.monitor(), stack.admin()]);
    for tenant in ["acme", "globex", "initech"] {
        forbidden.push(stack.text(&format!("/tokens/tenant_admin/{tenant}")));
        for place in 0..4 {
            forbidden.push(stack.text(&format!("/demo/{tenant}/recipients/{place}/email")));
            forbidden.push(stack.text(&format!("/demo/{tenant}/recipients/{place}/phone")));
        }
    }
    // Thousands of them in tens of thousands of lines.
    let any = AhoCorasick::new(&forbidden).unwrap();
    let mut found = BTreeMap::new();
    for event in events {
        let (group, line) =
            (event["group"].as_str().unwrap_or_default(), event["message"].as_str().unwrap_or_default());
        let mut note = |what: &str| {
            found.entry(format!("{group}: {what}")).or_insert_with(|| line.to_owned());
        };
        if address(line) {
            note("an address");
        }
        for place in any.find_overlapping_iter(line) {
            let secret = &forbidden[place.pattern().as_usize()];
            if !is_part_of_an_id(line, place.range(), secret) {
                note(secret);
            }
        }
    }
    found
}
